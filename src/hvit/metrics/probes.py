"""Heads fitted to frozen features: linear, nearest neighbours and a small network, each chosen by cross-validation."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, cast

import numpy as np

from hvit.errors import UserError

_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
"""Inverse strengths of the penalty that are tried, for features of mean 0 and standard deviation 1."""
_NEIGHBOURS = (1, 3, 5, 10, 20)
_PENALTIES = (1e-3, 1e-1, 10.0)
_HIDDEN = 256
_FOLDS = 5
_MOST_COMPARED = 5_000
"""Samples that choices are compared on; the head that is chosen is then fitted to all."""


class _Classifier(Protocol):
    """What is used of a fitted classifier of scikit-learn."""

    classes_: np.ndarray

    def predict_proba(self, X: np.ndarray) -> np.ndarray: ...


class _Linear(_Classifier, Protocol):
    """The same of a linear one."""

    coef_: np.ndarray
    intercept_: np.ndarray


@dataclass(frozen=True)
class Fitted:
    """A head, and how it was chosen."""

    predict: Callable[[np.ndarray], np.ndarray]
    """Probabilities (samples, classes) of features (samples, dim)."""
    chosen: float
    """The value that was chosen: C of the logistic regression, the number of neighbours, or the weight penalty."""
    tried: dict[str, float]
    """The mean log loss of every value over the folds; empty where there were too few samples to compare."""


@dataclass(frozen=True)
class FittedLinear(Fitted):
    """A linear head on features as they are: logits = features @ weight.T + bias."""

    weight: np.ndarray
    """(classes, dim) float32."""
    bias: np.ndarray
    """(classes,) float32."""


def fit_linear(
    features: np.ndarray, labels: np.ndarray, num_classes: int, strength: float | None = None
) -> FittedLinear:
    """Fits multinomial logistic regression with an L2 penalty.

    features: (samples, dim), standardised for the fit; the scale is folded into the weights. labels: (samples,) from 0
    to num_classes - 1. strength: the inverse strength of the penalty; default: chosen by cross-validation.
    Raises UserError for fewer than two classes, and for features that are not finite.
    """
    from sklearn.linear_model import LogisticRegression  # takes a second to import

    points, mean, std = _standardised(features, labels)

    def fit(points: np.ndarray, labels: np.ndarray, strength: float) -> _Linear:
        with warnings.catch_warnings():
            # Stopping a little early changes nothing that is reported.
            warnings.filterwarnings("ignore", message=".*failed to converge")
            return cast(_Linear, LogisticRegression(C=strength, max_iter=500).fit(points, labels))

    if strength is None:
        chosen, tried = _choose(fit, _STRENGTHS, points, labels, num_classes, default=1e-2)
    else:
        chosen, tried = strength, {}
    fitted = fit(points, labels, chosen)
    weight, bias = np.zeros((num_classes, points.shape[1])), np.zeros(num_classes)
    rows, offsets = fitted.coef_, fitted.intercept_
    if len(fitted.classes_) == 2:  # scikit-learn gives the difference of the two
        rows, offsets = np.concatenate([-rows, rows]) / 2, np.concatenate([-offsets, offsets]) / 2
    weight[fitted.classes_], bias[fitted.classes_] = rows, offsets
    absent = np.setdiff1d(np.arange(num_classes), fitted.classes_)
    bias[absent] = offsets.min() - 20.0  # never the most probable
    return _linear_head(weight, bias, mean, std, chosen, tried, _one_of)


def fit_multi_label(
    features: np.ndarray, present: np.ndarray, num_classes: int, strength: float | None = None
) -> FittedLinear:
    """Fits a logistic regression with an L2 penalty for each class against the rest. As `fit_linear`.

    present: (samples, classes) of 0 and 1. One strength for all classes, of the least mean log loss over the folds; a
    class that all samples have, or none, is always or never predicted. chosen, tried: as of `fit_linear`.
    """
    from sklearn.linear_model import LogisticRegression

    points, mean, std = _standardised(features)
    yes = present > 0.5

    def fit(points: np.ndarray, yes: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
        weight, bias = np.zeros((num_classes, points.shape[1])), np.zeros(num_classes)
        for place in range(num_classes):
            own = yes[:, place]
            if own.all() or not own.any():
                bias[place] = 10.0 if own.all() else -10.0
                continue
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*failed to converge")
                fitted = cast(_Linear, LogisticRegression(C=strength, max_iter=500).fit(points, own))
            weight[place], bias[place] = fitted.coef_[0], fitted.intercept_[0]
        return weight, bias

    def loss(head: tuple[np.ndarray, np.ndarray], points: np.ndarray, yes: np.ndarray) -> float:
        logits = points @ head[0].T + head[1]
        return float(np.logaddexp(0.0, np.where(yes, -logits, logits)).mean())

    chosen, tried = (strength, {}) if strength is not None else _choose_plain(fit, loss, _STRENGTHS, points, yes, 1e-2)
    weight, bias = fit(points, yes, chosen)
    return _linear_head(weight, bias, mean, std, chosen, tried, _each)


def fit_numbers(
    features: np.ndarray, values: np.ndarray, num_outputs: int, strength: float | None = None
) -> FittedLinear:
    """Fits a ridge regression to standardised numbers. As `fit_linear`.

    values: (samples, num_outputs), of mean 0 and standard deviation 1 each. strength: the inverse of the penalty for
    each sample; default: that of the least mean squared error over the folds, which `tried` has.
    """
    from sklearn.linear_model import Ridge

    points, mean, std = _standardised(features)

    def fit(points: np.ndarray, values: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
        fitted = Ridge(alpha=len(points) / strength / 100).fit(points, values)
        return np.atleast_2d(fitted.coef_), np.atleast_1d(fitted.intercept_)

    def loss(head: tuple[np.ndarray, np.ndarray], points: np.ndarray, values: np.ndarray) -> float:
        return float(((points @ head[0].T + head[1] - values) ** 2).mean())

    chosen, tried = (
        (strength, {}) if strength is not None else _choose_plain(fit, loss, _STRENGTHS, points, values, 1.0)
    )
    weight, bias = fit(points, values, chosen)
    return _linear_head(weight, bias, mean, std, chosen, tried, _as_they_are)


def _linear_head(
    weight: np.ndarray,
    bias: np.ndarray,
    mean: np.ndarray,
    std: np.ndarray,
    chosen: float,
    tried: dict[str, float],
    answer: Callable[[np.ndarray], np.ndarray],
) -> FittedLinear:
    """A head that was fitted to standardised features, for features as they are."""
    weight = weight / std
    bias = bias - weight @ mean
    predict = partial(_answers, weight, bias, answer)
    return FittedLinear(predict, chosen, tried, weight.astype(np.float32), bias.astype(np.float32))


def _answers(
    weight: np.ndarray, bias: np.ndarray, answer: Callable[[np.ndarray], np.ndarray], asked: np.ndarray
) -> np.ndarray:
    """What a linear head predicts; a function of the module, so that processes can send heads to each other."""
    return answer(asked.astype(np.float64) @ weight.T + bias)


def _one_of(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def _each(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def _as_they_are(outputs: np.ndarray) -> np.ndarray:
    return outputs


def _choose_plain(
    fit: Callable[[np.ndarray, np.ndarray, float], tuple[np.ndarray, np.ndarray]],
    loss: Callable[[tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray], float],
    values: Sequence[float],
    points: np.ndarray,
    targets: np.ndarray,
    default: float,
) -> tuple[float, dict[str, float]]:
    """The value of least loss over folds that are drawn by chance; the default for fewer than four samples."""
    from sklearn.model_selection import KFold

    if len(points) > _MOST_COMPARED:
        kept = np.linspace(0, len(points) - 1, _MOST_COMPARED).round().astype(int)
        points, targets = points[kept], targets[kept]
    folds = min(_FOLDS, len(points) // 2)
    if folds < 2:
        return default, {}
    losses: dict[float, list[float]] = {value: [] for value in values}
    for train, test in KFold(folds, shuffle=True, random_state=0).split(points):
        for value in values:
            losses[value].append(loss(fit(points[train], targets[train], value), points[test], targets[test]))
    means = {value: float(np.mean(found)) for value, found in losses.items()}
    return min(means, key=lambda value: means[value]), {f"{value:g}": round(loss, 4) for value, loss in means.items()}


def fit_neighbours(features: np.ndarray, labels: np.ndarray, num_classes: int) -> Fitted:
    """Votes of the nearest training samples by the angle between features, weighted by nearness. As `fit_linear`."""
    from sklearn.neighbors import KNeighborsClassifier

    points = _directions(_standardised(features, labels, scale=False)[0])

    def fit(points: np.ndarray, labels: np.ndarray, count: float) -> _Classifier:
        voters = KNeighborsClassifier(min(int(count), len(labels)), weights="distance")
        return cast(_Classifier, voters.fit(points, labels))

    chosen, tried = _choose(fit, _NEIGHBOURS, points, labels, num_classes, default=1)
    fitted = fit(points, labels, chosen)
    return Fitted(lambda asked: _in_all(fitted, _directions(asked), num_classes), chosen, tried)


def fit_network(features: np.ndarray, labels: np.ndarray, num_classes: int, seed: int = 0) -> Fitted:
    """A network with one hidden layer of 256 units. As `fit_linear`; seed: of its initialisation and its batches."""
    from sklearn.neural_network import MLPClassifier

    points, mean, std = _standardised(features, labels)

    def fit(points: np.ndarray, labels: np.ndarray, penalty: float) -> _Classifier:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*Maximum iterations")
            network = MLPClassifier((_HIDDEN,), alpha=penalty, max_iter=60, random_state=seed)
            return cast(_Classifier, network.fit(points.astype(np.float32), labels))

    chosen, tried = _choose(fit, _PENALTIES, points, labels, num_classes, default=1e-1)
    fitted = fit(points, labels, chosen)
    return Fitted(lambda asked: _in_all(fitted, ((asked - mean) / std).astype(np.float32), num_classes), chosen, tried)


def _choose(
    fit: Callable[[np.ndarray, np.ndarray, float], _Classifier],
    values: Sequence[float],
    points: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    default: float,
) -> tuple[float, dict[str, float]]:
    """The value of least log loss over stratified folds; the default where a class has one sample."""
    from sklearn.model_selection import StratifiedKFold

    if len(labels) > _MOST_COMPARED:
        kept = np.linspace(0, len(labels) - 1, _MOST_COMPARED).round().astype(int)
        points, labels = points[kept], labels[kept]
    counts = np.bincount(labels, minlength=num_classes)
    folds = min(_FOLDS, int(counts[counts > 0].min()))
    if folds < 2:
        return default, {}
    losses: dict[float, list[float]] = {value: [] for value in values}
    for train, test in StratifiedKFold(folds, shuffle=True, random_state=0).split(points, labels):
        for value in values:
            shares = _in_all(fit(points[train], labels[train], value), points[test], num_classes)
            own = shares[np.arange(len(test)), labels[test]]
            losses[value].append(float(-np.log(np.maximum(own, 1e-4)).mean()))
    means = {value: float(np.mean(found)) for value, found in losses.items()}
    return min(means, key=lambda value: means[value]), {f"{value:g}": round(loss, 4) for value, loss in means.items()}


def _in_all(fitted: _Classifier, points: np.ndarray, num_classes: int) -> np.ndarray:
    """Probabilities for all classes, also those that the head has not seen."""
    shares = np.zeros((len(points), num_classes))
    shares[:, fitted.classes_] = fitted.predict_proba(points)
    return shares


def _standardised(
    features: np.ndarray, labels: np.ndarray | None = None, scale: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of mean 0 and standard deviation 1 in float64, that mean, and that deviation."""
    if not np.isfinite(features).all():
        raise UserError(
            "the features are not finite numbers: the encoder's weights are damaged, or its training diverged"
        )
    if labels is not None and len(np.unique(labels)) < 2:
        raise UserError("a head is fitted to two classes or more; these samples have one")
    points = features.astype(np.float64)
    mean, std = points.mean(axis=0), np.maximum(points.std(axis=0), 1e-6)
    return ((points - mean) / std if scale else points), mean, std


def _directions(features: np.ndarray) -> np.ndarray:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
