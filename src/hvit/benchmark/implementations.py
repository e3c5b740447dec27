"""One implementation of a model, alone in its process: what it is built from, and what its turns measure."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hvit.benchmark.busy import forget_peak, memory_now
from hvit.benchmark.machine_limits import synchronise
from hvit.benchmark.peers import import_peer, same_weights
from hvit.benchmark.processes import Implementation
from hvit.errors import UserError
from hvit.machine import keep_freed_memory
from hvit.models.create import create_model
from hvit.models.inference.prepare import BOUNDS, Precision, prepare_for_inference
from hvit.models.layers.encoder import Encoder
from hvit.models.weights.open import open_weights

EAGER, PREPARED = "hvit", "hvit --fast"
Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Wanted:
    """What is measured of a model; everything that a process needs to build it."""

    target: str
    """A weights file, a run folder, or a name of the catalogue."""
    input_size: tuple[int, ...] | None = None
    """Of a name of the catalogue; None for its own."""
    batch: int = 16
    precision: Precision = "float32"
    device: str = "cpu"
    threads: int | None = None
    seconds: float = 10.0
    """For each implementation: half for batches, half for single inputs."""
    rounds: int = 5


def open_target(wanted: Wanted) -> Encoder:
    """The classifier that is meant, on the CPU in float32. Raises UserError for anything else, in one sentence."""
    path = Path(wanted.target)
    if path.exists():
        if wanted.input_size is not None:
            raise UserError(f"--input-size is for names of `hvit models`; {path} says its own size: omit it")
        return open_weights(path).model.eval()
    if path.suffix or (len(path.parts) > 1 and not wanted.target.startswith("timm/")):
        raise UserError(f"there is no file or folder {path}; `hvit models` lists the names that can be given instead")
    changes: dict[str, Any] = {} if wanted.input_size is None else {"input_size": wanted.input_size}
    torch.manual_seed(0)
    model = create_model(wanted.target, **changes)
    if not isinstance(model, Encoder):
        raise UserError(f"{wanted.target} is no classifier, and benchmark measures classifiers")
    return model.eval()


def build_implementation(name: str, wanted: Wanted) -> Implementation:
    """Builds hvit's model, the prepared one, or a peer; the report says what was chosen and what memory it took.

    A turn measures seconds of passes, {"batch": [...], "single": [...]}. Raises UserError where a peer gives other
    logits than hvit.
    """
    if wanted.threads is not None:
        torch.set_num_threads(wanted.threads)
    warnings.simplefilter("ignore")  # deprecations inside the peers
    if name not in (EAGER, PREPARED):
        import_peer(name)
    kind: torch.dtype = getattr(torch, wanted.precision)
    before = memory_now()
    model = open_target(wanted)
    report: dict[str, object] = {"choice": ""}
    batch, single = (inputs(model, count).to(wanted.device) for count in (wanted.batch, 1))
    if name == PREPARED:
        model.to(wanted.device)
        ways = [prepare_for_inference(model, count, wanted.precision) for count in sorted({1, wanted.batch})]
        report["choice"] = str(ways[-1].choice)
        runs: tuple[Run, Run] = (ways[-1], ways[0])
    elif name == EAGER:
        run = _cast(model, model, kind, wanted.device)
        runs = (run, run)
    else:
        ours, theirs, logits = same_weights(model, name)
        report["difference"] = _difference(ours, logits, inputs(model, 2), BOUNDS["float32"], name)
        del ours
        run = _cast(theirs, logits, kind, wanted.device)
        runs = (run, run)
    del model
    forget_peak()
    for run, images in zip(runs, (batch, single), strict=True):
        _pass(run, images, wanted.device)
    report["megabytes"] = _peak(before, wanted.device)
    keep_freed_memory()
    return lambda: _turn(runs, (batch, single), wanted), report


def inputs(model: Encoder, count: int) -> Tensor:
    """Random inputs (count, channels, *input_size), the same in every process."""
    config = model.config
    return torch.randn(count, config.in_channels, *config.input_size, generator=torch.Generator().manual_seed(1))


def _turn(runs: tuple[Run, Run], images: tuple[Tensor, Tensor], wanted: Wanted) -> dict[str, list[float]]:
    """Seconds of passes of a batch and of a single input, for as long as a turn lasts, one pass or more of each."""
    found: dict[str, list[float]] = {}
    for what, run, given in zip(("batch", "single"), runs, images, strict=True):
        if what == "single" and wanted.batch == 1:
            found[what] = found["batch"]
            break
        share, times = wanted.seconds / wanted.rounds / (1 if wanted.batch == 1 else 2), []
        while sum(times) < share:
            times.append(_pass(run, given, wanted.device))
        found[what] = times
    return found


def _pass(run: Run, images: Tensor, device: str) -> float:
    start = time.perf_counter()
    with torch.inference_mode():
        run(images)
    synchronise(device)
    return time.perf_counter() - start


def _cast(network: Any, logits: Run, kind: torch.dtype, device: str) -> Run:
    """A network as a module of a type on a device."""
    network.to(device, kind)
    return logits if kind == torch.float32 else lambda images: logits(images.to(kind))


def _difference(ours: Encoder, logits: Run, images: Tensor, bound: float, name: str) -> float:
    """How far a peer's logits are from ours, relative to the largest."""
    with torch.inference_mode():
        own, other = ours(images), logits(images)
    if own.shape != other.shape:
        raise UserError(f"it gives logits of shape {tuple(other.shape)} where hvit gives {tuple(own.shape)}")
    found = float((own - other).abs().max() / own.abs().max())
    if not found < bound:
        raise UserError(f"its logits differ from hvit's by {found:.1e} at the same weights: it is another model")
    return found


def _peak(before: float | None, device: str) -> float | None:
    """Megabytes that the weights and the passes took at most."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    peak = memory_now("VmHWM")
    return None if before is None or peak is None else max(peak - before, 0.0)
