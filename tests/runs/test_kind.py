"""What every kind of run has without saying it: the plan of its steps, its warnings, and networks without memory."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hvit.data.images.digits import DigitsData
from hvit.data.open import open_data
from hvit.data.preprocess import Preprocess
from hvit.recipe import Recipe
from hvit.runs.classification import Classification
from hvit.runs.kind import Kind, Prepared
from hvit.training.distribute import Processes
from hvit.training.schedule import Schedule
from tests.verbs.tiny import RECIPE


def prepared(recipe: Recipe, steps: int = 10) -> Prepared:
    ranks = Processes(0, 1, torch.device("cpu"))
    splits = open_data(DigitsData(canvas=8), 0, 1)
    schedule = Schedule.of(recipe.loop, recipe.optimize, steps, ranks)
    return Prepared(recipe, splits, Preprocess((8, 8), splits.mean, splits.std, 1.0), schedule, ranks)


def test_a_kind_that_says_too_little_is_no_kind() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Kind()  # pyright: ignore[reportAbstractUsage]


def test_the_plan_names_steps_batches_and_repeats() -> None:
    lines = Classification().describe_training(prepared(RECIPE))
    assert lines["steps"].startswith("20 of 128 images (1 x 128), 10 an epoch")
    repeated = replace(RECIPE, loop=replace(RECIPE.loop, repeats=2))
    assert "each 2 times" in Classification().describe_training(prepared(repeated))["steps"]


def test_a_batch_larger_than_the_data_is_warned_of_and_a_usual_one_is_not() -> None:
    large = replace(RECIPE, loop=replace(RECIPE.loop, batch_size=4096))
    usual = replace(RECIPE, loop=replace(RECIPE.loop, epochs=2000))
    notes = [Classification().training_notes(prepared(recipe)) for recipe in (large, usual)]
    assert "4,096" in notes[0][0] or "4096" in notes[0][0]
    assert not notes[1]


def test_networks_are_counted_without_memory() -> None:
    (network,) = Classification().empty_networks(RECIPE)
    assert all(weight.is_meta for weight in network.parameters())
    (one,) = Classification().forward_passes(RECIPE)
    assert (one.inputs[0].shape, one.inputs[0].is_meta, one.share) == ((1, 1, 8, 8), True, 1.0)
