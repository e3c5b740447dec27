"""What weights say of their probabilities is read back, and refused where it cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from hvit.errors import UserError
from hvit.tasks.confidence import Confidence, ConfidenceConfig


def test_what_is_written_is_read() -> None:
    one = Confidence(1.5, 0.4, "ab" * 32)
    assert Confidence.read(one.as_json(), "weights") == one
    assert Confidence.read(None, "weights") == Confidence(1.0, None, None), "older weights carry nothing"


@pytest.mark.parametrize(
    "stored",
    [
        {}, {"temperature": 0}, {"temperature": -1.0}, {"temperature": float("nan")}, {"temperature": "hot"},
        {"temperature": 1e9}, {"temperature": 1.0, "unsure_below": "never"}, {"temperature": 1.0, "outliers": 3},
        {"temperature": 1.0, "unsure_below": -0.1},
    ],
)  # fmt: skip
def test_anything_else_is_damaged(stored: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="w is damaged: what it says of its probabilities cannot be"):
        Confidence.read(stored, "w")


@pytest.mark.parametrize("error", [-0.1, 1.0])
def test_an_impossible_error_is_refused(error: float) -> None:
    with pytest.raises(UserError, match=r"confidence.unsure_error must be from 0 to below 1"):
        ConfidenceConfig(unsure_error=error)
