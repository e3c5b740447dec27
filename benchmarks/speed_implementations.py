"""What takes turns in the comparisons of `speed.py`: one implementation, alone in its process. Run that, not this."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from lineage_speed import implementations, training_step
from parity import rows
from torch import Tensor

from hvit.machine import keep_freed_memory
from hvit.models.inference.prepare import Precision, prepare_for_inference

Logits = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Entry:
    """Who runs what; everything that a process needs to build it."""

    who: str
    """peer, eager (ours as it is), kept (the same as the command line runs it: its process keeps freed memory), and
    prepared by torch alone (prepared) or with OpenVINO (openvino)."""
    event: str
    """infer, train or masked."""
    model: str
    """Our name."""
    peer: str
    """Whose weights both have."""
    batch: int
    """Images or clips a turn."""
    dtype: Precision
    """float32 or bfloat16: as a module of that type in inference, under autocast in training."""
    threads: int
    """Threads torch may use."""


@dataclass
class Implementation:
    """What a process has built."""

    turn: Callable[[], Any]
    """One forward pass or step."""
    check: Tensor
    """What all implementations must agree on: logits of the first two inputs, or the loss."""
    told: str = ""
    """What was chosen on the way."""


def build(entry: Entry) -> tuple[Callable[[], Any], tuple[Tensor, str]]:
    """Builds an implementation in its process (`hvit.benchmark.processes`): its turn, and what it answers and chose."""
    torch.set_num_threads(entry.threads)
    warnings.simplefilter("ignore")  # deprecations inside the peers
    if entry.who == "kept":
        keep_freed_memory()
    implementation = {"infer": _inference, "train": _training, "masked": _masked}[entry.event](entry)

    def turn() -> None:
        implementation.turn()

    return turn, (implementation.check, implementation.told)


def _inference(entry: Entry) -> Implementation:
    ours, theirs, logits = same_weights(entry.model, entry.peer)
    images, told = inputs(ours, entry.batch), ""
    low = entry.dtype == "bfloat16"
    if entry.who == "peer":
        run = _faster_bfloat16(theirs, logits, images) if low else logits
    elif entry.who == "eager":
        run = in_bfloat16(ours, ours) if low else ours
    else:
        way: Any = {"prepared": "packed", "openvino": "openvino"}[entry.who]
        run = prepare_for_inference(ours, entry.batch, entry.dtype, ways=(way,))
        told = str(run.choice)  # the model as it is, where that was faster
    with torch.inference_mode():
        check = run(images[:2]).float().clone()
    return Implementation(lambda: _forward(run, images), check, told)


def _training(entry: Entry) -> Implementation:
    ours, theirs, logits = same_weights(entry.model, entry.peer)
    model, run = (theirs, logits) if entry.who == "peer" else (ours, ours)
    images = inputs(ours, entry.batch)
    with torch.inference_mode():
        check = run(images[:2]).clone()
    return Implementation(training_step(model, run, images, entry.dtype == "bfloat16"), check)


def _masked(entry: Entry) -> Implementation:
    from masked_speed import draw, make_optimizer, masked_loss, same_weights_masked
    from masked_speed import training_step as masked_step

    ours, theirs, their_loss = same_weights_masked(entry.model, entry.peer, 0.6)
    images, kept = inputs(ours, entry.batch), draw(ours.config, entry.batch, 0.6)
    pair: Any = (theirs, lambda: their_loss(images, kept))
    if entry.who != "peer":
        pair = (ours, lambda: masked_loss(ours, images, kept))
    optimizer = make_optimizer(pair[0])
    return Implementation(lambda: masked_step(pair, optimizer), pair[1]().detach())


def same_weights(model: str, peer: str) -> tuple[Any, Any, Logits]:
    """Our model and theirs with the same weights, in any process, and what takes images to their logits."""
    row = next(one for one in rows(None, None, None) if (one.model, one.group) == (model, peer))
    ours, theirs, logits = implementations(row)
    return ours.eval(), theirs.eval(), logits


def inputs(network: Any, batch: int) -> Tensor:
    """Random inputs (batch, channels, *input_size), the same in every process."""
    config = network.config
    return torch.randn(batch, config.in_channels, *config.input_size, generator=torch.Generator().manual_seed(1))


def in_bfloat16(network: Any, logits: Logits) -> Logits:
    """A network as a module of that type."""
    network.to(torch.bfloat16)
    return lambda images: logits(images.to(torch.bfloat16))


def _forward(run: Logits, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return run(images)


def _faster_bfloat16(network: Any, logits: Logits, images: Tensor) -> Logits:
    """A peer in bfloat16 in the way that is faster: as a module of that type, or in float32 under autocast."""

    def autocast(images: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return logits(images)

    def seconds(run: Logits) -> float:
        turns = []
        for _ in range(3):
            start = time.perf_counter()
            _forward(run, images)
            turns.append(time.perf_counter() - start)
        return min(turns)

    mixed = seconds(autocast)
    module = in_bfloat16(network, logits)
    if seconds(module) <= mixed:
        return module
    network.float()  # its weights are rounded now, which the logits' bound allows
    return autocast
