"""Scores of several classes, of ordered classes and of numbers agree with scikit-learn and with small cases."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from hvit.metrics.labelled import (
    balanced_scores,
    best_thresholds,
    median_class,
    multi_label_scores,
    ordinal_scores,
    rank_correlation,
    ranking_scores,
    regression_scores,
)

RANDOM = np.random.default_rng(0)
TRUTH = (RANDOM.random((200, 3)) < (0.5, 0.2, 0.05)).astype(np.float32)
SHARES = np.clip(0.3 * TRUTH + RANDOM.random((200, 3)) * 0.7, 0, 1)
NAMES = ("a", "b", "c")


def test_balanced_accuracy_and_f1_are_those_of_scikit_learn() -> None:
    truth, guesses = RANDOM.integers(0, 4, 300), RANDOM.integers(0, 4, 300)
    found = balanced_scores(truth.tolist(), guesses.tolist(), 5)
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(truth, guesses))
    assert found["f1_macro"] == pytest.approx(metrics.f1_score(truth, guesses, average="macro"))


def test_scores_of_several_classes_are_those_of_scikit_learn() -> None:
    thresholds = (0.4, 0.5, 0.6)
    found, guessed = multi_label_scores(SHARES, TRUTH, NAMES, thresholds), thresholds <= SHARES
    for name, average in (("f1_micro", "micro"), ("f1_macro", "macro")):
        assert found[name] == pytest.approx(metrics.f1_score(TRUTH, guessed, average=average))
    assert found["mean_average_precision"] == pytest.approx(metrics.average_precision_score(TRUTH, SHARES))
    assert found["auroc"] == pytest.approx(metrics.roc_auc_score(TRUTH, SHARES))
    assert found["exact_match"] == pytest.approx(metrics.accuracy_score(TRUTH, guessed))


def test_thresholds_have_the_highest_f1_of_all() -> None:
    chosen = best_thresholds(SHARES, TRUTH)
    for place, threshold in enumerate(chosen):
        best = max(metrics.f1_score(TRUTH[:, place], SHARES[:, place] >= one) for one in np.linspace(0, 1, 200))
        assert metrics.f1_score(TRUTH[:, place], SHARES[:, place] >= threshold) >= best
    assert best_thresholds(np.array([[0.2], [0.9]]), np.zeros((2, 1))) == (0.5,)


def test_a_class_that_never_occurs_has_no_score() -> None:
    (row,) = ranking_scores(np.array([[0.2], [0.9]]), np.zeros((2, 1), int), ("a",))
    assert (row["auroc"], row["average_precision"]) == (None, None)


def test_scores_of_numbers_are_those_of_scikit_learn() -> None:
    truth = RANDOM.normal(size=(100, 2)) * (1, 50)
    found = truth + RANDOM.normal(size=(100, 2)) * (0.5, 10)
    scores = regression_scores(found, truth, ("a", "b"))
    assert scores["r2"] == pytest.approx(metrics.r2_score(truth, found))
    assert scores["mae"] == pytest.approx(metrics.mean_absolute_error(truth, found))
    constant = regression_scores(np.zeros((3, 1)), np.ones((3, 1)), ("a",))
    assert (constant["r2"], constant["spearman"], constant["mae"]) == (0.0, None, 1.0)


def test_scores_of_ordered_classes_are_those_of_scikit_learn() -> None:
    labels = RANDOM.integers(0, 4, 200)
    shares = RANDOM.dirichlet(np.ones(4), 200) * 0.5 + 0.5 * np.eye(4)[labels]
    scores, guesses = ordinal_scores(shares, labels), median_class(shares)
    assert scores["quadratic_kappa"] == pytest.approx(metrics.cohen_kappa_score(labels, guesses, weights="quadratic"))
    assert scores["mae"] == pytest.approx(np.abs(labels - guesses).mean())


def test_the_median_class_is_where_half_of_the_probability_lies() -> None:
    assert median_class(np.array([[0.4, 0.0, 0.6], [0.4, 0.2, 0.4], [1.0, 0.0, 0.0]])).tolist() == [2, 1, 0]


def test_a_rank_correlation_needs_two_values() -> None:
    assert rank_correlation(np.ones(3), np.arange(3.0)) is None
    assert rank_correlation(np.array([1.0, 5.0, 9.0]), np.arange(3.0)) == pytest.approx(1)
