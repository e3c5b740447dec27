"""From a recipe to a model: classes follow the data, weights start a run, and a dry run leaves nothing."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hvit.errors import UserError
from hvit.recipe import read_recipe, with_classes_of_the_data, write_recipe
from hvit.recipes import get_recipe
from hvit.runs.classification import Classification
from hvit.runs.kinds import kind_of
from hvit.verbs import train
from tests.verbs.tiny import RECIPE, TINY


@pytest.mark.long
def test_weights_start_another_run_with_a_new_head(tmp_path: Path) -> None:
    first = replace(RECIPE, loop=replace(RECIPE.loop, max_steps=4))
    train.train(first, tmp_path / "first")
    lines: dict[str, str] = {}
    second = replace(first, weights=str(tmp_path / "first"))
    model = train.new_model(second, kind_of(second.model), lines.update)
    trained = load_file(tmp_path / "first" / "weights.safetensors")
    assert all(torch.equal(value, trained[name]) for name, value in model.state_dict().items())
    assert "hvit" in lines["loaded"]


def test_the_number_of_classes_follows_the_data_or_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"recipe has 7 classes .* but the data has 10"):
        train.train(replace(RECIPE, model=replace(TINY, num_classes=7)), tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_recipe_without_a_number_of_classes_takes_the_datas(tmp_path: Path) -> None:
    open_recipe = with_classes_of_the_data(RECIPE)
    assert open_recipe.model.num_classes is None
    assert train.plan(open_recipe) == train.plan(RECIPE)
    write_recipe(open_recipe, tmp_path)
    assert read_recipe(tmp_path) == open_recipe


def test_missing_weights_are_noticed_before_the_model_takes_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Classification, "build", lambda *_: pytest.fail("the model was built"))
    with pytest.raises(UserError, match="there is no weights file nowhere"):
        train.new_model(replace(RECIPE, weights="nowhere"), kind_of(RECIPE.model))


def test_what_a_dry_run_prints_is_all_it_does(tmp_path: Path, clip_folder: Path, photo_folder: Path) -> None:
    for name, source in (("hiera_micro_actions", clip_folder), ("nest_micro_folder", photo_folder)):
        root = tmp_path / name
        shutil.copytree(source, root)
        before = sorted(tmp_path.rglob("*"))
        recipe = get_recipe(name)
        train.plan(replace(recipe, data=replace(recipe.data, root=str(root)), loop=replace(recipe.loop, device="cpu")))
        assert sorted(tmp_path.rglob("*")) == before
