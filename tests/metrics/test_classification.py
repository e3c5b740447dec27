"""Claims about the measures."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sklearn import metrics

from hvit.metrics import classification


def test_top_k_counts_the_true_class_among_the_k_highest():
    logits = np.array([[3.0, 2.0, 1.0, 0.0], [3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, 3.0]])
    labels = [0, 1, 0]
    assert [classification.top_k_accuracy(logits, labels, k) for k in (1, 2, 3, 4)] == pytest.approx(
        [1 / 3, 2 / 3, 2 / 3, 1]
    )


def test_top_k_agrees_with_sorting_on_random_logits():
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(200, 12)), random.integers(0, 12, 200)
    for k in (1, 5):
        best = np.argsort(-logits, axis=1)[:, :k]
        expected = (best == labels[:, None]).any(axis=1).mean()
        assert classification.top_k_accuracy(logits, labels, k) == pytest.approx(expected)


def test_top_five_of_three_classes_is_certain():
    assert classification.top_k_accuracy([[0.1, 0.2, 0.3]], [0], 5) == 1.0


def test_a_collapsed_or_broken_model_gets_no_credit_for_ties():
    assert classification.top_k_accuracy(np.zeros((4, 4)), [0, 1, 2, 3], 1) == 0.25
    assert classification.top_k_accuracy(np.full((4, 4), np.nan), [0, 1, 2, 3], 1) == 0.0


def test_tensors_of_every_precision_are_accepted():
    logits = torch.tensor([[1.0, 2.0], [2.0, 1.0]], dtype=torch.bfloat16, requires_grad=True)
    assert classification.top_k_accuracy(logits, torch.tensor([1, 1]), 1) == 0.5


def test_confusion_rows_are_the_truth_and_columns_the_prediction():
    assert classification.confusion_matrix([0, 0, 2], [1, 0, 2], 4) == [
        [1, 1, 0, 0],
        [0, 0, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 0],
    ]
    assert classification.confusion_matrix(torch.tensor([1]), torch.tensor([1]), 2) == [[0, 0], [0, 1]]


def test_confusion_agrees_with_scikit_learn():
    random = np.random.default_rng(0)
    labels, predictions = random.integers(0, 9, 300), random.integers(0, 9, 300)
    expected = metrics.confusion_matrix(labels, predictions, labels=range(10))
    assert classification.confusion_matrix(labels, predictions, 10) == expected.tolist()


def test_a_single_class_is_still_a_table():
    assert classification.confusion_matrix([0, 0], [0, 0], 1) == [[2]]
    assert classification.per_class_table([0], [0], ["only"])[0]["f1"] == 1.0


def test_a_class_number_outside_the_classes_is_refused():
    with pytest.raises(AssertionError, match=r"outside 0\.\.1"):
        classification.confusion_matrix([0, 2], [0, 1], 2)


def test_per_class_table_has_recall_precision_and_f1():
    rows = classification.per_class_table([0, 0, 0, 1], [0, 0, 1, 1], ["cat", "dog"])
    assert rows[0].pop("recall_interval") == pytest.approx((0.2077, 0.9385), abs=1e-4)  # Wilson, 2 of 3
    assert rows[0] == {"name": "cat", "count": 3, "recall": pytest.approx(2 / 3), "precision": 1.0, "f1": 0.8}
    rows[1].pop("recall_interval")
    assert rows[1] == {"name": "dog", "count": 1, "recall": 1.0, "precision": 0.5, "f1": pytest.approx(2 / 3)}


def test_a_class_that_never_occurs_has_no_recall_and_one_never_predicted_no_precision():
    rows = classification.per_class_table([0, 1], [0, 0], ["seen", "missed", "absent"])
    assert rows[1].pop("recall_interval") == pytest.approx((0.0, 0.7935), abs=1e-4)
    assert rows[1] == {"name": "missed", "count": 1, "recall": 0.0, "precision": None, "f1": 0.0}
    assert rows[2].pop("recall_interval") is None
    assert rows[2] == {"name": "absent", "count": 0, "recall": None, "precision": None, "f1": None}


def test_calibration_error_is_zero_when_confidence_equals_accuracy():
    # Probability 0.75 for class 0 and the truth is class 0 in three of four cases.
    logits = np.log(np.tile([0.75, 0.25], (4, 1)))
    assert classification.expected_calibration_error(logits, [0, 0, 0, 1]) == pytest.approx(0)


def test_calibration_error_of_certain_and_always_wrong_is_one():
    assert classification.expected_calibration_error([[100.0, 0.0]] * 3, [1, 1, 1]) == pytest.approx(1)


def test_calibration_error_averages_over_bins_not_over_all_samples():
    # Over-confident in one bin, under-confident in another: the two must not cancel.
    logits = np.log([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    expected = (2 * abs(0.5 - 0.9) + 2 * abs(1.0 - 0.6)) / 4
    assert classification.expected_calibration_error(logits, [0, 1, 0, 0]) == pytest.approx(expected)


def test_a_path_hits_only_while_every_quadrant_above_agrees():
    places = [[0, 3], [1, 1], [2, 2], [3, 0]]
    paths = [[0, 3], [1, 0], [0, 2], [3, 0]]  # the third agrees below a wrong choice: still a miss
    assert classification.path_hit_rate(paths, places) == [0.75, 0.5]
    assert classification.path_hit_rate(torch.tensor(paths), torch.tensor(places)) == [0.75, 0.5]


def test_wilson_interval_matches_published_values_and_stays_inside_zero_and_one():
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
    assert classification.wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert classification.wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert classification.wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert classification.wilson_interval(20, 20)[1] == 1.0


def test_every_measure_is_json_as_it_is():
    logits, labels, predictions = torch.eye(3), torch.arange(3), torch.tensor([0, 1, 1])
    results = [
        classification.top_k_accuracy(logits, labels, 1),
        classification.confusion_matrix(labels, predictions, 4),
        classification.per_class_table(labels, predictions, ["a", "b", "c", "d"]),
        classification.expected_calibration_error(logits, labels),
        classification.path_hit_rate(np.zeros((2, 2), int), np.zeros((2, 2), int)),
        classification.wilson_interval(3, 4),
    ]
    assert json.dumps(results, allow_nan=False)


def test_the_commonest_mistakes_come_first_and_right_answers_are_none():
    matrix = [[9, 2, 0], [3, 8, 2], [0, 0, 7]]
    assert classification.commonest_mistakes(matrix, 2) == [(1, 0, 3), (0, 1, 2)]
    assert classification.commonest_mistakes(matrix, 9) == [(1, 0, 3), (0, 1, 2), (1, 2, 2)]
    assert classification.commonest_mistakes([[4]], 5) == []


def test_nearest_neighbours_vote_by_direction() -> None:
    known = np.array([[1.0, 0.0], [5.0, 0.1], [0.0, 1.0], [0.1, 3.0]])
    asked = np.array([[100.0, 1.0], [0.0, 0.01], [1.0, 0.9]])
    assert classification.nearest_neighbour_accuracy(known, [0, 0, 1, 1], asked, [0, 1, 0], neighbours=2) == 1.0
    assert classification.nearest_neighbour_accuracy(known, [0, 0, 1, 1], asked, [1, 0, 1], neighbours=2) == 0.0
    assert classification.nearest_neighbour_accuracy(known[:1], [3], asked, [3, 3, 1]) == pytest.approx(2 / 3)


def test_a_linear_probe_tells_what_a_plane_separates_whatever_the_scale() -> None:
    random = np.random.default_rng(0)
    points = random.normal(size=(200, 3)) * [1.0, 1000.0, 1e-3] + [0.0, 50.0, 0.0]
    classes = (points[:, 2] > 0).astype(int)
    assert classification.linear_probe_accuracy(points[:150], classes[:150], points[150:], classes[150:]) > 0.95
    assert classification.linear_probe_accuracy(points[:150], classes[:150], points[150:], 1 - classes[150:]) < 0.05
    assert classification.linear_probe_accuracy(points[:5], [2] * 5, points[:4], [2, 2, 2, 0]) == 0.75
