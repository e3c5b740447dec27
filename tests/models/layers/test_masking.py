"""Masks: what fits a model and what does not, and units that come back to their places."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from hvit.errors import UserError
from hvit.models.build import build
from hvit.models.catalogue import entry
from hvit.models.layers.grids import grid_to_units
from hvit.models.layers.masking import Mask, check_mask, fill_masked, place_units, visible_units, zero_masked

VISIBLE = torch.tensor([[[True, False], [False, True]], [[True, True], [False, False]]])


def test_a_mask_without_a_token_is_sparse() -> None:
    assert Mask(VISIBLE).is_sparse
    assert not Mask(VISIBLE, torch.zeros(3)).is_sparse
    check_mask(Mask(VISIBLE), 2, (2, 2), (8, 8), 3)
    check_mask(Mask(VISIBLE, torch.zeros(3)), 2, (4, 4), (8, 8), 3)


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (VISIBLE, "a mask is Mask"),
        (Mask([[True]]), "got a list"),  # pyright: ignore[reportArgumentType]
        (Mask(VISIBLE.int()), "must be a bool tensor of shape"),
        (Mask(VISIBLE[:1]), "must be a bool tensor of shape"),
        (Mask(VISIBLE[:, :1]), "must be a bool tensor of shape"),
        (Mask(torch.zeros(2, 2, 2, dtype=torch.bool)), "at least one"),
        (Mask(torch.tensor([[[True, False]] * 2, [[True, True], [True, False]]])), "the same number"),
        (Mask(VISIBLE, torch.zeros(4)), r"token of this model is a tensor of shape \(3,\); got \(4,\)"),
        (Mask(VISIBLE, 0.0), "got float"),  # pyright: ignore[reportArgumentType]
        (Mask(VISIBLE.repeat(1, 3, 1)[:, :3], torch.zeros(3)), r"must divide the \(8, 8\) tokens"),
        (Mask(VISIBLE[:, 0], torch.zeros(3)), r"must divide the \(8, 8\) tokens"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(mask: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        check_mask(mask, 2, (2, 2), (8, 8), 3)


def test_visible_units_come_back_to_their_places() -> None:
    feature_map = torch.arange(2 * 4 * 6 * 5, dtype=torch.float32).view(2, 4, 6, 5) + 1
    units = visible_units(grid_to_units(feature_map, (2, 3)), VISIBLE)
    assert units.shape == (2, 2, 2, 3, 5)
    placed = place_units(units, VISIBLE)
    masked = placed == 0
    assert torch.equal(placed[~masked], feature_map[~masked])
    assert masked.float().mean() == 0.5
    token = -torch.arange(5.0)
    assert torch.equal(place_units(units, VISIBLE, token), fill_masked(feature_map, VISIBLE, token))
    images = feature_map.permute(0, 3, 1, 2)
    assert torch.equal(zero_masked(images, VISIBLE).permute(0, 2, 3, 1), placed)


@pytest.mark.parametrize("name", ["nest_micro_32", "hiera_micro_32", "mvitv2_micro_32"])
def test_dense_encoding_with_all_units_visible_is_the_model_on_whole_images(name: str) -> None:
    model = build(entry(name).config).eval()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    token: Tensor = torch.randn(model.config.dims[0])
    mask = Mask(torch.ones(2, 4, 4, dtype=torch.bool), token)
    with torch.no_grad():
        assert all(torch.equal(*pair) for pair in zip(model.levels(images, mask), model.levels(images), strict=True))
        half = mask.visible.clone()
        half[:, :2] = False
        assert not torch.equal(model.levels(images, Mask(half, token))[-1], model.levels(images)[-1])
