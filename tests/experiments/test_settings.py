"""The families that are compared are of one size, and their learning rates are looked for in the same way."""

from __future__ import annotations

import pytest

from hvit.experiments.settings import MODELS, RATES, SWEEP_SEED, TITLES, model_of, sweep, title_of
from hvit.models.build import build_empty, count_parameters


@pytest.mark.parametrize("family", TITLES)
def test_every_family_has_about_as_many_parameters_and_the_classes_of_cifar(family: str) -> None:
    model = model_of(family)
    assert 0.44e6 < count_parameters(build_empty(model)) < 0.64e6
    assert model.num_classes == 10
    assert model.input_size in ((32, 32), (64, 64)), "two stems see CIFAR enlarged"
    assert title_of(family)


def test_a_sweep_differs_in_the_rate_alone_and_from_what_is_measured_in_the_seed() -> None:
    found = sweep("nest", "quick")
    assert tuple(found) == RATES["quick"]
    assert {recipe.optimize.learning_rate_per_256 for recipe in found.values()} == set(found)
    assert len({(recipe.model, recipe.data, recipe.loop, recipe.seed) for recipe in found.values()}) == 1
    assert all(recipe.seed == SWEEP_SEED > 100 for recipe in found.values())
    assert found[2e-3].model == MODELS["nest"]
    assert sweep("nest", "published") == {}, "published rates are taken as they are"
