"""Weights and chances make up for the sizes of classes, and one draw decides an epoch."""

from __future__ import annotations

import numpy as np
import pytest

from hvit.data.balance import (
    class_counts,
    count_notes,
    draw_epoch,
    positive_weights,
    sample_weights,
    sampling_chances,
)
from hvit.data.batches import balanced_indices
from hvit.labels import LabelSpec

SINGLE, MULTI = LabelSpec("single", ("a", "b")), LabelSpec("multi", ("a", "b"))
LABELS = np.array([0] * 6 + [1] * 2)
SETS = np.array([[1, 0]] * 6 + [[1, 1]] + [[0, 0]], np.float32)


def test_classes_weigh_the_same_in_all() -> None:
    weights = sample_weights(LABELS, SINGLE, "weights", 0.999)
    assert weights is not None
    assert weights[LABELS == 0].sum() == pytest.approx(weights[LABELS == 1].sum())
    assert weights.mean() == pytest.approx(1)


def test_the_effective_number_of_samples_is_that_of_the_paper() -> None:
    weights = sample_weights(LABELS, SINGLE, "effective", 0.9)
    assert weights is not None
    assert weights[-1] / weights[0] == pytest.approx((1 - 0.9**6) / (1 - 0.9**2), rel=1e-5)
    nearly_none = sample_weights(LABELS, SINGLE, "effective", 0.0)
    assert nearly_none is not None
    assert nearly_none.tolist() == [1.0] * 8


def test_of_several_classes_what_is_present_weighs_as_what_is_absent() -> None:
    assert class_counts(SETS, MULTI).tolist() == [7, 1]
    assert positive_weights(SETS, MULTI, "weights", 0.999) == pytest.approx((1 / 7, 7.0))
    assert sample_weights(SETS, MULTI, "weights", 0.999) is None
    assert positive_weights(LABELS, SINGLE, "weights", 0.999) == ()


def test_every_class_is_drawn_equally_often_and_the_same_for_a_seed() -> None:
    chances = sampling_chances(LABELS, SINGLE, "sampling")
    assert chances is not None
    drawn = [balanced_indices(chances, 4, 3, step) for step in range(400)]
    assert LABELS[np.concatenate(drawn)].mean() == pytest.approx(0.5, abs=0.01)
    assert all(np.array_equal(one, balanced_indices(chances, 4, 3, step)) for step, one in enumerate(drawn[:4]))
    several = sampling_chances(SETS, MULTI, "sampling")
    assert several is not None
    assert several[6] == several.max()


def test_equal_chances_draw_each_sample_once() -> None:
    assert sorted(draw_epoch(np.ones(10), 0.3).tolist()) == list(range(10))


def test_the_sizes_are_named_the_largest_first() -> None:
    (note,) = count_notes(np.array([2, 1_000]), SINGLE, "images")
    assert note == "Training images of each class: b 1,000, a 2."
