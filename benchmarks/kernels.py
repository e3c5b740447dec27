"""What decides which kernel is asked: products by MKL and by oneDNN, attention in its forms. On a quiet CPU.

    python benchmarks/kernels.py             tables for docs/guides/speed.md, in about a minute
    python benchmarks/kernels.py --turns 30  steadier ones

The best of some turns of each, float32 and bfloat16, with freed memory kept as the command line does it.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is loaded, as the command line does

import torch
from torch import Tensor

from hvit.machine import keep_freed_memory
from hvit.models.layers.attention import attend, attention_kernel
from hvit.models.layers.linear import product

PRODUCTS = (
    (25088, 96, 384),
    (25088, 384, 96),
    (6272, 192, 768),
    (6272, 768, 192),
    (1568, 384, 1536),
    (1568, 1536, 384),
)
SHAPES = {
    "NesT-T level 1": (128, 3, 196, 32), "NesT-T level 2": (32, 6, 196, 32), "NesT-T level 3": (8, 12, 196, 32),
    "Hiera-T level 1": (392, 1, 64, 96), "Hiera-T level 2": (392, 2, 16, 96), "Hiera-T level 3": (8, 4, 196, 96),
    "Hiera-T level 4": (8, 8, 49, 96), "masked decoder": (8, 16, 196, 32),
}  # fmt: skip
# Heads, queries, and the grid of keys.
RELATIVE = {
    "MViTv2-T level 1": (1, 3136, (14, 14)), "its way to level 2": (2, 784, (28, 28)),
    "MViTv2-T level 3": (4, 196, (14, 14)), "clip, level 1": (1, 25088, (8, 7, 7)),
    "clip, level 2": (2, 6272, (8, 7, 7)),
}  # fmt: skip
WIDTH = 96


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=10, help="turns of each, of which the best counts")
    parser.add_argument("--threads", type=int, default=2, help="threads torch may use")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    products(options.turns)
    attention(options.turns)
    relative(options.turns)


def best(run: Callable[[], object], turns: int) -> float:
    """Seconds of the fastest of some turns, after one that does not count."""
    run()
    seconds = []
    for _ in range(turns):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


@torch.no_grad()
def products(turns: int) -> None:
    """GFLOP/s of a linear layer's three products; of a weight's gradient, in the faster of the two ways to write it."""
    heads = ("forward", "gradient of tokens", "gradient of weight")
    print(f"| tokens, width, new width | {' | '.join(f'{head}: MKL | oneDNN' for head in heads)} |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for tokens, dim, features in PRODUCTS:
        x, w, b = torch.randn(tokens, dim), torch.randn(features, dim), torch.randn(features)
        g = torch.randn(tokens, features)
        seconds = (
            best(partial(torch.addmm, b, x, w.t()), turns),
            best(partial(product, x, w, b), turns),
            best(partial(torch.mm, g, w), turns),
            best(partial(product, g, w.t(), None), turns),
            min(best(partial(torch.mm, one.t(), other), turns) for one, other in ((g, x), (x, g))),
            min(best(partial(product, one.t(), other.t(), None), turns) for one, other in ((g, x), (x, g))),
        )
        rates = (2e-9 * tokens * dim * features / time for time in seconds)
        print(f"| {tokens}, {dim}, {features} | {' | '.join(f'{rate:.0f}' for rate in rates)} |", flush=True)


def attention(turns: int) -> None:
    """Milliseconds of attention forward and backward, batch 8."""
    print("\n| shape (rows, heads, tokens, width) | float32: fused | explicit | bfloat16: fused | explicit |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, shape in SHAPES.items():
        rows, heads, tokens, width = shape
        cells = []
        for kind in (torch.float32, torch.bfloat16):
            qkv = torch.randn(rows, tokens, 3, heads, width).to(kind).requires_grad_()
            gradient = torch.randn(rows, heads, tokens, width).to(kind)

            def run(qkv: Tensor = qkv, gradient: Tensor = gradient) -> None:
                q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
                torch.autograd.grad(attend(q, k, v), qkv, gradient)

            for kernel in ("fused", "explicit"):
                with attention_kernel(kernel):
                    cells.append(1e3 * best(run, turns))
        print(f"| {name} {shape} | {' | '.join(f'{cell:.1f}' for cell in cells)} |", flush=True)


@torch.no_grad()
def relative(turns: int) -> None:
    """Milliseconds of attention with scores of offsets, forward only, float32: as channels and as a table."""
    print("\n| shape (heads, queries, keys) | channels, fused | channels, explicit | table, fused |")
    print("| --- | ---: | ---: | ---: |")
    for name, (heads, queries, grid) in RELATIVE.items():
        keys = torch.Size(grid).numel()
        q, k, v = (torch.randn(1, count, heads, WIDTH).transpose(1, 2) for count in (queries, keys, keys))
        scores = [torch.randn(1, heads, queries, side) for side in grid]
        own = torch.randn(1, heads, keys, sum(grid))

        def channels(
            q: Tensor = q, k: Tensor = k, v: Tensor = v, scores: list[Tensor] = scores, own: Tensor = own
        ) -> None:
            attend(torch.cat((q, *scores), -1), torch.cat((k, own), -1), v, scale=1.0)

        def table(q: Tensor = q, k: Tensor = k, v: Tensor = v, scores: list[Tensor] = scores) -> None:
            *first, rows, columns = scores
            sums = (rows[..., None] + columns[..., None, :]).flatten(3)
            if first:
                sums = (first[0][..., None] + sums[..., None, :]).flatten(3)
            attend(q, k, v, bias=sums)

        cells = []
        for run, kernel in ((channels, "fused"), (channels, "explicit"), (table, "fused")):
            with attention_kernel(kernel):
                cells.append(1e3 * best(run, turns))
        print(f"| {name} ({heads}, {queries}, {keys}) | {' | '.join(f'{cell:.2f}' for cell in cells)} |", flush=True)


if __name__ == "__main__":
    main()
