"""What an experiment is made of: differences with weights, images that are counted once, and recipes that follow."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hvit.data.images.cifar import CifarData
from hvit.experiments.experiment import Claim, Pretraining, images_seen, with_data_under, with_rate
from tests.experiments.written import CELLS, RECIPE, TOY

CIFAR = replace(
    RECIPE,
    data=CifarData(root="cifar10", num_per_class=100),
    loop=replace(RECIPE.loop, epochs=3, batch_size=128),
)


def test_a_difference_of_differences_weighs_its_cells_and_every_claim_adds_up_to_nothing() -> None:
    one = Claim("", ("a", "b"), ("c",), than=(("c",), ("d",)))
    assert one.weights() == {"a": 0.5, "b": 0.5, "c": -2.0, "d": 1.0}
    assert sum(one.weights().values()) == pytest.approx(0)


def test_images_are_those_of_whole_batches_and_shared_pretraining_counts_once() -> None:
    assert images_seen(CIFAR) == 3 * 7 * 128
    assert images_seen(replace(CIFAR, data=CifarData(root="cifar10"))) == 3 * 390 * 128
    assert images_seen(RECIPE) == 0, "of data whose size is not known before"
    before = Pretraining("first", CIFAR)
    cells = tuple(replace(cell, recipe=CIFAR, pretraining=before) for cell in CELLS)
    assert replace(TOY, cells=cells).images() == 3 * images_seen(CIFAR)
    elsewhere = (cells[0], replace(cells[1], home="another"))
    assert replace(TOY, cells=elsewhere).images() == 2 * images_seen(CIFAR)


def test_families_are_named_once_in_the_order_of_the_cells() -> None:
    cells = tuple(replace(cell, family=family) for cell, family in zip((*CELLS, *CELLS), "bab ", strict=True))
    assert replace(TOY, cells=cells).families == ("b", "a", " ")
    assert TOY.families == ()


def test_a_recipe_takes_its_learning_rate_and_the_folder_of_its_data() -> None:
    assert with_rate(CIFAR, 0.5).optimize.learning_rate_per_256 == 0.5
    assert with_data_under(CIFAR, "/data").data == replace(CIFAR.data, root="/data/cifar10")
    assert with_data_under(CIFAR, "") == CIFAR
    assert with_data_under(RECIPE, "/data") == RECIPE, "embedded data"
