"""The steps from MViTv2 to Hiera are trained alike, and their speeds are compared with the first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hvit.experiments.grid import Place
from hvit.experiments.results import Results
from hvit.experiments.simplification import WHAT, simplification, speeds
from tests.experiments.written import write_run


def test_every_step_is_trained_in_both_ways_and_only_the_first_is_encoded_dense() -> None:
    cells = {cell.name: cell for cell in simplification("quick").cells}
    assert list(cells) == [f"{step}-{way}" for step in (*WHAT, "vit") for way in ("supervised", "mae")]
    for step in (*WHAT, "vit"):
        pretraining = cells[f"{step}-mae"].pretraining
        assert pretraining is not None
        masked: Any = pretraining.recipe.model
        assert masked.encoding == ("dense" if step == "0" else "sparse")
        assert masked.encoder.dims == cells[f"{step}-supervised"].recipe.model.dims  # pyright: ignore


def test_speeds_are_relative_to_the_first_step_and_unfinished_steps_have_no_row(tmp_path: Path) -> None:
    experiment, place = simplification("quick"), Place(tmp_path, "quick")
    cells = {cell.name: cell for cell in experiment.cells}
    for step, speed in (("0", 100.0), ("f", 250.0)):
        write_run(place.run(experiment, cells[f"{step}-supervised"], 0), 0.5, speed=speed)
        write_run(place.pretraining(experiment, cells[f"{step}-mae"], 0), 0.5, speed=2 * speed)
    (table,) = speeds(Results(experiment, place, 1))
    assert table.rows == [["0", "100", "1.00", "200", "1.00"], ["f", "250", "2.50", "500", "2.50"]]
    assert speeds(Results(experiment, Place(tmp_path / "empty", "quick"), 1)) == []
