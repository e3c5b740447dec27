"""How well predictions agree with the truth: pure functions on arrays, no models.

Every function takes NumPy arrays, torch tensors or plain sequences and returns plain numbers and lists,
so that a result can be written to JSON as it is. A measure with nothing to divide by is `None`, never `nan`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TypedDict, cast

import numpy as np
import torch
from numpy.typing import ArrayLike

Numbers = ArrayLike | torch.Tensor

# The 97.5 % point of the normal distribution: what a two-sided 95 % interval reaches to.
NORMAL_975 = 1.959963984540054


class ClassRow(TypedDict):
    """One class's line of a per-class table; fractions in [0, 1], or None where nothing was counted."""

    name: str
    count: int
    recall: float | None
    recall_interval: tuple[float, float] | None
    precision: float | None
    f1: float | None


def top_k_accuracy(logits: Numbers, labels: Numbers, k: int) -> float:
    """The fraction of samples whose true class is among the k classes of highest logit.

    logits: (samples, classes). labels: (samples,) int. With fewer than k classes every class counts:
    the result is 1. Among equal logits the lower class number comes first, as in argmax. A row with a nan misses.
    """
    scores, truth = _array(logits), _array(labels).astype(np.int64)
    assert scores.ndim == 2, f"logits must be (samples, classes), not {scores.shape}"
    assert len(scores) == len(truth) > 0, f"{len(scores)} rows of logits for {len(truth)} labels"
    own = np.take_along_axis(scores, truth[:, None], axis=1)
    comes_first = np.arange(scores.shape[1])[None, :] < truth[:, None]
    ahead = (scores > own) | ((scores == own) & comes_first)
    hits = (ahead.sum(axis=1) < k) & ~np.isnan(scores).any(axis=1)
    return float(hits.mean())


def confusion_matrix(labels: Numbers, predictions: Numbers, num_classes: int) -> list[list[int]]:
    """How often each true class (row) was predicted as each class (column), as counts.

    labels, predictions: (samples,) int in [0, num_classes). Returns num_classes rows of num_classes counts.
    """
    truth, guesses = _class_numbers(labels, predictions, num_classes)
    counts = np.bincount(truth * num_classes + guesses, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).tolist()


def commonest_mistakes(matrix: list[list[int]], most: int) -> list[tuple[int, int, int]]:
    """The pairs of classes that are confused most often, as (true class, predicted class, count), most frequent first.

    matrix: as `confusion_matrix` gives it. Pairs that never occur are skipped; of equals the first in it leads.
    """
    pairs = [
        (truth, guess, count)
        for truth, row in enumerate(matrix)
        for guess, count in enumerate(row)
        if count and truth != guess
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:most]


def per_class_table(labels: Numbers, predictions: Numbers, classes: Sequence[str]) -> list[ClassRow]:
    """Count, recall with its 95 % interval (Wilson), precision and F1 of every class, in the order of `classes`.

    labels, predictions: (samples,) int, indices into `classes`. Recall is the accuracy within the class. A
    class that never occurs has no recall (None), one that is never predicted no precision.
    """
    # Imported here because scikit-learn takes a second to import, and only this table needs it.
    from sklearn import metrics

    truth, guesses = _class_numbers(labels, predictions, len(classes))
    # scikit-learn is typed too narrowly: nan is a documented zero_division, and the results are arrays.
    undefined = cast(str, math.nan)
    measured = cast(
        tuple[np.ndarray, ...],
        metrics.precision_recall_fscore_support(
            truth, guesses, labels=np.arange(len(classes)), average=None, zero_division=undefined
        ),
    )
    return [
        ClassRow(
            name=name,
            count=int(n),
            recall=_finite(r),
            recall_interval=wilson_interval(round(float(r) * int(n)), int(n)) if n else None,
            precision=_finite(p),
            f1=_finite(f),
        )
        for name, p, r, f, n in zip(classes, *measured, strict=True)
    ]


def expected_calibration_error(logits: Numbers, labels: Numbers, bins: int = 15) -> float:
    """How far, on average, a model's confidence is from its accuracy: 0 is perfect, 1 the worst.

    logits: (samples, classes), no nan. labels: (samples,) int. Confidence is the highest softmax probability;
    samples are gathered in `bins` equal intervals of it.
    Source: Guo et al. 2017, "On calibration of modern neural networks", equation 3.
    """
    scores, truth = _array(logits).astype(np.float64), _array(labels).astype(np.int64)
    assert len(scores) == len(truth) > 0, f"{len(scores)} rows of logits for {len(truth)} labels"
    assert not np.isnan(scores).any(), "a logit is nan"
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    confidence = 1 / odds.sum(axis=1)  # the highest probability: its odds are exp(0)
    right = scores.argmax(axis=1) == truth
    bin_numbers = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(bin_numbers, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(truth))


def nearest_neighbour_accuracy(
    train_features: Numbers, train_labels: Numbers, test_features: Numbers, test_labels: Numbers, neighbours: int = 10
) -> float:
    """Share of test points whose nearest training points vote for their class: what features are worth without a head.

    features: (points, dim), compared by the angle between them. labels: (points,). neighbours: how many vote, fewer
    where there are not so many. Of classes with as many votes the lowest is chosen.
    """
    from sklearn.neighbors import KNeighborsClassifier  # takes a second to import

    def directions(features: Numbers) -> np.ndarray:
        points = _array(features).astype(np.float32)
        return points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)

    classes = _array(train_labels)
    voters = KNeighborsClassifier(min(neighbours, len(classes))).fit(directions(train_features), classes)
    return float((voters.predict(directions(test_features)) == _array(test_labels)).mean())


def linear_probe_accuracy(
    train_features: Numbers, train_labels: Numbers, test_features: Numbers, test_labels: Numbers
) -> float:
    """Share of test points whose class a linear classifier of features predicts (logistic regression).

    features: (points, dim), scaled to the mean and standard deviation of the training points. labels: (points,). Where
    the training points are of one class only, that class is the answer.
    """
    from sklearn.linear_model import LogisticRegression  # takes a second to import

    points, classes = _array(train_features).astype(np.float64), _array(train_labels)
    if len(np.unique(classes)) == 1:
        return float((_array(test_labels) == classes[0]).mean())
    mean, std = points.mean(axis=0), np.maximum(points.std(axis=0), 1e-6)
    with warnings.catch_warnings():
        # Stopping a little early changes the share of right answers by nothing that matters.
        warnings.filterwarnings("ignore", message=".*failed to converge")
        probe = LogisticRegression(C=0.1, max_iter=300).fit((points - mean) / std, classes)
    answers = probe.predict((_array(test_features).astype(np.float64) - mean) / std)
    return float((answers == _array(test_labels)).mean())


def path_hit_rate(paths: Numbers, places: Numbers) -> list[float]:
    """The fraction of explanation paths that lead to the right place, for each depth of the tree.

    paths, places: (samples, depth) int, quadrant indices with the root's choice first. A path hits at depth k
    when its first k quadrants all agree with the place. Returns `depth` fractions, never growing with depth.
    """
    chosen, true = _array(paths), _array(places)
    assert chosen.ndim == 2, f"paths must be (samples, depth), not {chosen.shape}"
    assert chosen.shape == true.shape, f"paths are {chosen.shape}, places {true.shape}"
    assert len(chosen) > 0, "there are no paths"
    agrees = np.logical_and.accumulate(chosen == true, axis=1)
    return agrees.mean(axis=0).tolist()


def wilson_interval(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval for the true rate behind `hits` out of `count`, as (lower, upper) fractions.

    Unlike the textbook interval it stays inside [0, 1] and is not empty at 0 or 100 %.
    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    assert 0 <= hits <= count, f"{hits} hits of {count}"
    assert count > 0, "there is nothing to count"
    rate, square = hits / count, NORMAL_975**2
    centre = (rate + square / (2 * count)) / (1 + square / count)
    spread = math.sqrt(rate * (1 - rate) / count + square / (4 * count**2))
    spread *= NORMAL_975 / (1 + square / count)
    return max(0.0, centre - spread), min(1.0, centre + spread)


def _array(values: Numbers) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        # NumPy has no bfloat16; double holds every floating type of torch exactly.
        values = values.detach().cpu()
        return (values.double() if values.is_floating_point() else values).numpy()
    return np.asarray(values)


def _class_numbers(labels: Numbers, predictions: Numbers, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    truth, guesses = _array(labels).astype(np.int64), _array(predictions).astype(np.int64)
    assert truth.shape == guesses.shape, f"{truth.shape} labels for {guesses.shape} predictions"
    assert truth.size > 0, "there are no samples"
    for numbers in (truth, guesses):
        inside = 0 <= numbers.min() <= numbers.max() < num_classes
        assert inside, f"a class number is outside 0..{num_classes - 1}"
    return truth, guesses


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
