"""A plan says when a run is too short to learn, or its batch too large for its data, and what to set instead."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hvit import recipes
from hvit.data.batches import steps_per_epoch
from hvit.data.images.folders import FolderData
from hvit.recipe import with_classes_of_the_data
from hvit.training.distribute import Processes
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig, Schedule, few_steps_notes
from hvit.verbs import train

ALONE = Processes(0, 1, torch.device("cpu"))


def notes(
    loop: LoopConfig, size: int, *, warmup: float = 0.0, ranks: Processes = ALONE, from_weights: bool = False
) -> tuple[str, ...]:
    return few_steps_notes(loop, OptimizeConfig(warmup_epochs=warmup), size, ranks, "images", from_weights)


def advised(loop: LoopConfig, note: str) -> LoopConfig:
    """The loop with what a note advises."""
    given = dict(re.findall(r"--loop\.(batch-size|epochs) (\d+)", note))
    assert given
    return replace(
        loop,
        batch_size=int(given.get("batch-size", loop.batch_size)),
        epochs=int(given.get("epochs", loop.epochs)),
    )


@pytest.mark.parametrize("size", [1, 7, 60, 200, 999, 10_000])
@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("repeats", [1, 4])
@pytest.mark.parametrize(("batch", "epochs"), [(64, 40), (128, 3), (512, 400), (1024, 300), (4096, 1)])
def test_what_a_note_advises_makes_as_many_steps_as_it_says_and_enough(
    size: int, devices: int, repeats: int, batch: int, epochs: int
) -> None:
    loop, ranks = LoopConfig(epochs=epochs, batch_size=batch, repeats=repeats), Processes(0, devices, ALONE.device)
    found = notes(loop, size, ranks=ranks)
    steps = epochs * steps_per_epoch(size, batch)
    assert bool(found) >= (steps < 400)
    for note in found:
        better = advised(loop, note)
        assert better.batch_size <= batch
        assert better.batch_size // devices % repeats == 0
        schedule = Schedule.of(better, OptimizeConfig(), steps_per_epoch(size, better.batch_size), ranks)
        assert f"{schedule.total_steps:,} steps" in note
        assert schedule.total_steps >= 1000
        assert notes(better, size, ranks=ranks) == ()


def test_a_run_of_few_steps_is_said_to_be_one() -> None:
    (note,) = notes(LoopConfig(epochs=40, batch_size=64), 200)
    assert note == (
        "120 steps are little to train from random initialisation, where 1,000 are a good start: --loop.batch-size 8 "
        "would make 1,000 steps, and the learning rate follows."
    )
    assert notes(LoopConfig(epochs=40, batch_size=64), 200, from_weights=True) == ()
    (note,) = notes(LoopConfig(epochs=2, batch_size=64), 640, from_weights=True)
    assert note.startswith(
        "20 steps are little to train from weights, where 250 are a good start: --loop.batch-size 32"
    )


def test_a_recipe_for_several_devices_is_told_to_take_a_smaller_batch_of_a_small_folder() -> None:
    recipe = recipes.get_recipe("nest_tiny_imagenet")
    (note,) = few_steps_notes(recipe.loop, recipe.optimize, 500, ALONE, "images")
    assert note == (
        "A batch of 1,024 is meant for large GPUs, or several, and far more than 500 images: they make 1 step an "
        "epoch: --loop.batch-size 16 would make 9,300 steps, and the learning rate follows."
    )
    assert few_steps_notes(recipe.loop, recipe.optimize, 1_281_167, ALONE, "images") == ()
    clips = recipes.get_recipe("mvitv2_small_k400")
    (note,) = few_steps_notes(clips.loop, clips.optimize, 4_000, ALONE, "clips")
    assert "4,000 clips: they make 7 steps an epoch: --loop.batch-size 128" in note


def test_a_warm_up_longer_than_the_run_is_named_with_a_shorter_one() -> None:
    (note,) = notes(LoopConfig(epochs=10, batch_size=32), 50_000, warmup=20)
    assert note.startswith("The warm-up takes 20 epochs and the run 10")
    assert "set --optimize.warmup-epochs 1, or more" in note
    assert notes(LoopConfig(epochs=10, batch_size=32), 50_000, warmup=9.5) == ()


def test_cutting_a_run_short_by_steps_is_not_commented_on() -> None:
    assert notes(LoopConfig(epochs=10, batch_size=32, max_steps=2), 50_000) == ()


@pytest.mark.parametrize(
    ("name", "size"),
    [("nest_micro_digits", 1347), ("nest_gan_digits_32", 1347), ("hiera_micro_moving_digits", 4000)],
)
def test_recipes_on_embedded_data_which_learn_are_not_said_to_have_few_steps(name: str, size: int) -> None:
    recipe = recipes.get_recipe(name)
    assert few_steps_notes(recipe.loop, recipe.optimize, size, ALONE, "images") == ()


@pytest.mark.parametrize("name", ["nest_micro_folder", "nest_tiny_imagenet"])
def test_the_plan_of_a_small_folder_says_what_to_set(name: str, photo_folder: Path) -> None:
    recipe = with_classes_of_the_data(recipes.get_recipe(name))
    lines = train.plan(replace(recipe, data=FolderData(root=str(photo_folder))))
    assert "--loop.batch-size 8" in lines["notes"]


def test_a_learning_rate_without_a_rise_or_a_fall_is_not_described_as_one() -> None:
    loop, plain = LoopConfig(epochs=1, batch_size=256), OptimizeConfig(warmup_epochs=0, learning_rate_per_256=0.002)
    assert Schedule.of(loop, plain, 10, ALONE).describe_learning_rate() == (
        "0.002 at the first step, then a cosine to 0 at step 10"
    )
    constant = replace(plain, final_learning_rate_per_256=0.002, warmup_epochs=0.5)
    assert Schedule.of(loop, constant, 10, ALONE).describe_learning_rate() == "rises to 0.002 in 5 steps, then constant"
