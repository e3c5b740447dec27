"""The page that compares runs: self-contained, escaped, and readable without curves."""

from __future__ import annotations

from pathlib import Path

from hvit.report.comparison import cell, render_comparison
from hvit.verbs.compare import compare
from tests.report.runs import HOSTILE, RECIPE, make_run, row


def test_a_page_is_self_contained_and_names_are_escaped(tmp_path: Path) -> None:
    folders = [
        make_run(tmp_path / "a", recipe=RECIPE | {"note": HOSTILE}),
        make_run(tmp_path / "b", rows=[row("start", 0)], scores=None),
    ]
    compared = compare(folders)
    page = render_comparison(compared.runs, compared.rows, compared.settings, [])
    assert "<script" not in page
    assert "<img src=https" not in page
    assert "There are no curves yet" in page
    assert "2 runs compared" in page


def test_the_same_recipe_twice_has_no_settings_that_differ(tmp_path: Path) -> None:
    compared = compare([make_run(tmp_path / "a"), make_run(tmp_path / "b")])
    page = render_comparison(compared.runs, compared.rows, compared.settings, ["loss"])
    assert "The recipes are the same in every field" in page


def test_cells_are_written_as_their_scores_are_read() -> None:
    written = {
        ("top1", 0.756): "75.6 %", ("mae", 1.23456): "1.235", ("finished", True): "yes", ("step", 12000): "12,000",
        ("recipe", "x"): "x",
    }  # fmt: skip
    assert {key: cell(*key) for key in written} == written
    assert cell("top1", None) == cell("mae", None)
