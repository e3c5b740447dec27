"""What this machine can do at most: its best matrix product."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch

from hvit.models.inference.packed import PackedLinear
from hvit.models.layers.linear import has_onednn

_SHAPES = ((2048, 2048, 2048), (3136, 96, 384), (784, 768, 192), (784, 384, 1536))
_LARGE = (16384, 4096, 4096)  # what a GPU needs to be busy


def matmul_limit(
    kind: torch.dtype = torch.float32, device: str = "cpu", shapes: Sequence[tuple[int, int, int]] = _SHAPES
) -> float:
    """Billions of floating-point operations a second of the best of some matrix products.

    shapes: tokens, width and new width of each; default: those of models' layers.
    """
    best = 0.0
    with torch.inference_mode():
        for tokens, dim, features in (*shapes, *([_LARGE] if device != "cpu" else [])):
            layer = torch.nn.Linear(dim, features, dtype=kind, device=device)
            packs = device == "cpu" and has_onednn()
            run: Callable[[torch.Tensor], torch.Tensor] = PackedLinear(layer, tokens) if packs else layer
            values = torch.randn(tokens, dim, device=device).to(kind)
            for _ in range(12):
                start = time.perf_counter()
                run(values)
                synchronise(device)
                best = max(best, 2e-9 * tokens * dim * features / (time.perf_counter() - start))
    return best


def limit_in_its_process(kind: str, device: str, threads: int | None) -> float:
    """`matmul_limit` with a number of threads, for a process of its own."""
    if threads is not None:
        torch.set_num_threads(threads)
    return matmul_limit(getattr(torch, kind), device)


def synchronise(device: str) -> None:
    """Waits until a device has done what it was asked for."""
    if device != "cpu":
        getattr(torch, device).synchronize()
