"""Lists of hvit's own are named in recipes, and found wherever hvit is installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hvit.data.clips.packaged import FIELDS, PACKAGED, list_path, portable
from hvit.data.clips.settings import ClipData
from hvit.data.open import with_full_paths
from hvit.errors import UserError
from hvit.experiments.multi_view import fold, multi_view
from hvit.recipe import as_json, changed_fields, read_recipe

ELSEWHERE = (
    "/opt/python/site-packages/hvit/experiments/folds/",
    "C:\\Python\\Lib\\site-packages\\hvit\\experiments\\folds\\",
)


def test_a_list_is_found_by_its_name_and_others_by_their_path(tmp_path: Path) -> None:
    for name in FIELDS:
        assert list_path(getattr(fold(0), name)).is_file()
    assert list_path(str(tmp_path / "mine.txt")) == tmp_path / "mine.txt"
    with pytest.raises(UserError, match=r"no list of clips ../secret; it has weizmann_0_held_out.txt"):
        list_path("hvit:../secret")
    with pytest.raises(UserError, match="give the folder of its clips"):
        ClipData(train_list="hvit:weizmann_0_train.txt")


@pytest.mark.parametrize("installation", ELSEWHERE)
def test_recipes_with_the_path_of_another_installation_are_the_same(tmp_path: Path, installation: str) -> None:
    recipe = multi_view("quick").cells[0].recipe
    before = as_json(recipe)
    for name in FIELDS:
        before["data"][name] = before["data"][name].replace(PACKAGED, installation)
    assert json.dumps(before) != json.dumps(as_json(recipe))
    assert changed_fields(before, recipe) == ()
    (tmp_path / "recipe.json").write_text(json.dumps(before))
    assert read_recipe(tmp_path) == recipe


def test_a_name_is_no_path_of_the_folder_that_a_run_is_started_in() -> None:
    data = fold(1)
    now = with_full_paths(data)
    assert [getattr(now, name) for name in FIELDS] == [getattr(data, name) for name in FIELDS]


def test_lists_of_ones_own_keep_their_paths() -> None:
    for own in ("/data/folds/weizmann_0_train.txt", "weizmann_classes.txt", "/hvit/experiments/folds/mine.csv"):
        assert portable(own) == own
