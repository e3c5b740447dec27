"""Whole runs that deliver their best weights, with two parts of the data and with three."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hvit.data.open import FolderData
from hvit.errors import UserError
from hvit.recipe import Recipe
from hvit.recipes import get_recipe
from hvit.training.journal import read_journal
from hvit.verbs import evaluate, train
from tests.verbs.tiny import RECIPE, TINY


def recipe_of(root: Path) -> Recipe:
    return replace(
        RECIPE,
        model=replace(TINY, in_channels=3, num_classes=None),
        data=FolderData(root=str(root)),
        loop=replace(RECIPE.loop, epochs=3, batch_size=12, keep="best", patience=2),
    )


@pytest.fixture
def three_parts(photo_folder: Path, tmp_path: Path) -> Path:
    for part, kept in (("train", 6), ("val", 3), ("test", 4)):
        for name in ("red", "blue"):
            (tmp_path / "data" / part / name).mkdir(parents=True)
            for number in range(kept):
                shutil.copy(photo_folder / name / f"{number}.png", tmp_path / "data" / part / name)
    return tmp_path / "data"


@pytest.mark.long
def test_of_three_parts_one_chooses_and_another_is_reported(three_parts: Path, tmp_path: Path) -> None:
    lines: dict[str, str] = {}
    recipe = recipe_of(three_parts)
    scores = train.train(recipe, tmp_path / "run", lines.update)
    assert "12 images to train on, 6 held out, 8 to test on, 2 classes" in lines["data"]
    assert lines["delivers"] == (
        "the weights of the best evaluation; training stops after 2 evaluations without a better score; scores are of "
        "the 8 test images, which choose nothing"
    )
    stored = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert stored["evaluated_on"] == "test"
    assert (stored["count"], stored["validation"]["count"]) == (8, 6)
    best = stored["delivered"]["best_step"]
    rows = [row for row in read_journal(tmp_path / "run" / "journal.jsonl") if row["kind"] == "evaluate"]
    assert stored["validation"]["top1"] == max(row["top1"] for row in rows)
    assert next(row["top1"] for row in rows if row["step"] == best) == stored["validation"]["top1"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Test accuracy" in page
    assert "The weights are those of step" in page
    again = evaluate.evaluate(tmp_path / "run", report=lines.update)
    assert (again["top1"], again["count"]) == (scores["top1"], 8)
    assert "Scores are of the 8 test samples, not of the 6 for validation." in lines["notes"]


def test_with_two_parts_the_plan_says_that_the_same_images_choose_and_are_scored(photo_folder: Path) -> None:
    recipe = recipe_of(photo_folder)
    plan = train.plan(recipe)
    assert plan["delivers"].endswith(
        "the 2 held-out images choose and are scored, because there are no test images: scores are a little too good"
    )
    usual = replace(recipe, loop=replace(recipe.loop, keep="last", patience=0))
    assert "delivers" not in train.plan(usual), "the usual run chooses nothing"
    average = replace(recipe, loop=replace(recipe.loop, keep="average", patience=0))
    assert train.plan(average)["delivers"] == "the mean of the weights of the evaluations in the last quarter"


def test_choices_that_cannot_be_made_are_refused(
    photo_folder: Path, hvit: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"loop.keep average .* choose one of them"):
        replace(RECIPE.loop, keep="average", patience=1)
    with pytest.raises(UserError, match=r"loop\.patience must be 0 or more; got -1"):
        replace(RECIPE.loop, patience=-1)
    photos = get_recipe("photos")
    probe = replace(photos, loop=replace(photos.loop, keep="best"), data=FolderData(root=str(photo_folder)))
    weights = tmp_path / "weights"
    train.train(replace(recipe_of(photo_folder), loop=replace(RECIPE.loop, max_steps=1)), weights)
    with pytest.raises(UserError, match=r"a probe is evaluated once, so --loop.keep best has nothing to choose from"):
        train.plan(replace(probe, weights=str(weights)))
    status, _, errors = hvit("train", "nest_micro_digits", "--loop.keep", "newest", "--dry-run")
    assert status == 2
    assert "--loop.keep must be one of last, best, average; got 'newest'" in errors
