"""Results are read from journals alone: only finished runs count, and what is missing is no number."""

from __future__ import annotations

from math import isnan
from pathlib import Path

import pytest

from hvit.experiments.results import Results, quantile
from tests.experiments.written import CELLS, TOY, finished


def test_only_finished_runs_count(tmp_path: Path) -> None:
    place = finished(tmp_path, flat=(0.5, 0.6))
    begun = place.run(TOY, CELLS[1], 0)
    begun.mkdir(parents=True)
    (begun / "recipe.json").write_text("{}")
    results = Results(TOY, place)
    assert results.finished == 2
    scores = results.of("flat")
    assert scores is not None
    assert scores.mean == pytest.approx(0.55)
    assert (scores.seconds, scores.speed) == (10.0, 100.0)
    assert results.of("deep") is None
    assert results.difference({"deep": 1.0, "flat": -1.0}) is None


def test_a_difference_is_of_the_seeds_that_both_have(tmp_path: Path) -> None:
    results = Results(TOY, finished(tmp_path, flat=(0.5, 0.6), deep=(0.7,)))
    found = results.difference({"deep": 1.0, "flat": -1.0})
    assert found is not None
    assert set(found.by_seed) == {0}
    assert found.mean == pytest.approx(0.2)
    assert isnan(found.low)


def test_quantiles_are_students_and_without_freedom_there_are_none() -> None:
    assert quantile(2) == pytest.approx(4.302653, rel=1e-6)
    assert quantile(1000) == pytest.approx(1.96, abs=0.01)
    assert isnan(quantile(0))
