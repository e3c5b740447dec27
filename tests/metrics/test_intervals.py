"""Claims about intervals: they hold the mean, are narrower for more samples, and are always the same."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hvit.metrics.intervals import grouped_interval, mean_interval, share_interval


def test_an_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    low, high = mean_interval(values)
    assert (low + high) / 2 == pytest.approx(values.mean(), abs=0.02)
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.06)
    assert mean_interval(values) == (low, high)
    assert mean_interval(np.full(10, 0.25)) == (0.25, 0.25)


def test_a_share_has_wilsons_interval() -> None:
    low, high = share_interval(np.ones(20, dtype=bool))
    assert (round(low, 3), high) == (0.839, 1.0)


def test_without_samples_nothing_is_known() -> None:
    assert share_interval(np.zeros(0, dtype=bool)) == (0.0, 1.0)
    assert mean_interval(np.zeros(0)) == (-math.inf, math.inf)


def test_samples_of_a_group_count_together() -> None:
    hits = np.random.default_rng(0).random(40) < 0.7
    groups = [str(number) for number in range(40)]
    assert grouped_interval(hits, groups) == share_interval(hits), "every sample its own group"
    low, high = grouped_interval(np.repeat(hits, 10), np.repeat(groups, 10).tolist())
    assert (low, high) == pytest.approx(share_interval(hits), abs=0.04), "copies add nothing"
    assert high - low > 2 * np.subtract(*share_interval(np.repeat(hits, 10))[::-1])
