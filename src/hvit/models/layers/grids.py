"""Feature maps divided into blocks and mask units and joined again, and pooled: pure functions with inverses.

A feature map, or token grid, is (batch, height, width, dim). Blocks are (batch, blocks, tokens, dim): row-major over
the blocks of the map and row-major over the tokens inside a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt, prod
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from hvit.models.layers.tracing import one_step

PositionResize = Literal["auto", "plane", "block", "unit"]


@one_step
def channels_first(grids: Tensor) -> Tensor:
    """A grid (batch, *sizes, channels) as convolutions take it, (batch, channels, *sizes): a view."""
    # Axes are counted from the front: torch's older ONNX exporter writes what it is given, and -1 is no axis there.
    return grids.permute(0, grids.ndim - 1, *range(1, grids.ndim - 1))


@one_step
def channels_last(maps: Tensor) -> Tensor:
    """The inverse of `channels_first`: (batch, channels, *sizes) as (batch, *sizes, channels)."""
    return maps.permute(0, *range(2, maps.ndim), 1)


def is_exported() -> bool:
    """Whether torch.export or torch.jit.trace makes a program of what runs, for any batch and without gradients."""
    return torch.compiler.is_exporting() or torch._C._get_tracing_state() is not None


@one_step
def grid_to_blocks(grid: Tensor, side: int | tuple[int, int]) -> Tensor:
    """Cuts a feature map into blocks of tokens.

    grid: (batch, height, width, dim), height and width divisible by the block's. side: rows and columns of tokens in a
    block, or one number for both. Returns (batch, blocks, tokens of a block, dim).
    """
    high, wide = (side, side) if isinstance(side, int) else side
    return rearrange(grid, "b (y h) (x w) c -> b (y x) (h w) c", h=high, w=wide)


@one_step
def blocks_to_grid(blocks: Tensor, side: tuple[int, int] | None = None) -> Tensor:
    """Joins the blocks of a feature map again, as many down as across: the inverse of `grid_to_blocks`.

    blocks: (batch, blocks, tokens, dim), a square number of blocks. side: rows and columns of tokens in a block; None
    for square ones. Returns (batch, height, width, dim).
    """
    rows, high = isqrt(blocks.shape[1]), isqrt(blocks.shape[2]) if side is None else side[0]
    return rearrange(blocks, "b (y x) (h w) c -> b (y h) (x w) c", y=rows, h=high)


@one_step
def tiles_to_batch(grid: Tensor, side: int) -> Tensor:
    """Makes every square tile of a feature map an item of the batch, so that nothing can cross its border.

    grid: (batch, height, width, dim). Returns (batch * tiles, side, side, dim).
    """
    return rearrange(grid, "b (y h) (x w) c -> (b y x) h w c", h=side, w=side)


@one_step
def batch_to_tiles(tiles: Tensor, rows: int) -> Tensor:
    """Lays tiles back into square feature maps: the inverse of `tiles_to_batch`.

    tiles: (batch * tiles, side, side, dim). rows: tiles along each axis. Returns (batch, height, width, dim).
    """
    return rearrange(tiles, "(b y x) h w c -> b (y h) (x w) c", y=rows, x=rows)


@one_step
def merge_pairs(grid: Tensor) -> Tensor:
    """Concatenates each 2 x 2 square of tokens into one token of four times the width.

    grid: (batch, 2 * height, 2 * width, dim). Returns (batch, height, width, 4 * dim), channels in the order
    top-left, bottom-left, top-right, bottom-right (Swin, arXiv 2103.14030, section 3.1).
    """
    return rearrange(grid, "b (h p) (w q) c -> b h w (q p c)", p=2, q=2)


@one_step
def grid_to_units(grid: Tensor, unit: tuple[int, ...]) -> Tensor:
    """Cuts a grid of any rank into mask units, each a small grid of its own.

    grid: (batch, *sizes, dim), the sizes divisible by `unit` (tokens per unit side). Units are row-major, time first.
    Returns (batch, units, *unit, dim).
    """
    rank = len(unit)
    for axis, side in enumerate(unit):
        grid = grid.unflatten(1 + 2 * axis, (-1, side))
    rows, inside = range(1, 2 * rank, 2), range(2, 2 * rank + 1, 2)
    return grid.permute(0, *rows, *inside, 2 * rank + 1).flatten(1, rank)


@one_step
def units_to_grid(units: Tensor, unit_grid: tuple[int, ...]) -> Tensor:
    """Glues mask units together again: the inverse of `grid_to_units`.

    units: (batch, units, *unit, dim). unit_grid: units along every axis. Returns (batch, *sizes, dim).
    """
    rank = len(unit_grid)
    grid = units.unflatten(1, unit_grid)
    order = [axis for pair in zip(range(1, rank + 1), range(rank + 1, 2 * rank + 1), strict=True) for axis in pair]
    grid = grid.permute(0, *order, 2 * rank + 1)
    for axis in range(rank):
        grid = grid.flatten(1 + axis, 2 + axis)
    return grid


def unit_windows(images: Tensor, unit_grid: Sequence[int], kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """The pixels that a convolution needs for each mask unit, its padding of half a kernel included: a view.

    images: (batch, channels, *sizes), the sizes divisible by `unit_grid`, and units by the stride. Returns (batch,
    *unit grid, channels, *sizes of a window); an unpadded convolution of a window is that unit's part of the whole.
    """
    around = [side // 2 for side in reversed(kernel) for _ in (0, 1)]
    windows, rank = F.pad(images, around), len(kernel)
    for axis, (count, side, step) in enumerate(zip(unit_grid, kernel, stride, strict=True), start=2):
        unit = images.shape[axis] // count
        windows = windows.unfold(axis, unit - step + side, unit)
    return windows.movedim(1, 1 + rank)


def convolve_cells(grid: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A convolution whose kernel is its stride, as one product: on a CPU four times as fast as a convolution.

    grid: (batch, *sizes, channels). weight: (dim, channels, *kernel), which divides the sizes. Returns (batch, *cells,
    dim).
    """
    kernel = weight.shape[2:]
    rank = len(kernel)
    for axis, side in enumerate(kernel):
        grid = grid.unflatten(1 + 2 * axis, (-1, side))
    cells = grid.permute(0, *range(1, 2 * rank, 2), *range(2, 2 * rank + 1, 2), 2 * rank + 1).flatten(rank + 1)
    return F.linear(cells, channels_last(weight).flatten(1), bias)


def resize_blocks(positions: Tensor, side: int | tuple[int, int], how: PositionResize = "plane") -> Tensor:
    """Resizes the position embeddings of square blocks to blocks of another side; the blocks' number stays.

    positions: (1, blocks, tokens, dim). side: rows and columns of tokens wanted in a block, or one number for both.
    how: "plane" joins the blocks and resizes the whole (bicubic, as timm does); "block" resizes inside every block
    (linear with the corner tokens staying in place, as the official NesT code does).
    Returns (1, blocks, tokens of a block, dim).
    """
    side = (side, side) if isinstance(side, int) else side
    if how == "block":
        old = isqrt(positions.shape[2])
        maps = rearrange(positions, "1 t (h w) c -> t c h w", h=old)
        maps = F.interpolate(maps, size=side, mode="bilinear", align_corners=True)
        return rearrange(maps, "t c h w -> 1 t (h w) c")
    size = tuple(isqrt(positions.shape[1]) * tokens for tokens in side)
    return grid_to_blocks(resize_plane(blocks_to_grid(positions), size), side)


def resize_plane(positions: Tensor, size: tuple[int, ...], unit: tuple[int, ...] | None = None) -> Tensor:
    """Resizes the position embeddings of an image (bicubic), of a line or of a clip (linear).

    positions: (1, rows, columns, dim), (1, length, dim) or (1, time, rows, columns, dim). size: the grid wanted. unit:
    tokens per side of the windows that attention was trained in. Such training makes the embeddings repeat from window
    to window, and plain interpolation would shift them out of step; with `unit` the mean window is repeated as it is,
    and only what is left is interpolated (after "Window Attention is Bugged", arXiv 2311.05613, section 4).
    Returns (1, *size, dim).
    """
    grid = tuple(positions.shape[1:-1])
    if grid == tuple(size):
        return positions
    if unit is None:
        maps = channels_first(positions)
        mode = ("linear", "bicubic", "trilinear")[len(size) - 1]
        return channels_last(F.interpolate(maps, size=size, mode=mode, align_corners=False))
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


# Mask units: windows of a grid of any rank, with their tokens in an order in which pooling cuts nothing.


@one_step
def unroll(grid: Tensor, strides: Sequence[tuple[int, ...]]) -> Tensor:
    """Cuts a grid into mask units and orders each unit's tokens so that every pooling is over the slowest axis.

    grid: (batch, *sides, dim), of any rank. strides: one per pooling, first pooling first, each with one entry per
    axis; their product along an axis is the unit's side there and divides the grid's. Units are row-major. The tokens
    of a unit run, slowest to fastest, over their places in the window of the first stride, of the second, and so on,
    each row-major: the first pooling is a maximum over axis 2 of `units.unflatten(2, (prod(strides[0]), -1))`, and
    leaves units unrolled with the strides that remain.
    Returns (batch, units, tokens, dim). Of that, `units.transpose(1, 2).flatten(1, 2)` is the token order of the
    official code of Hiera (arXiv 2306.00989), which has the units fastest.
    """
    rank, sides = grid.ndim - 2, [prod(along) for along in zip(*strides, strict=True)]
    split: list[int] = []
    for axis, side in enumerate(sides):
        split += [grid.shape[1 + axis] // side, *(stride[axis] for stride in reversed(strides))]
    order = _pooling_order(rank, len(strides))
    grid = grid.reshape(grid.shape[0], *split, grid.shape[-1]).permute(0, *order, 1 + len(order))
    return grid.reshape(grid.shape[0], prod(grid.shape[1 : 1 + rank]), prod(sides), grid.shape[-1])


def unroll_units(units: Tensor, strides: Sequence[tuple[int, ...]]) -> Tensor:
    """`unroll` of units that are a selection of a grid's: the inverse of `reroll` without a unit grid.

    units: (batch, units, *sides of a unit, dim). Returns (batch, units, tokens, dim).
    """
    return unroll(units.flatten(0, 1), strides)[:, 0].unflatten(0, units.shape[:2])


@one_step
def reroll(units: Tensor, strides: Sequence[tuple[int, ...]], unit_grid: Sequence[int] | None = None) -> Tensor:
    """Puts the tokens of every mask unit back in spatial order, and the units together: the inverse of `unroll`.

    units: (batch, units, tokens, dim). strides: those that they are unrolled with. unit_grid: units along each axis,
    or None for units that are a selection of a grid's.
    Returns (batch, *sides, dim), or, without `unit_grid`, (batch, units, *sides of a unit, dim).
    """
    rank = len(strides[0])
    if unit_grid is None:
        return reroll(units.flatten(0, 1)[:, None], strides, (1,) * rank).unflatten(0, units.shape[:2])
    order = _pooling_order(rank, len(strides))
    back = [1 + order.index(axis) for axis in range(1, 1 + len(order))]
    split = units.reshape(units.shape[0], *unit_grid, *(side for stride in strides for side in stride), units.shape[-1])
    sides = [count * prod(along) for count, *along in zip(unit_grid, *strides, strict=True)]
    return split.permute(0, *back, 1 + len(back)).reshape(units.shape[0], *sides, units.shape[-1])


def _pooling_order(rank: int, poolings: int) -> list[int]:
    """Axes, slowest first, of a grid whose every axis is split into (unit, place of last pooling, ..., of first)."""
    parts = (0, *range(poolings, 0, -1))
    return [1 + axis * (poolings + 1) + part for part in parts for axis in range(rank)]


@one_step
def window_plane(positions: Tensor, window: Tensor, size: tuple[int, ...], antialias: bool = False) -> Tensor:
    """Absolute-window position embeddings of a token grid: a coarse map, interpolated, plus a window, repeated.

    positions: (1, rows, columns, dim) of any size, resized (bicubic) to `size`. window: (1, *sides of a unit, dim);
    the sides divide `size`. antialias: smooth where the map shrinks. Returns (1, *size, dim). "Window Attention is
    Bugged", arXiv 2311.05613, section 4.
    """
    maps = F.interpolate(channels_first(positions), size=size, mode="bicubic", antialias=antialias)
    return channels_last(maps) + tile(window, size)


@one_step
def pool_grids(
    grids: Tensor,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    kind: Literal["conv", "max", "max_zero", "average"],
    weight: Tensor | None = None,
) -> Tensor:
    """Pools grids of two or three axes whose channels come last, as MViT does (arXiv 2104.11227, section 3.1).

    grids: (batch, *sizes, channels). kind: a depthwise convolution with `weight` (channels, 1, *kernel); or the
    maximum, which sees nothing outside, or zeros there ("max_zero"); or the average, which counts zeros there.
    Returns (batch, *new sizes, channels) with new size = (size + 2 * padding - kernel) // stride + 1.
    """
    # Channels stay last in memory: a view before and after, and the kernels that are fast on it.
    maps, flat = channels_first(grids), len(stride) == 2
    if kind == "conv" and weight is not None:
        if is_exported():
            return channels_last(_convolve(maps, weight, stride, padding))
        if _trains_slowly(maps, stride):
            with torch.autocast("cpu", enabled=False):
                return pool_grids(grids.float(), kernel, stride, padding, kind, weight.float()).to(grids.dtype)
        if not flat and stride[0] == 1 and maps.requires_grad and grids.device.type == "cpu":
            return _convolve_frames(grids, weight, stride, padding)
        pooled = _convolve(maps, weight, stride, padding)
    elif kind == "max":
        pooled = (F.max_pool2d if flat else F.max_pool3d)(maps, kernel, stride, padding)
    else:
        maps = F.pad(maps, [side for pad in reversed(padding) for side in (pad, pad)]) if max(padding) else maps
        average, maximum = (F.avg_pool2d, F.max_pool2d) if flat else (F.avg_pool3d, F.max_pool3d)
        pooled = (average if kind == "average" else maximum)(maps, kernel, stride)
    return channels_last(pooled)


def _convolve(maps: Tensor, weight: Tensor, stride: tuple[int, ...], padding: tuple[int, ...]) -> Tensor:
    """A depthwise convolution of maps (batch, channels, *sizes) with a weight (channels, 1, *kernel)."""
    return (F.conv2d if len(stride) == 2 else F.conv3d)(maps, weight, None, stride, padding, 1, weight.shape[0])


def _trains_slowly(maps: Tensor, stride: tuple[int, ...]) -> bool:
    """Whether a depthwise convolution is one in bfloat16 whose backward pass takes a CPU up to nine times as long as in
    float32: one with a stride."""
    low = maps.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")
    return low and maps.device.type == "cpu" and maps.requires_grad and max(stride) > 1


def _convolve_frames(grids: Tensor, weight: Tensor, stride: tuple[int, ...], padding: tuple[int, ...]) -> Tensor:
    """A depthwise convolution of clips as the sum of its frames' own: on a CPU its backward pass is twice as fast.

    grids: (batch, time, rows, columns, channels). weight: (channels, 1, *kernel), the kernel odd in time.
    """
    batch, time = grids.shape[:2]
    frames = channels_first(grids.flatten(0, 1))
    groups, middle = weight.shape[0], weight.shape[2] // 2
    total = None
    for tap in range(weight.shape[2]):
        tapped = F.conv2d(frames, weight[:, :, tap], None, stride[1:], padding[1:], 1, groups)
        tapped = channels_last(tapped).unflatten(0, (batch, time))
        later = tap - middle
        if later > 0:
            tapped = F.pad(tapped[:, later:], (0, 0, 0, 0, 0, 0, 0, min(later, time)))
        elif later < 0:
            tapped = F.pad(tapped[:, :later], (0, 0, 0, 0, 0, 0, min(-later, time), 0))
        total = tapped if total is None else total + tapped
    assert total is not None
    return total


def relative_lookup(table: Tensor, queries: int, keys: int) -> Tensor:
    """The relative position of every query and key along one axis (arXiv 2112.01526, section 4.1, as its code has it).

    table: (2 * longest - 1, dim), from the key farthest ahead to the one farthest behind; a table for other sizes is
    interpolated. Where queries and keys differ in number, the coarser ones lie spread over the finer.
    Returns (queries, keys, dim).
    """
    table = resize_plane(table[None], (2 * max(queries, keys) - 1,))[0]
    query_step, key_step = max(keys / queries, 1.0), max(queries / keys, 1.0)
    rows = torch.arange(queries, device=table.device)[:, None] * query_step
    columns = (torch.arange(keys, device=table.device) - (keys - 1)) * key_step
    return table[(rows - columns).long()]
