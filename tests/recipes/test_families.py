"""Every recipe of classification takes a model of another family, timm's by their names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from hvit.errors import UserError
from hvit.models.build import build_empty
from hvit.recipes import get_recipe
from hvit.recipes.families import FAMILIES, with_family

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("family", [one for one in FAMILIES if one not in ("timm", "clip_baseline")])
def test_a_recipe_gets_a_small_model_of_each_of_our_families(family: str) -> None:
    recipe = with_family(get_recipe("nest_micro_cifar10"), ["--model.family", family])
    model: Any = recipe.model
    assert (model.family, model.input_size) == (family, (32, 32))
    if family != "nest":
        assert model.num_classes is None
    assert recipe.data == get_recipe("nest_micro_cifar10").data
    build_empty(get_recipe("nest_micro_cifar10").model)


def test_a_recipe_of_clips_gets_a_small_model_of_clips_whatever_its_input_size() -> None:
    for name, family in (("hiera_micro_moving_digits", "mvit"), ("hiera_micro_actions", "mvit")):
        recipe = get_recipe(name)
        model: Any = with_family(recipe, ["--model.family", family]).model
        assert (model.family, model.input_size) == (family, recipe.model.input_size)
        build_empty(replace(model, num_classes=4))


def test_the_command_line_takes_models_of_timm_by_their_names(hvit: Run) -> None:
    status, _, plan = hvit(
        "train", "nest_micro_digits", "--model.family", "timm", "--model.name", "vit_tiny_patch16_224",
        "--model.settings", '{"patch_size": 4, "embed_dim": 96, "depth": 2, "num_heads": 3}', "--dry-run",
    )  # fmt: skip
    assert status == 0
    assert "timm/vit_tiny_patch16_224" in plan
    assert "1x32x32" in plan
    for given, sentence in (
        (["timm"], "--model.family timm needs the model's name there"),
        (["swin"], "--model.family must be one of nest, mvit, hiera, vit, resnet, timm"),
    ):
        status, _, err = hvit("train", "nest_micro_digits", "--model.family", *given, "--dry-run")
        assert status == 2
        assert sentence in err


def test_recipes_without_a_classifier_refuse_it() -> None:
    with pytest.raises(UserError, match="is for recipes of classification, and hiera_micro_mae_cifar10 has"):
        with_family(get_recipe("hiera_micro_mae_cifar10"), ["--model.family=vit"])
