"""The report's sections on labels of every kind."""

from __future__ import annotations

from typing import Any

from hvit.report.labelled import counts_words, is_labelled, label_section, label_tiles, last_label_score
from hvit.report.reading import Run, Scores

MULTI: dict[str, Any] = {
    "label_kind": "multi", "count": 10, "classes": ["a", "b"], "training_counts": [9, 3], "f1_micro": 0.5,
    "f1_macro": 0.25, "mean_average_precision": 0.75, "thresholds_chosen_here": True,
    "per_class": [{"name": "a<b>", "count": 3, "threshold": 0.5, "recall": 0.5}],
}  # fmt: skip
NUMBERS: dict[str, Any] = {
    "label_kind": "regression", "count": 2, "classes": ["age"], "r2": 0.5, "mae": 3.25, "spearman": None,
    "per_output": [{"name": "age", "mae": 3.25, "rmse": 4.0, "r2": 0.5}],
    "values": [[1.0], [2.0]], "predicted_values": [[1.5], [2.0]],
}  # fmt: skip
ORDERED: dict[str, Any] = {
    "label_kind": "ordinal", "count": 2, "classes": ["low", "high"], "top1": 0.5, "quadratic_kappa": 0.25, "mae": 0.5,
    "labels": [0, 1], "predictions": [0, 0],
}  # fmt: skip


def run_with(scores: dict[str, Any] | None, *rows: dict[str, Any]) -> Run:
    found = None if scores is None else Scores.model_validate(scores)
    return Run("run", {}, {}, list(rows), found, {}, {}, [])


def test_each_kind_shows_its_scores() -> None:
    for scores, words in (
        (MULTI, ("Mean average precision", "thresholds chosen on these")),
        (NUMBERS, ("Mean absolute error", "rank correlation")),
        (ORDERED, ("Quadratic kappa", "off by 0.5 classes")),
    ):
        run = run_with(scores)
        text = "".join(map(str, label_tiles(run)))
        assert is_labelled(run)
        assert all(word in text for word in words)


def test_sections_have_a_row_for_each_class_or_number() -> None:
    multi = str(label_section(run_with(MULTI)))
    assert "a&lt;b&gt;" in multi
    assert "Training samples of each class: a 9, b 3." in multi
    assert "Predicted age against the label" in str(label_section(run_with(NUMBERS)))
    assert "Confusion matrix" in str(label_section(run_with(ORDERED)))


def test_a_run_that_goes_on_shows_its_last_score() -> None:
    row = {"kind": "evaluate", "step": 5, "epoch": 1.0, "r2": 0.5}
    assert "Explained variance" in str(last_label_score(run_with(None, row)))
    assert last_label_score(run_with(None)) is None
    assert not is_labelled(run_with(None))


def test_equal_sizes_are_not_listed() -> None:
    assert str(counts_words(Scores(count=1, classes=["a", "b"], training_counts=[3, 3]))) == ""
