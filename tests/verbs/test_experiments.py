"""What of an experiment is missing is counted without running anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from hvit import experiments
from hvit.errors import UserError
from hvit.experiments.grid import Place
from hvit.training.journal import Journal
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


def test_an_experiment_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'aggregation'"):
        status(["aggregations"], Place(tmp_path, "quick"))
