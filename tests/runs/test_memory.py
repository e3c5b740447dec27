"""What no machine can train is refused with the numbers, before any memory is taken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hvit import recipes
from hvit.errors import UserError
from hvit.machine import total_memory
from hvit.models.build import build_empty, count_parameters
from hvit.models.nest.config import NestConfig
from hvit.recipe import Recipe
from hvit.runs import memory
from hvit.runs.kinds import kind_of
from hvit.runs.memory import kept_bytes, refuse_too_large, weight_bytes
from hvit.training.distribute import Processes
from hvit.training.parallel import Division
from hvit.verbs import train

CPU = torch.device("cpu")
ALONE = Division(Processes(0, 1, CPU), "one")
SMALL = recipes.get_recipe("nest_micro_digits")
KIND = kind_of(SMALL.model)


def test_a_machine_says_how_much_memory_it_has() -> None:
    found = total_memory()
    assert found is None or 2**28 < found < 2**50


def test_weights_count_with_gradients_two_moments_and_the_average() -> None:
    parameters = count_parameters(build_empty(SMALL.model))
    with_average = replace(SMALL, optimize=replace(SMALL.optimize, average_decay=0.9))
    momentum = replace(SMALL, optimize=replace(SMALL.optimize, method="sgd"))
    assert weight_bytes(SMALL, KIND) == 16 * parameters
    assert weight_bytes(with_average, KIND) == 20 * parameters
    assert weight_bytes(momentum, KIND) == 12 * parameters


def test_an_input_leaves_what_its_layers_with_weights_see() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    assert memory._layer_inputs(network.to("meta"), torch.empty(1, 4, device="meta")) == 4 + 8


def test_inputs_that_are_forgotten_leave_nothing_and_half_precision_leaves_half() -> None:
    whole = kept_bytes(SMALL, KIND, CPU)
    assert whole > 100_000
    assert kept_bytes(replace(SMALL, loop=replace(SMALL.loop, precision="bfloat16")), KIND, CPU) == whole // 2
    assert kept_bytes(replace(SMALL, loop=replace(SMALL.loop, checkpoint_activations=True)), KIND, CPU) == 0


def beyond(kind: str) -> Recipe:
    if kind == "weights":
        dims, depths = (65_536,) * 3, (1,) * 3
        return replace(SMALL, model=replace(SMALL.model, dims=dims, depths=depths, heads=(1,) * 3))
    if kind == "inputs":
        return replace(SMALL, loop=replace(SMALL.loop, batch_size=100_000))
    return replace(SMALL, loop=replace(SMALL.loop, batch_size=10_000, accumulate=10_000, workers=500))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("weights", r"for the model's weights, gradients and optimizer .* cpu has 8\.0 GiB: choose a smaller --model"),
        ("inputs", r"for what 100,000 inputs at a time leave in it, but cpu has 8\.0 GiB"),
        ("batches", r"batches of 10,000 inputs, of which 500 data workers make 2 each ahead, take 38\.2 GiB, but"),
    ],
)
def test_what_is_too_large_is_refused_with_the_numbers_and_is_a_note_of_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, words: str
) -> None:
    monkeypatch.setattr(memory, "total_memory", lambda: 8 * 2**30)
    recipe = replace(beyond(kind), loop=replace(beyond(kind).loop, device="cpu"))
    with pytest.raises(UserError, match=words):
        train.train(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert "This machine cannot train it" in train.plan(recipe)["notes"]


@pytest.mark.parametrize("name", ["nest_micro_digits", "hiera_micro_mae_folder", "nest_gan_digits_32"])
def test_what_is_small_is_not_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(memory, "total_memory", lambda: 8 * 2**30)
    recipe = recipes.get_recipe(name)
    refuse_too_large(recipe, kind_of(recipe.model), 64, ALONE)


def test_a_machine_that_says_nothing_refuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "total_memory", lambda: None)
    assert isinstance(SMALL.model, NestConfig)
    refuse_too_large(SMALL, KIND, 10**9, ALONE)


@pytest.mark.parametrize(
    ("name", "passes", "share"),
    [("nest_micro_digits", 1, 1.0), ("hiera_micro_mae_folder", 1, 0.4), ("nest_gan_digits_32", 2, 1.0)],
)
def test_every_kind_says_what_a_step_passes_through(name: str, passes: int, share: float) -> None:
    recipe = recipes.get_recipe(name)
    found = kind_of(recipe.model).forward_passes(recipe)
    assert len(found) == passes
    assert found[0].share == pytest.approx(share)
    assert kept_bytes(recipe, kind_of(recipe.model), CPU) > 0
