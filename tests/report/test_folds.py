"""The page of a cross-validation gives what all folds say together, with its interval, and each of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hvit.recipes import get_recipe
from hvit.report.folds import write_folds_report

SCORES: dict[str, Any] = {
    "count": 4, "top1": 0.75, "interval": [0.5, 1.0], "groups": 2, "mean_of_folds": 0.7, "deviation_of_folds": 0.1,
    "folds": [{"fold": 1, "count": 2, "top1": 0.5}, {"fold": 2, "count": 2, "top1": 1.0}],
    "classes": ["cat", "<dog>"], "labels": [0, 0, 1, 1], "predictions": [0, 1, 1, 1],
}  # fmt: skip


def test_all_folds_and_each_of_them_are_there(tmp_path: Path) -> None:
    path = write_folds_report(tmp_path, get_recipe("nest_micro_folder"), SCORES)
    assert path == tmp_path / "report.html"
    page = path.read_text().replace("\u202f", " ")
    for words in ("over 2 groups", "over 2 folds", 'href="fold_2/report.html"', "Confusion matrix", "50.0 to"):
        assert words in page
    assert "<dog>" not in page, "names of classes are escaped"
