"""Mask patterns: as many visible units as published, and of their kind."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hvit.models.masked.masks import sample_visible


@pytest.mark.parametrize(
    ("grid", "ratio", "pattern", "count"),
    [
        ((7, 7), 0.6, "random", 19),
        ((8, 7, 7), 0.9, "random", 39),
        ((8, 7, 7), 0.9, "tube", 32),
        ((8, 7, 7), 0.75, "frame", 98),
        ((7, 7), 0.6, "block", 19),
        ((8, 7, 7), 0.9, "block", 39),
        ((4, 4), 0.75, "nested", 4),
    ],
)
def test_masks_show_as_many_units_as_published_and_are_of_their_kind(
    grid: Any, ratio: Any, pattern: Any, count: Any
) -> None:
    visible = sample_visible(3, grid, ratio, pattern, generator=torch.Generator().manual_seed(0))
    again = sample_visible(3, grid, ratio, pattern, generator=torch.Generator().manual_seed(0))
    assert torch.equal(visible, again)
    assert visible.shape == (3, *grid)
    assert visible.flatten(1).sum(1).tolist() == [count] * 3
    if pattern == "tube":
        assert torch.equal(visible.all(1), visible.any(1))
    if pattern == "frame":
        assert torch.equal(visible.flatten(2).all(2), visible.flatten(2).any(2))
    if pattern == "nested":
        assert (visible.view(3, 2, 2, 2, 2).sum((2, 4)) == 1).all()
