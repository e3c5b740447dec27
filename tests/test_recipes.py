"""Every recipe builds, round-trips through JSON and shrinks to two steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hvit import recipes, run
from hvit.data.folders import FolderData
from hvit.data.images import DigitsData
from hvit.errors import UserError
from hvit.models import catalogue
from hvit.models.weights import save_weights
from hvit.recipe import read_recipe, write_recipe


@pytest.mark.parametrize("name", recipes.list_recipes())
def test_a_recipe_is_named_as_its_function_and_tells_what_it_claims(name: str) -> None:
    recipe, header = recipes.get_recipe(name), recipes.header(name)
    assert recipe.name == name
    assert name in header.command
    assert all(vars(header).values())


@pytest.mark.parametrize("name", recipes.list_recipes())
def test_a_recipe_comes_back_from_json_as_it_was(name: str, tmp_path: Path) -> None:
    recipe = recipes.get_recipe(name)
    write_recipe(recipe, tmp_path)
    assert read_recipe(tmp_path) == recipe


@pytest.mark.parametrize("name", recipes.list_recipes())
def test_a_recipe_shrinks_to_two_steps(name: str, tmp_path: Path, photo_folder: Path) -> None:
    recipe = recipes.get_recipe(name)
    levels = len(recipe.model.depths)
    model = replace(recipe.model, depths=(1,) * levels, dims=(24,) * levels, heads=(3,) * levels)
    data = recipe.data if isinstance(recipe.data, DigitsData) else FolderData(root=str(photo_folder))
    weights = None
    if recipe.weights is not None:
        weights = str(tmp_path / "start.safetensors")
        save_weights(catalogue.build(replace(model, input_size=(224, 224))), weights)
    loop = replace(recipe.loop, batch_size=4, max_steps=2, workers=0, epochs=1, device="cpu")
    scores = run.train(replace(recipe, model=model, data=data, loop=loop, weights=weights), tmp_path / "run")
    assert 0.0 <= scores["top1"] <= 1.0
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000


def test_the_published_recipes_have_the_published_settings() -> None:
    tiny = recipes.get_recipe("nest_tiny_cifar10")
    assert (tiny.loop.batch_size, tiny.loop.epochs, tiny.optimize.warmup_epochs) == (192, 300, 5)
    base = recipes.get_recipe("nest_base_imagenet")
    assert (base.loop.batch_size, base.loop.epochs, base.optimize.warmup_epochs) == (1024, 300, 20)
    assert (base.model.drop_path, base.optimize.weight_decay, base.optimize.no_decay) == (0.5, 0.05, "positions")
    assert (base.augment.mixup, base.augment.cutmix, base.augment.erasing) == (0.8, 1.0, 0.25)


def test_an_unknown_recipe_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(UserError, match="nest_micro_digits"):
        recipes.get_recipe("nest_micro_digit")
