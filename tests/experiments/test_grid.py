"""How far a run is says its journal, and a learning rate is chosen when its sweep is done."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hvit.experiments import grid
from hvit.experiments.grid import Job, Place, Rate, chosen_rate, part_of, ready, state_of, sweep_runs
from hvit.training.journal import Journal
from tests.experiments.written import RECIPE


def test_a_run_is_new_begun_done_or_failed_by_its_journal(tmp_path: Path) -> None:
    assert state_of(tmp_path / "run") == "new"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.json").write_text("{}")
    assert state_of(tmp_path / "run") == "begun"
    Journal(tmp_path / "run").write("failed", 3, reason="nan")
    assert state_of(tmp_path / "run") == "failed"
    Journal(tmp_path / "run").write("finish", 3, seconds=1.0)
    assert state_of(tmp_path / "run") == "done"


def sweep_of(place: Place, **losses: tuple[float, ...]) -> None:
    """Finished sweeps of the family `toy`: the training losses of each rate."""
    for rate, values in losses.items():
        folder = place.sweep("toy", float(rate.removeprefix("rate_")))
        folder.mkdir(parents=True)
        (folder / "recipe.json").write_text("{}")
        for step, loss in enumerate(values, 1):
            Journal(folder).write("train", step, loss=loss)
        Journal(folder).write("finish", len(values), seconds=1.0)


def test_the_rate_of_the_lowest_late_loss_is_chosen_when_all_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = dict.fromkeys((1.0, 2.0, 4.0), RECIPE)
    monkeypatch.setattr(grid, "sweep", lambda family, scale: rates if family == "toy" else {})
    place, job = Place(tmp_path, "quick"), Job(tmp_path / "run", RECIPE, "toy")
    sweep_of(place, rate_1=(5.0, 3.0, 3.0, 3.0), rate_2=(9.0, 9.0, 9.0, 1.0))
    assert chosen_rate("toy", place) is None
    assert ready(job, place) is None
    sweep_of(place, rate_4=(0.1, 0.1, 0.1, 7.0))
    rate = chosen_rate("toy", place)
    assert rate == Rate(2.0, {1.0: 3.0, 2.0: 1.0, 4.0: 7.0})
    assert not rate.is_edge
    recipe = ready(job, place)
    assert recipe is not None
    assert recipe.optimize.learning_rate_per_256 == 2.0
    assert chosen_rate("another", place) is None
    assert ready(replace(job, family="another"), place) == RECIPE


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ((3.0, 1.0, 2.0), [1.0, 2.0, 4.0]),
        ((3.0, 2.0, 1.0), [1.0, 2.0, 4.0, 8.0]),
        ((1.0, 2.0, 3.0), [0.5, 1.0, 2.0, 4.0]),
    ],
)
def test_a_sweep_goes_on_where_the_best_rate_is_the_last_that_was_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, losses: tuple[float, ...], expected: list[float]
) -> None:
    monkeypatch.setattr(grid, "sweep", lambda family, scale: dict.fromkeys((1.0, 2.0, 4.0), RECIPE))
    place = Place(tmp_path, "quick")
    sweep_of(place, **{f"rate_{rate}": (loss,) for rate, loss in zip((1, 2, 4), losses, strict=True)})
    runs = sweep_runs("toy", place)
    assert list(runs) == expected
    assert all(runs[rate].optimize.learning_rate_per_256 == rate for rate in set(expected) - {1.0, 2.0, 4.0})
    assert (chosen_rate("toy", place) is None) == (len(expected) > 3), "it waits for what was added"


def test_a_sweep_ends_after_two_rates_beyond_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "sweep", lambda family, scale: dict.fromkeys((1.0, 2.0), RECIPE))
    place = Place(tmp_path, "quick")
    sweep_of(place, rate_1=(4.0,), rate_2=(3.0,), rate_4=(2.0,), rate_8=(1.0,))
    rate = chosen_rate("toy", place)
    assert rate == Rate(8.0, {1.0: 4.0, 2.0: 3.0, 4.0: 2.0, 8.0: 1.0})
    assert rate.is_edge


def test_a_sweep_is_the_work_of_one_part(tmp_path: Path) -> None:
    jobs = [Job(tmp_path / "a-1", RECIPE, sweeps="a"), Job(tmp_path / "run", RECIPE, "a")]
    added = [jobs[0], Job(tmp_path / "a-2", RECIPE, sweeps="a"), jobs[1]]
    for every in (jobs, added):
        assert part_of(every, (1, 2)) == [jobs[1]]


def test_what_starts_from_a_run_waits_for_it(tmp_path: Path) -> None:
    job, place = Job(tmp_path / "run", RECIPE, starts_from=tmp_path / "first"), Place(tmp_path, "quick")
    assert ready(job, place) is None
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "recipe.json").write_text("{}")
    Journal(tmp_path / "first").write("finish", 1, seconds=1.0)
    recipe = ready(job, place)
    assert recipe is not None
    assert recipe.weights == str(tmp_path / "first" / "weights.safetensors")
