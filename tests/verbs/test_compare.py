"""Runs side by side: scores, costs, settings that differ, curves."""

from __future__ import annotations

from pathlib import Path

import pytest

from hvit.errors import UserError
from hvit.verbs.compare import compare, draw
from tests.report.runs import RECIPE, ROWS, SCORES, make_run, row


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    other = RECIPE | {"data": {"kind": "digits", "canvas": 64}, "seed": 1}
    return [
        make_run(tmp_path / "a" / "run"),
        make_run(tmp_path / "b" / "run", recipe=other, rows=ROWS[:3], scores=None),
        make_run(tmp_path / "c", scores=SCORES | {"mae": 1.5, "balanced_accuracy": 0.5}),
    ]


def test_each_run_has_a_row_and_settings_that_differ_are_named(folders: list[Path]) -> None:
    compared = compare(folders)
    assert list(compared.runs) == ["run", "run (2)", "c"]
    first, second, third = compared.rows
    assert (first["finished"], first["step"], first["epochs"], first["seconds"]) == (True, 100, 4.0, 82.0)
    assert (first["top1"], first["parameters"], first["mae"]) == (0.75, 612042, None)
    assert (second["finished"], second["step"], second["top1"]) == (False, 50, None)
    assert (third["mae"], third["balanced_accuracy"]) == (1.5, 0.5)
    assert compared.settings == {"data.canvas": ["32", "64", "32"], "seed": ["42", "1", "42"]}


def test_a_cross_validation_is_finished_with_its_scores_and_has_no_steps(tmp_path: Path) -> None:
    folds = {"count": 4, "top1": 0.5, "mean_of_folds": 0.5, "classes": ["cat", "dog"]}
    made = [make_run(tmp_path / "folds", rows=[], scores=folds), make_run(tmp_path / "one", scores=SCORES)]
    row = compare(made).rows[0]
    assert (row["finished"], row["step"], row["seconds"], row["top1"]) == (True, None, None, 0.5)


def test_five_classes_or_fewer_have_no_top5(tmp_path: Path) -> None:
    few = SCORES | {"top5": 1.0, "classes": ["cat", "dog"]}
    assert "top5" not in compare([make_run(tmp_path / name, scores=few) for name in "ab"]).rows[0]


def test_curves_go_to_a_picture_or_to_a_page(folders: list[Path], tmp_path: Path) -> None:
    compared = compare(folders)
    draw(compared, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    draw(compared, tmp_path / "loss.png", "loss")
    assert (tmp_path / "loss.png").read_bytes() != (tmp_path / "curves.png").read_bytes()
    draw(compared, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count('class="chart"') == 3  # loss, accuracy, learning rate
    assert "data.<wbr>canvas" in page or "data.canvas" in page


def test_what_cannot_be_compared_is_one_sentence(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="two runs or more"):
        compare(folders[:1])
    with pytest.raises(UserError, match="no folder"):
        compare([folders[0], tmp_path / "nowhere"])
    compared = compare(folders)
    with pytest.raises(UserError, match=r"must end in \.png or \.html"):
        draw(compared, tmp_path / "x.svg")
    with pytest.raises(UserError, match="a curve of top9; they have loss, top1, learning_rate"):
        draw(compared, tmp_path / "x.png", "top9")
    empty = [make_run(tmp_path / name, rows=[row("start", 0)], scores=None) for name in ("d", "e")]
    with pytest.raises(UserError, match="no curves yet"):
        draw(compare(empty), tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()
