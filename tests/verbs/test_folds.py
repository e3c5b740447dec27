"""A cross-validation trains a run for every fold, goes on where it was stopped, and predicts as an ensemble."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hvit.cli.main import main
from hvit.data.open import FolderData
from hvit.errors import UserError
from hvit.metrics.labelled import regression_scores
from hvit.recipe import Recipe, read_recipe, write_recipe
from hvit.recipes import get_recipe
from hvit.runs.confidence import Outputs, write_predictions
from hvit.tasks.confidence import ConfidenceConfig
from hvit.verbs import folds, train
from tests.verbs.test_labels import HEADERS, make_images
from tests.verbs.tiny import RECIPE, TINY


def recipe_of(root: Path) -> Recipe:
    return replace(
        RECIPE,
        model=replace(TINY, in_channels=3, num_classes=None),
        data=FolderData(root=str(root), folds=3, group=r"\w+/\d"),
        loop=replace(RECIPE.loop, epochs=1, batch_size=8),
        confidence=ConfidenceConfig(outliers=False),
    )


@pytest.fixture(scope="module")
def finished(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folds") / "run"
    folds.cross_validate(recipe_of(photo_folder), folder)
    return folder


def test_every_sample_is_predicted_by_the_run_that_did_not_train_on_it(finished: Path) -> None:
    rows = list(csv.DictReader((finished / "out_of_fold.csv").read_text().splitlines()))
    assert len(rows) == len({row["name"] for row in rows}) == 12
    assert list(rows[0]) == ["name", "group", "fold", "class", "predicted", "blue", "red"]
    assert {row["group"] for row in rows} == {row["name"].removesuffix(".png") for row in rows}
    for row in rows:
        assert float(row["blue"]) + float(row["red"]) == pytest.approx(1, abs=1e-5)
        plan = json.loads((finished / f"fold_{row['fold']}" / "plan.json").read_text())
        assert row["name"] in plan["data"]["held_out"]["files"]
        assert row["name"] not in plan["data"]["train"]["files"]
    scores = json.loads((finished / "scores.json").read_text())
    hits = [row["class"] == row["predicted"] for row in rows]
    assert scores["top1"] == pytest.approx(np.mean(hits))
    assert scores["mean_of_folds"] == pytest.approx(np.mean([one["top1"] for one in scores["folds"]]))
    low, high = scores["interval"]
    assert low <= scores["top1"] <= high
    page = (finished / "report.html").read_text()
    assert "Out-of-fold accuracy" in page
    assert "fold_3/report.html" in page


@pytest.mark.long
def test_a_stopped_one_goes_on_with_the_fold_in_progress(
    finished: Path, photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, trained = train.train, []

    def stops(recipe: Recipe, folder: Path, report: object) -> object:
        trained.append(folder.name)
        if folder.name == "fold_2":
            usual(replace(recipe, loop=replace(recipe.loop, max_steps=1)), folder)
            (folder / "scores.json").unlink()
            raise UserError("stopped")
        return usual(recipe, folder)

    monkeypatch.setattr(train, "train", stops)
    recipe = recipe_of(photo_folder)
    with pytest.raises(UserError, match="stopped"):
        folds.cross_validate(recipe, tmp_path / "run")
    with pytest.raises(UserError, match="already holds a run"):
        folds.cross_validate(recipe, tmp_path / "run")
    assert read_recipe(tmp_path / "run").data == recipe.data
    scores = folds.resume(tmp_path / "run")
    assert trained == ["fold_1", "fold_2", "fold_3"]
    assert (tmp_path / "run" / "out_of_fold.csv").read_text() == (finished / "out_of_fold.csv").read_text()
    assert folds.resume(tmp_path / "run") == scores, "a finished one is put together again"
    assert trained == ["fold_1", "fold_2", "fold_3"]


def test_the_command_line_trains_reports_and_predicts_with_the_mean_of_all_folds(
    finished: Path, photo_folder: Path, hvit: Callable[..., tuple[int, str, str]]
) -> None:
    image = photo_folder / "red" / "0.png"
    together = json.loads(hvit("predict", finished, image, "--json")[1])["classes"]
    alone = [
        {one["class"]: one["probability"] for one in json.loads(hvit("predict", member, image, "--json")[1])["classes"]}
        for member in folds.members_of(finished)
    ]
    for one in together:
        assert one["probability"] == pytest.approx(np.mean([some[one["class"]] for some in alone]), abs=1e-5)
    assert hvit("report", finished)[1].strip() == str(finished / "report.html")
    status, printed, _ = hvit("resume", finished)
    assert status == 0
    assert "12 samples, each predicted by the run that did not train on it: top-1" in printed
    status, _, errors = hvit("predict", finished, image, "--fast")
    assert status == 2
    assert "this is an ensemble of all folds" in errors
    status, _, plan = hvit("train", "nest_micro_folder", "--data.root", photo_folder, "--data.folds", "4", "--dry-run")
    assert status == 0
    assert "4 runs like this one, each holds out another fold" in plan


def test_what_cannot_be_is_refused_before_anything_is_written(photo_folder: Path, tmp_path: Path) -> None:
    recipe = recipe_of(photo_folder)
    for group, words in (
        (r"^(\w+)/", "3 folds need 3 groups or more; there are 2: blue; red"),
        ("x", "matches nothing"),
    ):
        with pytest.raises(UserError, match=words):
            folds.cross_validate(replace(recipe, data=replace(recipe.data, group=group)), tmp_path / "run")
    with pytest.raises(UserError, match=r"train all with hvit\.verbs\.folds\.cross_validate"):
        train.train(recipe, tmp_path / "run")
    masked = replace(get_recipe("hiera_micro_mae_folder"), data=recipe.data)
    with pytest.raises(UserError, match="cross-validation is for classifiers"):
        folds.cross_validate(masked, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_damaged_table_and_missing_weights_are_named(finished: Path, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(finished, tmp_path / "copy"))
    (copy / "fold_2" / "predictions.csv").write_text("name,class\n1,2\n")
    with pytest.raises(UserError, match="is no table of predictions"):
        folds.summarise(copy)
    (copy / "fold_3" / "weights.safetensors").unlink()
    with pytest.raises(UserError, match="has no weights of fold_3 yet"):
        folds.members_of(copy)


def test_groups_that_the_predictions_name_are_those_of_the_interval(tmp_path: Path, photo_folder: Path) -> None:
    recipe = recipe_of(photo_folder)
    write_recipe(replace(recipe, data=replace(recipe.data, group="")), tmp_path)
    for fold in (1, 2, 3):
        place = tmp_path / f"fold_{fold}"
        place.mkdir()
        logits = torch.tensor([[1.0, 0.0]] * 4)
        looked = Outputs(logits, torch.tensor([0, 0, 1, 0]), torch.tensor([]), None)
        names, groups = [f"{fold}/{number}" for number in range(4)], [f"site {fold}"] * 3 + ["one more"]
        write_predictions(place / "predictions.csv", names, looked, ("cat", "dog"), groups)
        (place / "scores.json").write_text("{}")
    scores = folds.summarise(tmp_path)
    assert scores["groups"] == 4
    rows = list(csv.DictReader((tmp_path / "out_of_fold.csv").read_text().splitlines()))
    assert [row["group"] for row in rows[:4]] == ["site 1"] * 3 + ["one more"]
    assert "over 4 groups" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("kind", ["multi", "regression"])
@pytest.mark.long
def test_folds_of_other_labels_have_a_table_and_the_scores_of_their_kind(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    columns = HEADERS[kind].split(",")
    data = FolderData(table=str(make_images(images, kind)), label_columns=tuple(columns), folds=3)
    recipe = replace(
        RECIPE, model=replace(TINY, in_channels=1, num_classes=None), data=data,
        loop=replace(RECIPE.loop, epochs=1, batch_size=16), confidence=ConfidenceConfig(outliers=False),
    )  # fmt: skip
    run = tmp_path / "run"
    scores = folds.cross_validate(recipe, run)
    rows = list(csv.DictReader((run / "out_of_fold.csv").read_text().splitlines()))
    assert len({row["name"] for row in rows}) == scores["count"] == 48
    assert list(rows[0]) == ["name", "group", "fold", *columns, *(f"predicted {name}" for name in columns)]
    key = folds.SCORE_OF[kind]
    assert (scores["label_kind"], len(scores["folds"])) == (kind, 3)
    assert scores["interval"][0] <= scores[key] <= scores["interval"][1]
    assert scores["mean_of_folds"] == pytest.approx(np.mean([one[key] for one in scores["folds"]]))
    truth, found = ([[float(row[f"{word}{name}"]) for name in columns] for row in rows] for word in ("", "predicted "))
    if kind == "regression":
        assert regression_scores(np.array(found), np.array(truth), columns)["r2"] == pytest.approx(
            scores["r2"], abs=1e-4
        )
    else:
        counts = [sum(row["fold"] == str(fold) and row["top"] == "1" for row in rows) for fold in (1, 2, 3)]
        assert max(counts) - min(counts) <= 2, "folds are as even as can be"
    page = (run / "report.html").read_text()
    assert ("Out-of-fold R²" if kind == "regression" else "Out-of-fold mean average precision") in page
    main(["report", str(run)])
    main(["predict", str(run), str(images / "000.png"), "--json", "--device", "cpu"])
    assert ("values" if kind == "regression" else "labels") in json.loads(capsys.readouterr().out.splitlines()[-1])
    with pytest.raises(UserError, match="are looked at for one class a sample"):
        folds.read_out_of_fold(run)
    (run / "fold_2" / "predictions.csv").write_text("name,top\n1,x\n")
    with pytest.raises(UserError, match="is no table of predictions"):
        folds.summarise(run)
