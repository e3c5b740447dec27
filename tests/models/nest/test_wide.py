"""NesT of images that are no squares: blocks are rectangles, and everything built on them works."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import hvit
from hvit.errors import UserError
from hvit.explain import block_shapley, gradcat_batch
from hvit.models.layers.grids import blocks_to_grid, grid_to_blocks, resize_blocks
from hvit.models.layers.masking import Mask
from hvit.models.nest.config import NestConfig
from hvit.models.nest.model import Nest
from hvit.models.weights.timm import to_timm

WIDE = NestConfig(
    input_size=(32, 64), patch_size=(2, 2), num_classes=3, dims=(8, 16, 32), heads=(1, 2, 4), depths=(1, 1, 1),
)  # fmt: skip


def wide() -> Nest:
    torch.manual_seed(0)
    return Nest(WIDE).eval()


def test_blocks_of_any_shape_are_joined_again() -> None:
    grid = torch.randn(2, 8, 12, 3)
    blocks = grid_to_blocks(grid, (2, 3))
    assert blocks.shape == (2, 16, 6, 3)
    assert torch.equal(blocks_to_grid(blocks, (2, 3)), grid)
    assert resize_blocks(torch.randn(1, 16, 4, 3), (2, 5), "plane").shape == (1, 16, 10, 3)
    assert resize_blocks(torch.randn(1, 16, 4, 3), (2, 5), "block").shape == (1, 16, 10, 3)


def test_levels_have_the_shape_of_the_input_and_a_block_sees_its_rectangle_only() -> None:
    model, images = wide(), torch.randn(1, 3, 32, 64)
    assert WIDE.block_shape == (4, 8)
    assert [tuple(grid.shape[1:3]) for grid in model.levels(images)] == [(16, 32), (8, 16), (4, 8)]
    assert [model.level_sizes(level) for level in range(3)] == [(16, 32), (8, 16), (4, 8)]
    changed = images.clone()
    changed[..., 8:16, 16:32] += 1  # the second block of the second row
    differs = (model.levels(changed)[0] != model.levels(images)[0]).any(-1)[0]
    assert differs[4:8, 8:16].all()
    assert not differs.sum() > 32


def test_masked_blocks_have_no_effect() -> None:
    model, images = wide(), torch.randn(2, 3, 32, 64)
    visible = torch.zeros(2, 4, 4, dtype=torch.bool)
    visible[:, ::2, ::2] = True
    levels = model.levels(images, Mask(visible))
    changed = images.clone()
    changed[..., 8:16, 16:32] += 5
    assert all(torch.equal(one, other) for one, other in zip(levels, model.levels(changed, Mask(visible)), strict=True))


def test_it_is_saved_opened_and_explained(tmp_path: Path) -> None:
    model, images = wide(), torch.randn(1, 3, 32, 64)
    hvit.save_weights(model, tmp_path / "wide.safetensors")
    again = hvit.open_weights(tmp_path / "wide.safetensors").model
    assert torch.equal(again(images), model(images))
    tree = block_shapley(model, images, 1)[0][0]
    assert tree.regions[0] in {(0, 0, 32, 16), (32, 0, 64, 16), (0, 16, 32, 32), (32, 16, 64, 32)}
    found = gradcat_batch(model, images, [1])[0][0]
    assert len(found.path) == 2
    left, top, right, bottom = found.regions[-1]
    assert (right - left, bottom - top) == (16, 8)


def test_weights_of_a_square_model_are_resized() -> None:
    square = Nest(replace(WIDE, input_size=(32, 32)))
    report = hvit.load_weights(wide(), square.state_dict())
    assert report.resized["hierarchies.0.positions"] == ((1, 16, 16, 8), (1, 16, 32, 8))


def test_what_takes_squares_says_so() -> None:
    with pytest.raises(UserError, match=r"multiples of 8.*got \(32, 60\)"):
        replace(WIDE, input_size=(32, 60))
    with pytest.raises(UserError, match="takes square images"):
        replace(WIDE, aggregation_plane="parent")
    with pytest.raises(UserError, match="takes square images"):
        replace(WIDE, block_size=4)
    with pytest.raises(UserError, match="takes square patches"):
        replace(WIDE, patch_size=(2, 4))
    with pytest.raises(UserError, match="timm's NesT takes square images only"):
        to_timm(wide())
