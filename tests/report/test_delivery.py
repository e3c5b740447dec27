"""The report says which step the weights are of, and what choosing them was worth."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.runs import SCORES, Page, make_run

DELIVERED = {
    "keep": "best", "score": "top1", "validation": 0.8, "best_step": 50, "last_step": 100, "last_validation": 0.75
}  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({}, "step 50, the best on the validation images: top1 0.8, and 0.75 for the last step (100)."),
        ({}, "The same images chose them, so that the score is a little too good."),
        ({"test": 0.7, "last_test": 0.72}, "On the test images, which chose nothing: top1 0.7, and 0.72 for the last"),
        ({"best_step": 100}, "the best on the validation images, which is the last step."),
        ({"keep": "average", "best_step": None, "evaluations": 3}, "the mean of those of 3 evaluations: top1 0.8"),
    ],
)
def test_the_delivered_weights_are_named(tmp_path: Path, facts: dict[str, object], words: str) -> None:
    assert words in Page(make_run(tmp_path / "run", scores=SCORES | {"delivered": DELIVERED | facts})).text


def test_scores_of_a_test_set_are_called_so(tmp_path: Path) -> None:
    text = Page(make_run(tmp_path / "run", scores=SCORES | {"evaluated_on": "test"})).text
    assert "Test accuracy 75.0 %" in text
    assert "The weights are" not in text
