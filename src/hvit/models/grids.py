"""All cutting and gluing of feature grids, as pure functions with inverses.

A grid is (batch, height, width, dim). Blocks are (batch, blocks, tokens, dim): row-major over the blocks of the
plane and row-major over the tokens inside a block.
"""

from __future__ import annotations

from math import isqrt
from typing import Literal

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

PositionResize = Literal["auto", "plane", "block", "unit"]


def grid_to_blocks(grid: Tensor, side: int) -> Tensor:
    """Cuts a plane into square blocks of tokens.

    grid: (batch, height, width, dim), height and width divisible by `side` (tokens per block side).
    Returns (batch, blocks, side * side, dim).
    """
    return rearrange(grid, "b (y h) (x w) c -> b (y x) (h w) c", h=side, w=side)


def blocks_to_grid(blocks: Tensor) -> Tensor:
    """Glues the blocks of a square plane together again: the inverse of `grid_to_blocks`.

    blocks: (batch, blocks, tokens, dim), both counts square numbers. Returns (batch, height, width, dim).
    """
    rows, side = isqrt(blocks.shape[1]), isqrt(blocks.shape[2])
    return rearrange(blocks, "b (y x) (h w) c -> b (y h) (x w) c", y=rows, h=side)


def tiles_to_batch(grid: Tensor, side: int) -> Tensor:
    """Makes every square tile of a plane an item of the batch, so that nothing can cross its border.

    grid: (batch, height, width, dim). Returns (batch * tiles, side, side, dim).
    """
    return rearrange(grid, "b (y h) (x w) c -> (b y x) h w c", h=side, w=side)


def batch_to_tiles(tiles: Tensor, batch: int) -> Tensor:
    """Lays tiles back into square planes: the inverse of `tiles_to_batch`.

    tiles: (batch * tiles, side, side, dim). Returns (batch, height, width, dim).
    """
    rows = isqrt(tiles.shape[0] // batch)
    return rearrange(tiles, "(b y x) h w c -> b (y h) (x w) c", b=batch, y=rows)


def merge_pairs(grid: Tensor) -> Tensor:
    """Concatenates each 2 x 2 square of tokens into one token of four times the width.

    grid: (batch, 2 * height, 2 * width, dim). Returns (batch, height, width, 4 * dim), channels in the order
    top-left, bottom-left, top-right, bottom-right (Swin, arXiv 2103.14030, section 3.1).
    """
    return rearrange(grid, "b (h p) (w q) c -> b h w (q p c)", p=2, q=2)


def resize_blocks(positions: Tensor, side: int, how: PositionResize = "plane") -> Tensor:
    """Resizes the position embeddings of a blocked plane to blocks of another side; the blocks' number stays.

    positions: (1, blocks, tokens, dim). side: tokens per block side wanted. how: "plane" glues the blocks together
    and resizes the whole plane (bicubic, as timm does); "block" resizes inside every block (linear with the corner
    tokens kept in place, as the official NesT code does).
    Returns (1, blocks, side * side, dim).
    """
    if how == "block":
        old = isqrt(positions.shape[2])
        planes = rearrange(positions, "1 t (h w) c -> t c h w", h=old)
        planes = F.interpolate(planes, size=(side, side), mode="bilinear", align_corners=True)
        return rearrange(planes, "t c h w -> 1 t (h w) c")
    size = isqrt(positions.shape[1]) * side
    return grid_to_blocks(resize_plane(blocks_to_grid(positions), (size, size)), side)


def resize_plane(positions: Tensor, size: tuple[int, ...], unit: tuple[int, ...] | None = None) -> Tensor:
    """Resizes the position embeddings of a plane (bicubic), or of a line (linear).

    positions: (1, rows, columns, dim) or (1, length, dim). size: the grid wanted. unit: tokens per side of the windows
    that attention was trained in. Such training makes the embeddings repeat from window to window, and plain
    interpolation would shift them out of step; with `unit` the mean window is repeated as it is, and only what is left
    of the embeddings is interpolated (after "Window Attention is Bugged", arXiv 2311.05613, section 4).
    Returns (1, *size, dim).
    """
    grid = tuple(positions.shape[1:-1])
    if grid == tuple(size):
        return positions
    if unit is None:
        planes = positions.movedim(-1, 1)
        if len(size) == 1:
            return F.interpolate(planes, size=size, mode="linear", align_corners=False).movedim(1, -1)
        return F.interpolate(planes, size=size, mode="bicubic", align_corners=False).movedim(1, -1)
    window = _mean_window(positions, unit)
    rest = positions - tile(window, grid)
    return resize_plane(rest, size) + tile(window, tuple(size))


def _mean_window(positions: Tensor, unit: tuple[int, ...]) -> Tensor:
    """(1, *grid, dim) -> (1, *unit, dim): the mean over all windows of the grid."""
    for axis, side in enumerate(unit, start=1):
        positions = positions.unflatten(axis, (-1, side)).mean(axis)
    return positions


def tile(window: Tensor, size: tuple[int, ...]) -> Tensor:
    """Repeats a window (1, *unit, dim) over a grid of a size that it divides. Returns (1, *size, dim)."""
    repeats = [whole // side for whole, side in zip(size, window.shape[1:-1], strict=True)]
    return window.repeat(1, *repeats, 1)
