"""How many epochs a model needs for an accuracy is interpolated between its runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from hvit.experiments.convergence import convergence, to_equal_accuracy
from hvit.experiments.grid import Place
from hvit.experiments.results import Results
from tests.experiments.written import write_run


def results(root: Path, **runs: dict[int, float]) -> Results:
    """Finished runs: the accuracy after each number of epochs, at ten seconds an epoch."""
    experiment, place = convergence("quick"), Place(root, "quick")
    for cell in experiment.cells:
        family, epochs = cell.name.split("-")
        if int(epochs) in runs.get(family, {}):
            write_run(place.run(experiment, cell, 0), runs[family][int(epochs)], seconds=10.0 * int(epochs))
    return Results(experiment, place, 1)


def test_epochs_and_seconds_are_interpolated_on_their_logarithms(tmp_path: Path) -> None:
    found = results(tmp_path, vit={2: 0.2, 16: 0.4}, nest={2: 0.3, 8: 0.5}, nest4={2: 0.2, 16: 0.3})
    (table,) = to_equal_accuracy(found)
    assert "40.0 %" in table.title
    rows = {row[0]: row[1:] for row in table.rows}
    assert list(rows.values()) == [
        ["50.0 %", "4.0", "40"],  # halfway from 2 to 8
        ["30.0 %", "not reached", "not reached"],
        ["40.0 %", "16.0", "160"],
    ]


def test_what_the_shortest_run_reaches_needs_at_most_its_epochs(tmp_path: Path) -> None:
    (table,) = to_equal_accuracy(results(tmp_path, vit={16: 0.4}, nest={2: 0.6}))
    assert table.rows[0][2] == "at most 2.0"


@pytest.mark.parametrize("runs", [{}, {"nest": {2: 0.5}}])
def test_without_a_vit_there_is_nothing_to_compare_with(runs: dict[str, dict[int, float]], tmp_path: Path) -> None:
    assert to_equal_accuracy(results(tmp_path, **runs)) == []
