"""Mask units: unrolling has its inverse, is the official order of tokens, and makes pooling a maximum over one axis."""

from __future__ import annotations

import importlib
import warnings
from math import prod
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hvit.models.layers.grids import grid_to_units, reroll, unroll, window_plane

# (sides of the grid, strides, sides of a unit)
CASES: list[tuple[tuple[int, ...], list[tuple[int, ...]], tuple[int, ...]]] = [
    ((16,), [(2,), (2,), (2,)], (8,)),
    ((6,), [(3,)], (3,)),
    ((16, 24), [(2, 2), (2, 2), (2, 2)], (8, 8)),
    ((12, 12), [(2, 2), (3, 3)], (6, 6)),
    ((8, 18), [(2, 3), (1, 1)], (2, 3)),
    ((4, 16, 16), [(1, 2, 2), (1, 2, 2), (1, 2, 2)], (1, 8, 8)),
    ((4, 4, 8), [(2, 1, 2), (1, 2, 2)], (2, 2, 4)),
]


def numbered(*shape: int) -> Tensor:
    """A tensor whose every entry is another number, so that no two places can be mixed up."""
    return torch.arange(prod(shape), dtype=torch.float32).reshape(shape)


def test_an_8_by_8_unit_is_in_the_official_order() -> None:
    tokens = unroll(numbered(1, 8, 8, 1), [(2, 2)] * 3).flatten().int().tolist()
    assert tokens[:8] == [0, 4, 32, 36, 2, 6, 34, 38]
    assert tokens[8:16] == [16, 20, 48, 52, 18, 22, 50, 54]
    assert sorted(tokens) == list(range(64))


@pytest.mark.parametrize(("sides", "strides", "unit"), CASES)
def test_rerolled_grids_are_the_grids(sides: tuple[int, ...], strides: Any, unit: tuple[int, ...]) -> None:
    grid = numbered(2, *sides, 3)
    units = unroll(grid, strides)
    unit_grid = [whole // side for whole, side in zip(sides, unit, strict=True)]
    assert units.shape == (2, prod(unit_grid), prod(unit), 3)
    assert torch.equal(reroll(units, strides, unit_grid), grid)


@pytest.mark.parametrize(("sides", "strides", "unit"), CASES)
def test_units_are_row_major_and_a_selection_of_them_rerolls_too(sides: Any, strides: Any, unit: Any) -> None:
    grid = numbered(2, *sides, 3)
    units = unroll(grid, strides)
    apart = grid_to_units(grid, unit)
    assert torch.equal(reroll(units, strides), apart)
    if units.shape[1] > 1:
        chosen = torch.tensor([1, 0])
        assert torch.equal(reroll(units[:, chosen], strides), apart[:, chosen])


@pytest.mark.parametrize(("sides", "strides", "unit"), CASES)
def test_pooling_is_a_maximum_over_one_axis_and_leaves_units_unrolled(sides: Any, strides: Any, unit: Any) -> None:
    grid = torch.randn(2, *sides, 3, generator=torch.Generator().manual_seed(0))
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[len(sides) - 1]
    units = unroll(grid, strides)
    for number, stride in enumerate(strides[:-1], start=1):
        units = units.unflatten(2, (prod(stride), -1)).amax(2)
        grid = pool(grid.movedim(-1, 1), stride, stride).movedim(1, -1)
        assert torch.equal(units, unroll(grid, strides[number:]))


@pytest.mark.parametrize(("sides", "strides", "unit"), CASES)
def test_with_units_fastest_it_is_the_order_of_the_official_code(sides: Any, strides: Any, unit: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("hiera", reason="hiera-transformer is not installed")
        unroller = importlib.import_module("hiera.hiera_utils").Unroll(sides, (1,) * len(sides), strides)
    grid = numbered(2, *sides, 3)
    assert torch.equal(unroll(grid, strides).transpose(1, 2).flatten(1, 2), unroller(grid.flatten(1, -2)))


@pytest.mark.parametrize("antialias", [True, False])
def test_window_positions_repeat_per_unit_on_a_smooth_plane(antialias: bool) -> None:
    draws = torch.Generator().manual_seed(0)
    window = torch.randn(1, 4, 2, 3, generator=draws)
    flat = window_plane(torch.full((1, 5, 7, 3), 2.0), window, (12, 8), antialias)
    torch.testing.assert_close(grid_to_units(flat, (4, 2)), (window + 2)[:, None].expand(1, 12, 4, 2, 3))
    coarse = torch.randn(1, 5, 7, 3, generator=draws)
    smooth = window_plane(coarse, torch.zeros(1, 4, 2, 3), (4, 4), antialias)
    expected = F.interpolate(coarse.permute(0, 3, 1, 2), (4, 4), mode="bicubic", antialias=antialias)
    torch.testing.assert_close(smooth, expected.permute(0, 2, 3, 1))
