"""What `speed.py` runs: the races, the peak memory of training, how cost grows. Run that, not this."""

from __future__ import annotations

import copy
import ctypes
import math
import multiprocessing
import os
import re
import resource
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch
from lineage_speed import training_step as step
from parity import difference, rows, shaken
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import hvit
from hvit.machine import keep_freed_memory
from hvit.models import catalogue
from hvit.models.layers import Encoder
from hvit.models.linear import has_onednn
from hvit.models.masked import MASKED_SIZES
from hvit.models.packed import PackedLinear
from hvit.models.prepared import BOUNDS, Precision, PreparedModel, has_bfloat16, prepare_for_inference

Result = dict[str, Any]
Turn = Callable[[], None]
ALL = ("timm", "hiera-transformer", "transformers")
DISTURBED = 0.08
KEEPING = ("prepared", "openvino", "kept")
"""Contestants whose process keeps freed memory, as `hvit` on the command line and prepared models have it."""


_PEERS = {
    "nest_tiny_224": ("timm",),
    "hiera_tiny_224": ALL,
    "mvitv2_tiny_224": ("timm",),
    "hiera_base_224": ALL,
    "hiera_base_16x224": ("hiera-transformer",),
    "mvitv2_small_16x224": ("torchvision",),
}
_TINY = ("nest_tiny_224", "hiera_tiny_224", "mvitv2_tiny_224")
_CLIPS = ("hiera_base_16x224", "mvitv2_small_16x224")
# Row -> (kind, model, batch, peer, rounds).
ROWS: dict[str, tuple[str, str, int, str, int]] = {
    **{
        f"{model} b{batch} {peer}": ("infer", model, batch, peer, 9 if batch == 1 else 5)
        for model, peers in _PEERS.items()
        for batch in ((1,) if "16x" in model else (1, 16))
        for peer in peers
    },
    **{f"{model} train {peer}": ("train", model, 8, peer, 5) for model in _TINY for peer in _PEERS[model]},
    **{
        f"mae_hiera_{size}_224 {peer}": ("mae", f"mae_hiera_{size}_224", 8, peer, 5)
        for size in ("tiny", "base")
        for peer in ("hiera-transformer", "transformers")
    },
    **{f"memory {model} {peer}": ("memory", model, 8, peer, 1) for model in _TINY for peer in _PEERS[model]},
    **{f"growth {model}": ("growth", model, 1, "", 2) for model in (*_TINY, *_CLIPS)},
    **{f"bf16 nest_tiny_224 b{batch} timm": ("infer_bf16", "nest_tiny_224", batch, "timm", 7) for batch in (1, 16)},
    **{f"bf16 {model} b1 {_PEERS[model][0]}": ("infer_bf16", model, 1, _PEERS[model][0], 5) for model in _CLIPS},
    **{f"bf16 {model} train {peer}": ("train_bf16", model, 8, peer, 5) for model in _TINY for peer in _PEERS[model]},
    **{f"fastest {model} b16 timm": ("fastest", model, 16, "timm", 5) for model in ("nest_tiny_224", "hiera_tiny_224")},
}


def run_row(name: str, rounds: int | None, threads: int) -> Result:
    """One row, in this process."""
    torch.set_num_threads(threads)
    warnings.simplefilter("ignore")  # deprecations inside the peers
    kind, model, batch, peer, own = ROWS[name]
    if kind.endswith("bf16") and not has_bfloat16(torch.device("cpu")):
        return {"reason": "this machine has no bf16 units", "peer": peer}
    run = {
        "infer": infer, "infer_bf16": partial(infer, dtype="bfloat16"), "fastest": fastest, "train": train,
        "train_bf16": partial(train, low=True), "mae": masked, "memory": memory, "growth": growth,
    }[kind]  # fmt: skip
    return run(model, batch, peer, rounds or own) | {"peer": peer or "-", "threads": threads}


def infer(model: str, batch: int, peer: str, rounds: int, dtype: Precision = "float32") -> Result:
    """Ours, ours prepared by torch alone and by OpenVINO where it is installed, and a peer, all in one precision."""
    ours, theirs, logits = contestants(model, peer)
    images, work, limit = inputs(ours, batch), 2 * multiply_adds(ours)[0], matmul_limit(getattr(torch, dtype))
    with torch.inference_mode():
        wanted = logits(images[:2])
    ready: dict[str, Any] = {way: _prepared(ours, batch, way, dtype) for way in ("packed", *_openvino())}
    ready["prepared"] = ready.pop("packed")
    if dtype == "bfloat16":
        ready["eager"], ready["peer"] = _in_bfloat16(ours, ours), _faster_bfloat16(theirs, logits, images)
    else:
        ready["eager"], ready["peer"] = ours, logits
    with torch.inference_mode():
        for who, mine in ready.items():
            error = difference(mine(images[:2]).float(), wanted)
            assert error < BOUNDS[dtype], f"the contestants disagree: {who} by {error}"
    result = race({who: inference(mine, images) for who, mine in ready.items()}, rounds, batch)
    best, limit = (
        max(rate for who, rate in result["rates"].items() if who != "peer"),
        max(limit, matmul_limit(getattr(torch, dtype))),
    )
    result["ratios"]["share of limit"] = best * work / limit
    told = {who: str(mine.choice) for who, mine in ready.items() if who in ("prepared", "openvino")}
    return result | {"choices": told, "limit": limit, "gigaflops": work}


def fastest(model: str, batch: int, peer: str, rounds: int) -> Result:
    """Ours prepared in bfloat16, where this machine has units for it, beside a peer in float32."""
    dtype: Precision = "bfloat16" if has_bfloat16(torch.device("cpu")) else "float32"
    ours, _, logits = contestants(model, peer)
    images = inputs(ours, batch)
    ready: dict[str, Any] = {way: _prepared(ours, batch, way, dtype) for way in ("packed", *_openvino())}
    ready["prepared"] = ready.pop("packed")
    ready["peer"] = logits
    result = race({who: inference(mine, images) for who, mine in ready.items()}, rounds, batch)
    return result | {"told": f"({dtype} beside float32)"}


def _openvino() -> tuple[str, ...]:
    return ("openvino",) if find_spec("openvino") else ()


def _prepared(model: Any, batch: int, way: Any, dtype: Precision) -> PreparedModel:
    return prepare_for_inference(model, batch, dtype, ways=(way,))


def _in_bfloat16(network: Any, logits: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    network.to(torch.bfloat16)
    return lambda images: logits(images.to(torch.bfloat16))


def _faster_bfloat16(network: Any, logits: Callable[[Tensor], Tensor], images: Tensor) -> Callable[[Tensor], Tensor]:
    """A peer in bfloat16 in the way that is faster: as a module of that type, or in float32 under autocast."""

    def autocast(images: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return logits(images)

    def seconds(run: Callable[[Tensor], Tensor]) -> float:
        turns = []
        for _ in range(3):
            start = time.perf_counter()
            inference(run, images)()
            turns.append(time.perf_counter() - start)
        return min(turns)

    mixed = seconds(autocast)
    module = _in_bfloat16(network, logits)
    if seconds(module) <= mixed:
        return module
    network.float()  # its weights are rounded now, which the logits' bound allows
    return autocast


def train(model: str, batch: int, peer: str, rounds: int, low: bool = False) -> Result:
    """A training step of ours and of a peer, in float32 or (low) under bfloat16 autocast."""
    ours, theirs, logits = contestants(model, peer)
    images = inputs(ours, batch)
    own = step(ours, ours, images, low)
    return race({"eager": own, "peer": step(theirs, logits, images, low), "kept": own}, rounds, batch)


def masked(model: str, batch: int, peer: str, rounds: int) -> Result:
    """A masked step with 60 % hidden of ours and of a peer."""
    from masked_speed import draw, make_optimizer, masked_loss, official, training_step, transformers_model

    config = MASKED_SIZES[model]
    config = replace(config, encoder=replace(config.encoder, drop_path=0.0), mask_ratio=0.6)
    torch.manual_seed(0)
    theirs, their_loss = official(model) if peer == "hiera-transformer" else transformers_model(config)
    shaken(theirs, seed=0, scale=0.01).train()
    ours: Any = catalogue.build_network(config)
    hvit.load_weights(ours, theirs.state_dict())
    images, kept = inputs(ours, batch), draw(config, batch, 0.6)
    pairs: dict[str, Any] = {
        "eager": (ours, lambda: masked_loss(ours, images, kept)),
        "peer": (theirs, lambda: their_loss(images, kept)),
    }
    own, other = (loss().item() for _, loss in pairs.values())
    assert abs(own - other) < 1e-4 * abs(other), f"the losses {own} and {other} are not the same"
    optimizers = {who: make_optimizer(network) for who, (network, _) in pairs.items()}
    turns = {who: (lambda who=who: training_step(pairs[who], optimizers[who])) for who in pairs}
    return race(turns | {"kept": turns["eager"]}, rounds, batch)


def memory(model: str, batch: int, peer: str, _: int) -> Result:
    """Peak memory that two training steps add to a process that has everything imported, ours over the peer's."""
    peaks = {}
    for who in ("peer", "hvit"):  # a process for each, so that neither finds memory that the other has left behind
        with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
            peaks[who] = pool.submit(_peak, model, batch, peer, who).result()
    told = f"{peaks['hvit'] / 1024:.0f} MB beside {peaks['peer'] / 1024:.0f} MB"
    return {"ratios": {"memory": peaks["hvit"] / peaks["peer"]}, "kilobytes": peaks, "told": told}


def _peak(model: str, batch: int, peer: str, who: str) -> int:
    torch.set_num_threads(2)
    warnings.simplefilter("ignore")
    ours, theirs, logits = contestants(model, peer)
    images = inputs(ours, batch)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    turn = step(ours, ours, images) if who == "hvit" else step(theirs, logits, images)
    turn()
    turn()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before


def growth(model: str, _: int, __: str, rounds: int) -> Result:
    """Seconds and multiply-adds of larger images or longer clips, with the exponent in the number of tokens."""
    clips = "x" in model.split("_")[-1]
    points = []
    for size in (8, 16, 32, 64) if clips else (224, 448, 896):
        network = hvit.create_model(model, input_size=(size, 224, 224) if clips else (size, size)).eval()
        images, seconds = inputs(network, 1), []
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        local: dict[str, list[float]] = {"local": []}
        with torch.inference_mode():
            for _round in range(rounds):
                start = time.perf_counter()
                network(images)
                seconds.append(time.perf_counter() - start)
                parts = local_seconds(network, images)
                for key in parts:
                    local[key].append(parts[key])
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        point = {
            "size": size,
            "seconds": min(seconds),
            "megabytes": grown / 1024,
            "multiply_adds": multiply_adds(network),
        }
        points.append(point | {key: min(values) for key, values in local.items() if values})
    axis = 1 if clips else 2
    fits = {
        key: slope([axis * math.log(one["size"]) for one in points], [math.log(one[key]) for one in points])
        for key in ("seconds", "multiply_adds", "local", "local_multiply_adds")
        if all(one.get(key) for one in points)
    }
    sizes = ", ".join(f"{one['size']}: {one['seconds']:.2f} s, +{one['megabytes']:.0f} MB" for one in points)
    exponents = ", ".join(f"{key.replace('_', '-')} ^ {value:.2f}" for key, value in fits.items())
    return {"ratios": {}, "points": points, "exponents": fits, "told": f"{sizes}; in tokens: {exponents}"}


def local_seconds(network: Any, images: Tensor) -> dict[str, float]:
    """Seconds in the blocks of a Hiera whose attention stays inside mask units; nothing for others."""
    blocks = [block for block in getattr(network, "blocks", ()) if is_local(block)]
    if not blocks:
        return {}
    starts, total = [], [0.0]

    def leave(*_: Any) -> None:
        total[0] += time.perf_counter() - starts.pop()

    hooks = [block.register_forward_pre_hook(lambda *_: starts.append(time.perf_counter())) for block in blocks]
    hooks += [block.register_forward_hook(leave) for block in blocks]
    network(images)
    for hook in hooks:
        hook.remove()
    return {"local": total[0]}


def slope(x: list[float], y: list[float]) -> float:
    """Of the line that fits best."""
    means = sum(x) / len(x), sum(y) / len(y)
    above = sum((one - means[0]) * (other - means[1]) for one, other in zip(x, y, strict=True))
    return above / sum((one - means[0]) ** 2 for one in x)


def contestants(model: str, peer: str) -> tuple[Any, Any, Callable[[Tensor], Tensor]]:
    """Our model and theirs with the same weights, and what takes images to their logits."""
    row = next(one for one in rows(None, None, None) if (one.model, one.group) == (model, peer))
    torch.manual_seed(0)
    other = row.build()
    assert other.logits
    theirs = shaken(other.module, seed=0)
    config = catalogue.create_model(model).config
    none = {name: 0.0 for name in ("drop_path", "head_dropout") if hasattr(config, name)}
    ours: Encoder = hvit.create_model(model, **none, **row.changes)
    hvit.load_weights(ours, theirs.state_dict())
    return ours.eval(), theirs.eval(), other.logits


def inputs(network: Any, batch: int) -> Tensor:
    """Random inputs (batch, channels, *input_size), the same in every process."""
    config = network.config
    return torch.randn(batch, config.in_channels, *config.input_size, generator=torch.Generator().manual_seed(1))


def inference(logits: Callable[[Tensor], Tensor], images: Tensor) -> Turn:
    """A forward pass as a user calls it."""

    def run() -> None:
        with torch.inference_mode():
            logits(images)

    return run


def race(turns: dict[str, Turn], rounds: int, batch: int) -> Result:
    """Rates of every contestant, and the peer's time over each of the others', by undisturbed rounds if there are."""
    seconds: dict[str, list[float]] = {who: [] for who in turns}
    processor: dict[str, list[float]] = {who: [] for who in turns}
    others = []
    for who, turn in turns.items():
        keep_freed_memory() if who in KEEPING else usual_memory()
        turn()
    for number in range(rounds):
        whole, busy, own = time.perf_counter(), busy_seconds(), time.process_time()
        for who in turns if number % 2 else reversed(turns):
            keep_freed_memory() if who in KEEPING else usual_memory()
            start, used = time.perf_counter(), time.process_time()
            turns[who]()
            seconds[who].append(time.perf_counter() - start)
            processor[who].append(time.process_time() - used)
        wall = time.perf_counter() - whole
        extra = busy_seconds() - busy - (time.process_time() - own)
        others.append(max(0.0, extra) / (wall * (os.cpu_count() or 1)))
    quiet = [number for number in range(rounds) if others[number] <= DISTURBED]
    enough = len(quiet) >= min(3, rounds)
    times = {who: [seconds[who][number] for number in quiet] for who in turns} if enough else processor
    spread = {
        who: sorted(peer / mine for peer, mine in zip(times["peer"], times[who], strict=True))
        for who in turns
        if who != "peer"
    }
    shown = times if enough else seconds
    return {
        "ratios": {who: median(values) for who, values in spread.items()},
        "spread": {who: [values[0], values[-1]] for who, values in spread.items()},
        "rates": {who: batch / median(values) for who, values in shown.items()},
        "by_processor_time": not enough,
        "quiet_rounds": len(quiet),
        "seconds": seconds,
        "processor_seconds": processor,
        "others": others,
    }


def usual_memory() -> None:
    """What glibc does by itself, where it has learned most: blocks above 32 MB go back to Linux, and what is free above
    64 MB."""
    if sys.platform == "linux":
        for parameter, value in ((-4, 65536), (-3, 32 << 20), (-1, 64 << 20)):
            ctypes.CDLL(None).mallopt(parameter, value)


def busy_seconds() -> float:
    """Processor seconds that all programs of this machine have used, as Linux counts; 0 elsewhere."""
    path = Path("/proc/stat")
    if not path.is_file():
        return 0.0
    user, nice, system, _, _, interrupts, soft, steal = map(
        int, re.findall(r"\d+", path.read_text().split("\n")[0])[:8]
    )
    return (user + nice + system + interrupts + soft + steal) / os.sysconf("SC_CLK_TCK")


def multiply_adds(network: Any) -> tuple[float, float]:
    """Billions of multiply-adds of one image or clip, and of blocks that attend inside mask units only: counted."""
    twin = copy.deepcopy(network).to("meta")
    with torch.inference_mode(), FlopCounterMode(display=False, depth=4) as counter:
        twin(inputs(network, 1).to("meta"))
    counts = counter.get_flop_counts()
    blocks = [number for number, block in enumerate(getattr(twin, "blocks", ())) if is_local(block)]
    local = sum(sum(counts[key].values()) for key in counts if any(key.endswith(f".blocks.{one}") for one in blocks))
    return counter.get_total_flops() / 2e9, local / 2e9


def is_local(block: Any) -> bool:
    """Whether a Hiera's block attends inside mask units only."""
    return getattr(block.attention, "inside_units", False)


def matmul_limit(kind: torch.dtype = torch.float32) -> float:
    """Billions of floating-point operations a second of the best of some products of these models' shapes."""
    best = 0.0
    with torch.inference_mode():
        for tokens, dim, features in ((2048, 2048, 2048), (3136, 96, 384), (784, 768, 192), (784, 384, 1536)):
            layer = torch.nn.Linear(dim, features, dtype=kind)
            run: Any = PackedLinear(layer, tokens) if has_onednn() else layer
            values = torch.randn(tokens, dim).to(kind)
            for _ in range(12):
                start = time.perf_counter()
                run(values)
                best = max(best, 2e-9 * tokens * dim * features / (time.perf_counter() - start))
    return best
