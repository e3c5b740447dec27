"""Cutting and gluing of grids: every function has its inverse, and resizing is that of timm and of SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import zoom
from timm.models.nest import resize_pos_embed
from torch import Tensor

from hvit.models.layers.grids import (
    batch_to_tiles,
    blocks_to_grid,
    grid_to_blocks,
    merge_pairs,
    resize_blocks,
    tiles_to_batch,
)


def numbered(*shape: int) -> Tensor:
    """A tensor whose every entry is another number, so that no two places can be mixed up."""
    return torch.arange(int(np.prod(shape)), dtype=torch.float32).reshape(shape)


@pytest.mark.parametrize("side", [1, 2, 3, 6])
def test_blocks_are_row_major_inside_and_out_and_glue_back(side: int) -> None:
    grid = numbered(2, 6, 6, 5)
    blocks = grid_to_blocks(grid, side)
    rows = 6 // side
    for block in range(rows**2):
        for token in range(side**2):
            row, column = block // rows * side + token // side, block % rows * side + token % side
            assert torch.equal(blocks[:, block, token], grid[:, row, column])
    assert torch.equal(blocks_to_grid(blocks), grid)


@pytest.mark.parametrize("side", [2, 4, 8])
def test_tiles_become_batch_items_and_return(side: int) -> None:
    grid = numbered(3, 8, 8, 2)
    tiles = tiles_to_batch(grid, side)
    assert torch.equal(tiles[0], grid[0, :side, :side])
    assert torch.equal(tiles[-1], grid[2, -side:, -side:])
    assert torch.equal(batch_to_tiles(tiles, 8 // side), grid)
    assert batch_to_tiles(tiles[:0], 8 // side).shape == (0, 8, 8, 2)


def test_blocks_of_tiles_of_half_the_side_are_the_blocks_of_the_plane() -> None:
    grid = numbered(2, 8, 8, 3)
    halved = batch_to_tiles(tiles_to_batch(grid, 4)[:, ::2, ::2], 2)
    assert torch.equal(halved, grid[:, ::2, ::2])


def test_merged_pairs_run_down_first_then_right() -> None:
    grid = numbered(1, 4, 6, 2)
    merged = merge_pairs(grid)
    assert merged.shape == (1, 2, 3, 8)
    expected = torch.cat([grid[0, 2, 4], grid[0, 3, 4], grid[0, 2, 5], grid[0, 3, 5]])
    assert torch.equal(merged[0, 1, 2], expected)


@pytest.mark.parametrize("blocks", [1, 4, 16])
@pytest.mark.parametrize(("old", "new"), [(14, 24), (7, 4), (3, 3)])
def test_whole_plane_resizing_is_that_of_timm(blocks: int, old: int, new: int) -> None:
    positions = torch.randn(1, blocks, old**2, 6, generator=torch.Generator().manual_seed(0))
    expected = resize_pos_embed(positions, torch.empty(1, blocks, new**2, 6))
    torch.testing.assert_close(resize_blocks(positions, new, "plane"), expected, rtol=0, atol=0)


@pytest.mark.parametrize(("old", "new"), [(14, 24), (7, 4), (3, 3)])
def test_resizing_inside_blocks_is_linear_zoom_of_each_block(old: int, new: int) -> None:
    positions = torch.randn(1, 4, old**2, 3, generator=torch.Generator().manual_seed(0))
    resized = resize_blocks(positions, new, "block").reshape(4, new, new, 3)
    for block in range(4):
        planes = positions[0, block].reshape(old, old, 3).double().numpy()
        expected = torch.from_numpy(zoom(planes, (new / old, new / old, 1), order=1))
        torch.testing.assert_close(resized[block].double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("how", ["plane", "block"])
def test_resizing_to_the_same_side_changes_nothing(how: str) -> None:
    positions = torch.randn(1, 4, 9, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(resize_blocks(positions, 3, how), positions, rtol=0, atol=1e-6)  # pyright: ignore


def test_the_two_ways_of_resizing_differ_at_block_borders() -> None:
    positions = torch.randn(1, 4, 49, 3, generator=torch.Generator().manual_seed(0))
    assert (resize_blocks(positions, 12, "plane") - resize_blocks(positions, 12, "block")).abs().max() > 0.1
