"""What `speed.py` runs: the comparisons, the peak memory of training, how cost grows. Run that, not this."""

from __future__ import annotations

import copy
import math
import time
import warnings
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from compare import run_apart
from lineage_speed import training_step
from parity import difference
from speed_implementations import Entry, build, inputs, same_weights
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import hvit
from hvit.benchmark.busy import memory_now
from hvit.benchmark.machine_limits import matmul_limit
from hvit.benchmark.processes import started, summarise
from hvit.machine import has_bfloat16
from hvit.models.inference.prepare import BOUNDS, Precision

Result = dict[str, Any]
ALL = ("timm", "hiera-transformer", "transformers")
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
# Row -> (kind, model, batch, peer, rounds). Rows in bfloat16 begin with that word.
ROWS: dict[str, tuple[str, str, int, str, int]] = {
    **{
        f"{model} b{batch} {peer}": ("infer", model, batch, peer, 9 if batch == 1 else 5)
        for model, peers in _PEERS.items()
        for batch in ((1,) if model in _CLIPS else (1, 16))
        for peer in peers
    },
    **{f"{model} train {peer}": ("train", model, 8, peer, 5) for model in _TINY for peer in _PEERS[model]},
    **{
        f"mae_hiera_{size}_224 {peer}": ("masked", f"mae_hiera_{size}_224", 8, peer, 5)
        for size in ("tiny", "base")
        for peer in ("hiera-transformer", "transformers")
    },
    **{f"memory {model} {peer}": ("memory", model, 8, peer, 1) for model in _TINY for peer in _PEERS[model]},
    **{f"growth {model}": ("growth", model, 1, "", 2) for model in (*_TINY, *_CLIPS, "nest_tiny_224 more levels")},
    **{f"bf16 nest_tiny_224 b{batch} timm": ("infer", "nest_tiny_224", batch, "timm", 7) for batch in (1, 16)},
    **{f"bf16 {model} b1 {_PEERS[model][0]}": ("infer", model, 1, _PEERS[model][0], 5) for model in _CLIPS},
    **{f"bf16 {model} train {peer}": ("train", model, 8, peer, 5) for model in _TINY for peer in _PEERS[model]},
    **{f"fastest {model} b16 timm": ("fastest", model, 16, "timm", 5) for model in ("nest_tiny_224", "hiera_tiny_224")},
}


def run_row(name: str, rounds: int | None, threads: int) -> Result:
    """One row. Implementations have processes of their own; this one measures limits and how cost grows."""
    torch.set_num_threads(threads)
    warnings.simplefilter("ignore")  # deprecations inside the peers
    kind, model, batch, peer, own = ROWS[name]
    dtype: Precision = "bfloat16" if name.startswith("bf16") else "float32"
    rounds = rounds or own
    ways = ("prepared", "openvino") if find_spec("openvino") else ("prepared",)
    if dtype == "bfloat16" and not has_bfloat16("cpu"):
        result: Result = {"reason": "this machine has no bf16 units"}
    elif kind == "memory":
        result = memory(model, batch, peer, threads)
    elif kind == "growth":
        result = growth(model, rounds)
    elif kind == "infer":
        entries = [Entry(who, kind, model, peer, batch, dtype, threads) for who in ("eager", "peer", *ways)]
        result = with_limit(interleave_processes(entries, rounds, BOUNDS[dtype]), model, dtype)
    elif kind == "fastest":
        best: Precision = "bfloat16" if has_bfloat16("cpu") else "float32"
        entries = [Entry(who, "infer", model, peer, batch, best, threads) for who in ways]
        entries.append(Entry("peer", "infer", model, peer, batch, "float32", threads))
        result = interleave_processes(entries, rounds, BOUNDS[best])
    else:
        entries = [Entry(who, kind, model, peer, batch, dtype, threads) for who in ("eager", "peer", "kept")]
        result = interleave_processes(entries, rounds, BOUNDS["float32"])
    return result | {"peer": peer or "-", "threads": threads, "torch": torch.__version__}


def interleave_processes(entries: list[Entry], rounds: int, bound: float) -> Result:
    """Rates of every implementation, and the peer's time over each of the others', by undisturbed rounds if there are.

    bound: how much their answers may differ, relative to the peer's largest.
    """
    with started({entry.who: partial(build, entry) for entry in entries}) as processes:
        answers: dict[str, Any] = processes.reports
        for who, (check, _) in answers.items():
            error = difference(check, answers["peer"][0])
            assert error < bound, f"the implementations disagree: {who} and the peer by {error:.1e}"
        found = processes.take_turns(rounds)
    return summarise(found, entries[0].batch, "peer") | {
        "choices": {who: told for who, (_, told) in answers.items() if told}
    }


def with_limit(result: Result, model: str, dtype: Precision) -> Result:
    """Adds the share of the matrix-product limit that the fastest of ours reached."""
    limit = matmul_limit(getattr(torch, dtype))
    work = 2 * multiply_adds(hvit.create_model(model).eval())[0]
    best = max(rate for who, rate in result["rates"].items() if who != "peer")
    result["ratios"]["share of limit"] = best * work / limit
    return result | {"limit": limit, "gigaflops": work}


def memory(model: str, batch: int, peer: str, threads: int) -> Result:
    """Peak memory that two training steps add to a process that has everything imported, ours over the peer's."""
    peaks = {}
    for who in ("peer", "hvit"):  # a process for each, so that neither finds memory that the other has left behind
        peaks[who] = run_apart(_peak_of_training, model, batch, peer, who, threads)
    told = f"{peaks['hvit']:.0f} MB beside {peaks['peer']:.0f} MB"
    return {"ratios": {"memory": peaks["hvit"] / peaks["peer"]}, "megabytes": peaks, "told": told}


def _peak_of_training(model: str, batch: int, peer: str, who: str, threads: int) -> float:
    torch.set_num_threads(threads)
    warnings.simplefilter("ignore")
    ours, theirs, logits = same_weights(model, peer)
    images = inputs(ours, batch)
    turn = training_step(ours, ours, images) if who == "hvit" else training_step(theirs, logits, images)
    before = memory_now() or 0.0
    turn()
    turn()
    return (memory_now("VmHWM") or 0.0) - before


def growth(model: str, rounds: int) -> Result:
    """Seconds, megabytes and multiply-adds of larger images or longer clips, with their exponents in tokens."""
    clips = "x" in model.split("_")[-1].split()[0]
    points = []
    for size in (8, 16, 32, 64) if clips else (224, 448, 896):
        points.append(run_apart(_grown, model, size, clips, rounds, torch.get_num_threads()))
    axis = 1 if clips else 2
    fits = {
        key: slope([axis * math.log(one["size"]) for one in points], [math.log(one[key]) for one in points])
        for key in ("seconds", "megabytes", "multiply_adds", "local", "local_multiply_adds")
        if all(one.get(key) for one in points)
    }
    sizes = ", ".join(f"{one['size']}: {one['seconds']:.2f} s, +{one['megabytes']:.0f} MB" for one in points)
    exponents = ", ".join(f"{key.replace('_', '-')} ^ {value:.2f}" for key, value in fits.items())
    return {"ratios": {}, "points": points, "exponents": fits, "told": f"{sizes}; in tokens: {exponents}"}


def _grown(model: str, size: int, clips: bool, rounds: int, threads: int) -> dict[str, float]:
    """One size, in a process of its own; `local` are the blocks that attend inside mask units.

    "nest_tiny_224 more levels" has one more level below for every doubling of the side, so that blocks keep their size.
    """
    torch.set_num_threads(threads)
    name, *more = model.split(" ", 1)
    fields: dict[str, Any] = {"input_size": (size, 224, 224) if clips else (size, size)}
    if more:
        extra = int(math.log2(size / 224))
        fields |= {key: (first,) * extra + rest for key, first, rest in (
            ("dims", 96, (96, 192, 384)), ("heads", 3, (3, 6, 12)), ("depths", 2, (2, 2, 8))
        )}  # fmt: skip
    network = hvit.create_model(name, **fields).eval()
    images, seconds, local = inputs(network, 1), [], []
    before = memory_now() or 0.0
    with torch.inference_mode():
        network(images)
        peak = (memory_now("VmHWM") or 0.0) - before
        for _ in range(rounds):
            start = time.perf_counter()
            network(images)
            seconds.append(time.perf_counter() - start)
            local.append(local_seconds(network, images))
    total, inside = multiply_adds(network)
    return {
        "size": size, "seconds": min(seconds), "megabytes": peak, "multiply_adds": total, "local": min(local),
        "local_multiply_adds": inside,
    }  # fmt: skip


def local_seconds(network: Any, images: Tensor) -> float:
    """Seconds in the blocks of a Hiera whose attention stays inside mask units; 0 for others."""
    blocks = [block for block in getattr(network, "blocks", ()) if is_local(block)]
    starts, total = [], [0.0]

    def leave(*_: Any) -> None:
        total[0] += time.perf_counter() - starts.pop()

    hooks = [block.register_forward_pre_hook(lambda *_: starts.append(time.perf_counter())) for block in blocks]
    hooks += [block.register_forward_hook(leave) for block in blocks]
    if blocks:
        network(images)
    for hook in hooks:
        hook.remove()
    return total[0]


def slope(x: list[float], y: list[float]) -> float:
    """Of the line that fits best."""
    means = sum(x) / len(x), sum(y) / len(y)
    above = sum((one - means[0]) * (other - means[1]) for one, other in zip(x, y, strict=True))
    return above / sum((one - means[0]) ** 2 for one in x)


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
