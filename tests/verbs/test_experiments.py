"""What of an experiment is missing is counted without running anything."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hvit import experiments
from hvit.data.clips.packaged import PACKAGED
from hvit.errors import UserError
from hvit.experiments.grid import Place, jobs_of
from hvit.experiments.multi_view import multi_view
from hvit.recipe import RECIPE, as_json, read_recipe
from hvit.run_names import WEIGHTS
from hvit.tasks.task import Scores
from hvit.training.journal import Journal
from hvit.verbs import experiments as verb
from hvit.verbs.experiments import missing_runs, results, status
from tests.experiments.written import CELLS, TOY, finished


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(experiments.EXPERIMENTS, "toy", lambda scale: TOY)


@pytest.mark.usefixtures("toy")
def test_runs_are_counted_by_how_far_they_are(tmp_path: Path) -> None:
    place = finished(tmp_path, flat=(0.5, 0.6))
    failed = place.run(TOY, CELLS[1], 1)
    failed.mkdir(parents=True)
    (failed / "recipe.json").write_text("{}")
    Journal(failed).write("failed", 3, reason="nan")
    (row,) = status(["toy"], place)
    assert (row["runs"], row["done"], row["begun"], row["failed"], row["seconds"]) == (4, 2, 0, 1, 20)
    assert row["which_failed"] == ["toy/deep-seed-1"]
    assert missing_runs(["toy"], place) == 1, "what failed is not tried again"
    assert missing_runs(["toy"], place, seeds=1) == 1


@pytest.mark.usefixtures("toy")
def test_results_of_nothing_are_refused_with_the_command_that_makes_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="hvit experiments run toy --out"):
        results("toy", Place(tmp_path, "quick"))
    assert results("toy", finished(tmp_path, flat=(0.5,))).finished == 1


def test_a_run_that_another_installation_began_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resumed: list[Path] = []

    def resume(folder: Path) -> Scores:
        resumed.append(folder)
        return {"top1": 0.5}

    monkeypatch.setattr(verb.train, "resume", resume)
    place = Place(tmp_path, "quick")
    job = jobs_of([multi_view("quick")], place, None, "/data")[1]
    start = str(job.folder.parent / "pretraining-trained-seed-0" / WEIGHTS)
    recipe = replace(job.recipe, weights=start)
    job = replace(job, trains=True)
    began_with = as_json(recipe)
    began_with["weights"] = start.replace(str(tmp_path), "/elsewhere")
    text = json.dumps(began_with).replace(PACKAGED, "/opt/lib/hvit/experiments/folds/").replace("/data/", "/there/")
    job.folder.mkdir(parents=True)
    (job.folder / RECIPE).write_text(text)
    assert read_recipe(job.folder) != recipe
    verb._do(job, recipe, lambda line: None)
    assert resumed == [job.folder]
    (job.folder / RECIPE).write_text(text.replace("weizmann_0_train", "weizmann_1_train"))
    with pytest.raises(UserError, match=r"other settings \(data.train_list was .hvit:weizmann_1_train.txt"):
        verb._do(job, recipe, lambda line: None)


def test_an_experiment_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'aggregation'"):
        status(["aggregations"], Place(tmp_path, "quick"))
