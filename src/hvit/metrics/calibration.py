"""Probabilities that mean what they say: temperature scaling, reliability, and a threshold for saying nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypedDict

import numpy as np

BINS = 15
"""Bins of equal width that confidences are gathered in, as in Guo et al."""
COLDEST, HOTTEST = 0.05, 20.0
NOTHING_IS_SURE = 2.0
"""A threshold above every probability."""


class Bin(TypedDict):
    """The samples whose highest probability lies in an interval: how many, its mean, and the share that is right."""

    count: int
    confidence: float
    accuracy: float


class Threshold(TypedDict):
    """Answers are given from a probability on; coverage: their share; error: the share of wrong ones among them."""

    below: float
    wanted_error: float
    coverage: float
    error: float


def fit_temperature(loss: Callable[[float], float]) -> float:
    """The temperature of least loss, between 0.05 and 20.

    loss: the sum of the negative log-likelihoods of the true classes, where logits are divided by a temperature. A
    prior of one standard deviation in its logarithm is added, which matters only where samples are few or all right.
    Source: Guo et al. 2017, "On calibration of modern neural networks", section 4.2.
    """
    from scipy.optimize import minimize_scalar  # takes a moment to import

    def penalised(logarithm: float) -> float:
        return loss(math.exp(logarithm)) + 0.5 * logarithm**2

    found = minimize_scalar(penalised, bounds=(math.log(COLDEST), math.log(HOTTEST)), method="bounded")
    return round(math.exp(float(found.x)), 4)  # pyright: ignore[reportAttributeAccessIssue]  (scipy has no types)


def reliability(confidences: np.ndarray, hits: np.ndarray, bins: int = BINS) -> list[Bin]:
    """The reliability diagram: for each interval of the highest probability (lowest first), empty ones with zeros.

    confidences, hits: (samples,), probabilities and booleans.
    """
    places = np.clip(np.ceil(confidences * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    divisor = np.maximum(counts, 1)
    means = np.bincount(places, weights=confidences, minlength=bins) / divisor
    shares = np.bincount(places, weights=hits, minlength=bins) / divisor
    return [
        Bin(count=int(count), confidence=float(mean), accuracy=float(share))
        for count, mean, share in zip(counts, means, shares, strict=True)
    ]


def calibration_error(diagram: list[Bin]) -> float:
    """The mean distance between confidence and accuracy over the bins, weighted by their counts."""
    total = max(1, sum(one["count"] for one in diagram))
    return sum(one["count"] * abs(one["confidence"] - one["accuracy"]) for one in diagram) / total


def threshold_for(confidences: np.ndarray, hits: np.ndarray, wanted_error: float) -> Threshold:
    """The lowest threshold at which the share of wrong answers among those given is at most the wanted one.

    confidences, hits: (samples,). Source: Geifman and El-Yaniv 2017, "Selective classification for deep neural
    networks", without the bound for unseen samples.
    """
    order = np.argsort(-confidences, kind="stable")
    sorted_confidences, wrong = confidences[order], np.cumsum(~hits[order])
    risk = wrong / np.arange(1, len(order) + 1)
    # Samples of equal confidence are answered together.
    ends = np.append(sorted_confidences[1:] < sorted_confidences[:-1], True)
    fitting = np.flatnonzero(ends & (risk <= wanted_error))
    if not len(fitting):
        return Threshold(below=NOTHING_IS_SURE, wanted_error=wanted_error, coverage=0.0, error=0.0)
    last = int(fitting[-1])
    return Threshold(
        below=float(sorted_confidences[last]),
        wanted_error=wanted_error,
        coverage=(last + 1) / len(order),
        error=float(risk[last]),
    )
