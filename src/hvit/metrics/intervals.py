"""How far a number that was measured on some samples may be from that of all: 95 % intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hvit.metrics.classification import wilson_interval
from hvit.randomness import derive_seed

RESAMPLES = 2000
_RESCORED = 500


def share_interval(hits: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of Wilson for the share of hits (samples,), booleans; (0, 1) without samples."""
    return wilson_interval(int(np.count_nonzero(hits)), len(hits)) if len(hits) else (0.0, 1.0)


def grouped_interval(hits: np.ndarray, groups: Sequence[str]) -> tuple[float, float]:
    """The 95 % interval for the share of hits (samples,) where samples of a group are alike.

    By the percentiles of 2,000 bootstrap samples of whole groups; Wilson's where every sample is its own group.
    """
    names, members = np.unique(np.asarray(groups, dtype=object), return_inverse=True)
    if len(names) == len(hits):
        return share_interval(hits)
    counts, right = np.bincount(members), np.bincount(members, weights=hits)
    random = np.random.default_rng(derive_seed(0, "bootstrap of groups", len(names)))
    drawn = random.integers(0, len(names), (RESAMPLES, len(names)))
    low, high = np.percentile(right[drawn].sum(axis=1) / counts[drawn].sum(axis=1), (2.5, 97.5))
    return float(low), float(high)


def bootstrap_interval(score: Callable[[np.ndarray], float], groups: Sequence[str]) -> tuple[float, float]:
    """The 95 % interval of a score of samples, by the percentiles of 500 bootstrap samples of whole groups.

    score: of the samples with these numbers (rows,), which may occur several times. groups: of every sample.
    """
    names, members = np.unique(np.asarray(groups, dtype=object), return_inverse=True)
    rows = [np.flatnonzero(members == group) for group in range(len(names))]
    random = np.random.default_rng(derive_seed(0, "bootstrap of a score", len(names)))
    found = [
        score(np.concatenate([rows[group] for group in random.integers(0, len(names), len(names))]))
        for _ in range(_RESCORED)
    ]
    low, high = np.percentile(found, (2.5, 97.5))
    return float(low), float(high)


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of the mean of values (samples,), by the percentiles of 2,000 bootstrap samples.

    The same values give the same interval. Efron, "Bootstrap methods: another look at the jackknife", 1979. Without
    values it has no ends: (-inf, inf).
    """
    if not len(values):
        return -float("inf"), float("inf")
    random = np.random.default_rng(derive_seed(0, "bootstrap", len(values)))
    means = [np.asarray(values)[random.integers(0, len(values), len(values))].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)
