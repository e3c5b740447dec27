"""The report shows whether probabilities mean what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hvit.metrics.calibration import reliability
from tests.report.runs import SCORES, Page, make_run

BINS = reliability(np.array([0.5, 0.9, 0.9]), np.array([True, True, False]))
FOUND: dict[str, Any] = {
    "temperature": 1.5, "bins": 15, "fitted_on": 30, "measured_on": "held-out", "error_before": 0.13,
    "error_after": 0.04, "before": BINS, "after": BINS,
}  # fmt: skip
UNSURE = {
    "below": 0.6, "wanted_error": 0.05, "coverage": 0.8, "error": 0.04, "measured_coverage": 0.75,
    "measured_error": 0.06,
}  # fmt: skip


def page_of(tmp_path: Path, **facts: Any) -> Page:
    return Page(make_run(tmp_path / "run", scores=SCORES | {"calibration": FOUND | facts}))


def test_the_error_is_given_before_and_after_with_what_it_was_measured_on(tmp_path: Path) -> None:
    page = page_of(tmp_path)
    assert "Reliability diagram" in page.images()
    assert (
        "(15 bins of equal width) is 4.0 % with logits divided by the temperature 1.5, and 13.0 % without" in page.text
    )
    assert (
        "fitted to 30 held-out images, and the error measured on the same images, so that it is a little" in page.text
    )


def test_a_test_set_is_named_and_the_threshold_explained(tmp_path: Path) -> None:
    text = page_of(tmp_path, measured_on="test", unsure=UNSURE).text
    assert "measured on the test images, which chose nothing." in text
    assert "Below a probability of 60.0 % the model says unsure, for at most 5.0 % of wrong answers" in text
    assert "it answers 75.0 % of the images measured, and 6.0 % of these answers are wrong" in text


def test_a_threshold_that_nothing_reaches_is_said(tmp_path: Path) -> None:
    text = page_of(tmp_path, unsure=UNSURE | {"coverage": 0.0, "below": 2.0}).text
    assert "the model always says unsure" in text


def test_runs_that_did_not_measure_it_have_no_such_section(tmp_path: Path) -> None:
    assert "What its probabilities are worth" not in Page(make_run(tmp_path / "run")).text
