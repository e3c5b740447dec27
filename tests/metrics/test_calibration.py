"""Temperatures, reliability diagrams and thresholds, on probabilities whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hvit.metrics.calibration import NOTHING_IS_SURE, calibration_error, fit_temperature, reliability, threshold_for
from hvit.metrics.classification import expected_calibration_error


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 2.5])
def test_the_temperature_of_labels_drawn_from_known_probabilities_is_found(true_temperature: float) -> None:
    random = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(20_000, 5, generator=random)
    labels = torch.multinomial((logits / true_temperature).softmax(1), 1, generator=random)[:, 0]
    found = fit_temperature(lambda value: F.cross_entropy(logits / value, labels, reduction="sum").item())
    assert found == pytest.approx(true_temperature, rel=0.05)
    confidences, hits = (logits / found).softmax(1).max(1)
    assert calibration_error(reliability(confidences.numpy(), (hits == labels).numpy())) < 0.02


def test_a_few_samples_that_are_all_right_do_not_make_the_model_certain() -> None:
    logits, labels = torch.eye(3) * 2, torch.arange(3)
    found = fit_temperature(lambda value: F.cross_entropy(logits / value, labels, reduction="sum").item())
    assert 0.3 < found < 1


def test_the_error_of_the_diagram_is_the_expected_calibration_error() -> None:
    random = torch.Generator().manual_seed(1)
    logits, labels = torch.randn(500, 4, generator=random), torch.randint(0, 4, (500,), generator=random)
    highest = logits.double().softmax(1).max(1)
    diagram = reliability(highest.values.numpy(), (highest.indices == labels).numpy())
    assert len(diagram) == 15
    assert sum(one["count"] for one in diagram) == 500
    assert calibration_error(diagram) == pytest.approx(expected_calibration_error(logits, labels), abs=1e-9)
    assert diagram[0] == {"count": 0, "confidence": 0.0, "accuracy": 0.0}, "nothing is less sure than chance"


def test_the_threshold_answers_as_many_as_the_wanted_error_allows() -> None:
    confidences = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.5])
    hits = np.array([True, True, False, True, False, True])
    assert threshold_for(confidences, hits, 0.25) == {
        "below": 0.6,
        "wanted_error": 0.25,
        "coverage": 4 / 6,
        "error": 0.25,
    }
    assert threshold_for(confidences, hits, 0.0)["below"] == 0.8
    assert threshold_for(confidences, hits, 0.34)["coverage"] == 1.0
    assert threshold_for(confidences, hits, 0.3)["below"] == 0.6, "samples of equal confidence are answered together"
    never = threshold_for(np.array([0.9]), np.array([False]), 0.1)
    assert (never["below"], never["coverage"]) == (NOTHING_IS_SURE, 0.0)
