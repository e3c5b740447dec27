"""A run of masked pretraining takes any data, and says how much of an image its encoder sees."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hvit.data.images.digits import DigitsData
from hvit.data.open import open_data
from hvit.recipes import get_recipe
from hvit.runs.pretraining import Pretraining

RECIPE = get_recipe("hiera_micro_mae_cifar10")


def test_labels_change_nothing() -> None:
    splits = open_data(DigitsData(), 0, 3)
    for classes in ((), ("one",), splits.classes):
        assert Pretraining().fit_to_data(RECIPE, replace(splits, classes=classes)) == RECIPE


@pytest.mark.parametrize(("ratio", "seen"), [(0.6, 6), (0.75, 4)])
def test_only_the_visible_share_of_the_mask_units_is_encoded(ratio: float, seen: int) -> None:
    recipe = replace(RECIPE, model=replace(RECIPE.model, mask_ratio=ratio))
    assert f"{seen} of 16 mask units seen on 3x32x32" in Pretraining().describe(recipe)["model"]
    (one,) = Pretraining().forward_passes(recipe)
    assert one.share == pytest.approx(1 - ratio)
    assert all(weight.is_meta for weight in one.network.parameters()), "counted without memory"
    assert one.inputs[0].shape == (1, 3, 32, 32)
