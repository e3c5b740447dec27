"""Heads on features: what scikit-learn gives, folded into one linear layer, and clear refusals."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from hvit.errors import UserError
from hvit.metrics.probes import fit_linear, fit_multi_label, fit_neighbours, fit_network, fit_numbers


def clusters(per_class: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(classes, 12)) * 2
    labels = np.repeat(np.arange(classes), per_class)
    return (centres[labels] + random.normal(size=(len(labels), 12))).astype(np.float32) * 5 + 3, labels


@pytest.mark.parametrize("classes", [2, 4])
def test_the_linear_head_is_the_regression_on_standardised_features(classes: int) -> None:
    features, labels = clusters(20, classes)
    fitted = fit_linear(features, labels, classes)
    points = (features - features.mean(0)) / features.std(0)
    wanted = LogisticRegression(C=fitted.chosen, max_iter=500).fit(points.astype(np.float64), labels)
    logits = features @ fitted.weight.T + fitted.bias
    odds = np.exp(logits - logits.max(1, keepdims=True))
    assert np.allclose(odds / odds.sum(1, keepdims=True), wanted.predict_proba(points), atol=2e-3)
    assert np.allclose(fitted.predict(features), wanted.predict_proba(points), atol=2e-3)
    assert f"{fitted.chosen:g}" in fitted.tried
    assert fitted.tried[f"{fitted.chosen:g}"] == min(fitted.tried.values())


@pytest.mark.parametrize("fit", [fit_linear, fit_neighbours, fit_network])
def test_every_head_finds_the_clusters_and_names_no_class_it_has_not_seen(fit) -> None:
    features, labels = clusters(8, 3)
    asked, truth = clusters(10, 3, seed=1)
    shares = fit(features, labels, 4).predict(asked)
    assert shares.shape == (30, 4)
    assert np.allclose(shares.sum(1), 1)
    assert (shares.argmax(1) == truth).mean() > 0.9
    assert shares[:, 3].max() < 1e-4


def test_one_sample_of_a_class_is_enough_but_one_class_is_not() -> None:
    features, labels = clusters(1, 3)
    assert fit_linear(features, labels, 3).tried == {}
    with pytest.raises(UserError, match="two classes or more"):
        fit_linear(features, np.zeros(3, dtype=int), 3)
    with pytest.raises(UserError, match="not finite"):
        fit_linear(features * np.nan, labels, 3)


def test_several_classes_have_a_regression_each_and_the_strength_is_chosen_by_folds() -> None:
    random = np.random.default_rng(0)
    features = random.normal(3.0, 2.0, (120, 6)).astype(np.float32)
    present = np.stack([features[:, 0] > 3, features[:, 1] > 5, np.ones(120), np.zeros(120)], axis=1).astype(np.float32)
    head = fit_multi_label(features, present, 4)
    assert ((head.predict(features) > 0.5) == (present > 0.5)).mean() > 0.97
    assert head.chosen in (1.0, 10.0, 100.0), "what is separable needs little penalty"
    assert min(head.tried, key=head.tried.__getitem__) == f"{head.chosen:g}"
    logits = features @ head.weight.T + head.bias
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), head.predict(features), atol=1e-4)


def test_numbers_are_predicted_by_a_ridge_whose_penalty_follows_the_noise() -> None:
    random = np.random.default_rng(0)
    features = random.normal(1.0, 3.0, (90, 40)).astype(np.float32)
    clean = np.stack([features[:, 0] / 3, features[:, 1] / -3], axis=1)
    noise = random.normal(0.0, 1.0, (90, 2))
    exact = fit_numbers(features, clean, 2)
    noisy = fit_numbers(features, noise, 2)
    assert np.abs(exact.predict(features) - clean).max() < 0.1
    assert exact.chosen > noisy.chosen
    np.testing.assert_allclose(features @ exact.weight.T + exact.bias, exact.predict(features), atol=1e-4)
    one = fit_numbers(features[:3], clean[:3, :1], 1)
    assert one.tried == {}, "three samples are too few to choose by"
    with pytest.raises(UserError, match="are not finite"):
        fit_numbers(features * np.nan, clean, 2)


@pytest.mark.parametrize(
    ("fit", "targets"),
    [
        (fit_linear, np.arange(20) % 2),
        (fit_multi_label, np.eye(2)[np.arange(20) % 2]),
        (fit_numbers, np.linspace(-1, 1, 40).reshape(20, 2)),
    ],
)
def test_processes_can_send_linear_heads_to_each_other(fit: Any, targets: np.ndarray) -> None:
    points = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    head = fit(points, targets, 2, 1.0)
    sent = pickle.loads(pickle.dumps(head))
    assert np.array_equal(sent.predict(points), head.predict(points))
    assert np.array_equal(sent.weight, head.weight)
