"""The picture of results has a row for every cell that has a score."""

from __future__ import annotations

from pathlib import Path

from hvit.experiments.picture import draw
from hvit.experiments.results import Results
from tests.experiments.written import TOY, finished


def test_cells_with_scores_have_rows_with_every_seed_and_the_others_none(tmp_path: Path) -> None:
    (axes,) = draw(Results(TOY, finished(tmp_path, flat=(0.5, 0.6)))).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1"]
    seeds = next(line for line in axes.lines if line.get_marker() == "|")
    assert list(seeds.get_xdata()) == [0.5, 0.6]
    assert axes.figure.get_suptitle() == "Toy: top-1"
