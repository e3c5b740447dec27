"""Scores of several classes a sample, of ordered classes, of numbers, and of classes of unequal size.

Pure functions on arrays, whose results are plain JSON; a measure with nothing to divide by is None, never nan.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from hvit.metrics.classification import confusion_matrix, wilson_interval

Row = dict[str, Any]
"""A class's, or a number's, line of a table."""


def balanced_scores(labels: Sequence[int], predictions: Sequence[int], num_classes: int) -> dict[str, float]:
    """The mean recall (balanced accuracy) and the mean F1 of the classes that occur.

    F1 is 0 for a class that is never predicted rightly, as in scikit-learn.
    """
    matrix = np.array(confusion_matrix(labels, predictions, num_classes), dtype=np.float64)
    hits, count, guessed = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    there, named = count > 0, (count > 0) | (guessed > 0)
    f1 = 2 * hits / np.maximum(count + guessed, 1)
    return {
        "balanced_accuracy": float((hits[there] / count[there]).mean()),
        "f1_macro": float(f1[named].mean()),
    }


def ranking_scores(probabilities: np.ndarray, truth: np.ndarray, names: Sequence[str]) -> list[Row]:
    """Area under the ROC curve and average precision of every class, against all samples without it.

    probabilities: (samples, classes), any scores that rank. truth: (samples, classes) of 0 and 1. None for a class that
    all samples have, or none.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score  # takes a second to import

    rows = []
    for place, name in enumerate(names):
        own, scores = truth[:, place], probabilities[:, place]
        both = 0 < own.sum() < len(own)
        rows.append(
            {
                "name": name,
                "auroc": float(roc_auc_score(own, scores)) if both else None,
                "average_precision": float(average_precision_score(own, scores)) if own.any() else None,
            }
        )
    return rows


def mean_of(rows: Sequence[Row], key: str) -> float | None:
    """The mean of what the rows have under a key; None where none has it."""
    found = [row[key] for row in rows if row[key] is not None]
    return float(np.mean(found)) if found else None


def best_thresholds(probabilities: np.ndarray, truth: np.ndarray) -> tuple[float, ...]:
    """For each class the probability from which predicting it has the highest F1; 0.5 for a class without samples.

    probabilities, truth: (samples, classes). Halfway between two neighbouring probabilities; of several the highest.
    """
    chosen = []
    for scores, own in zip(probabilities.T.astype(np.float64), truth.T, strict=True):
        if not own.any():
            chosen.append(0.5)
            continue
        order = np.argsort(-scores, kind="stable")
        ranked, hits = scores[order], np.cumsum(own[order])
        f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + own.sum())
        last = np.append(ranked[1:] < ranked[:-1], True)  # samples of one probability are predicted together
        place = int(np.argmax(np.where(last, f1, -1)))
        below = ranked[place + 1] if place + 1 < len(ranked) else max(0.0, ranked[place] - 0.02)
        chosen.append(float((ranked[place] + below) / 2))
    return tuple(chosen)


def multi_label_scores(
    probabilities: np.ndarray, truth: np.ndarray, names: Sequence[str], thresholds: Sequence[float]
) -> dict[str, Any]:
    """Mean average precision, F1 over all decisions (micro) and over classes (macro), and a row for each class.

    probabilities, truth: (samples, classes). thresholds: (classes,). mean_average_precision is 0 where no class occurs.
    """
    guessed, present = probabilities >= np.asarray(thresholds), truth > 0.5
    hits, counts, guesses = (guessed & present).sum(0), present.sum(0), guessed.sum(0)
    rows = ranking_scores(probabilities, present.astype(int), names)
    for place, row in enumerate(rows):
        hit, count, guess = int(hits[place]), int(counts[place]), int(guesses[place])
        row |= {
            "count": count,
            "threshold": round(float(thresholds[place]), 4),
            "recall": hit / count if count else None,
            "recall_interval": list(wilson_interval(hit, count)) if count else None,
            "precision": hit / guess if guess else None,
            "f1": 2 * hit / (count + guess) if count + guess else None,
        }
    total = int(counts.sum() + guesses.sum())
    return {
        "mean_average_precision": mean_of(rows, "average_precision") or 0.0,
        "f1_micro": 2 * int(hits.sum()) / total if total else 0.0,
        "f1_macro": mean_of(rows, "f1") or 0.0,
        "auroc": mean_of(rows, "auroc"),
        "exact_match": float((guessed == present).all(axis=1).mean()),
        "per_class": rows,
    }


def regression_scores(predicted: np.ndarray, truth: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Mean absolute error, root of the mean squared error, R² and rank correlation, and a row for each number.

    predicted, truth: (samples, numbers), in the units of the labels. r2 and spearman are means over numbers, the errors
    too. R² of labels that are all the same is 0, and their rank correlation None.
    """
    rows: list[Row] = []
    for place, name in enumerate(names):
        found, wanted = predicted[:, place].astype(np.float64), truth[:, place].astype(np.float64)
        error, spread = found - wanted, float(((wanted - wanted.mean()) ** 2).sum())
        rows.append(
            {
                "name": name,
                "mae": float(np.abs(error).mean()),
                "rmse": float(np.sqrt((error**2).mean())),
                "r2": 1 - float((error**2).sum()) / spread if spread > 0 else 0.0,
                "spearman": rank_correlation(found, wanted),
            }
        )
    return {key: mean_of(rows, key) for key in ("mae", "rmse", "r2", "spearman")} | {"per_output": rows}


def ordinal_scores(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float | None]:
    """How far ordered classes are missed: mae in classes, the kappa with quadratic weights, the rank correlation.

    probabilities: (samples, classes) in their order. labels: (samples,). Predicted is the median class, and of the rank
    correlation the mean class. Kappa (Cohen 1968) is 0 for what chance gives, and where all samples are of one class.
    """
    classes = np.arange(probabilities.shape[1])
    guesses = median_class(probabilities)
    mean = probabilities @ classes
    expected = _expected(guesses, labels)
    kappa = 1 - float(((guesses - labels) ** 2).mean()) / expected if expected > 1e-12 else 0.0
    return {
        "mae": float(np.abs(guesses - labels).mean()),
        "quadratic_kappa": kappa,
        "spearman": rank_correlation(mean, labels.astype(np.float64)),
    }


def median_class(probabilities: np.ndarray) -> np.ndarray:
    """The class up to which half of the probability lies, (samples,): the guess that is off by the fewest classes."""
    return np.minimum((probabilities.cumsum(axis=1) < 0.5).sum(axis=1), probabilities.shape[1] - 1)


def rank_correlation(found: np.ndarray, wanted: np.ndarray) -> float | None:
    """Spearman's rank correlation; None where either has one value only."""
    if np.ptp(found) == 0 or np.ptp(wanted) == 0:
        return None
    from scipy.stats import spearmanr

    return float(cast(Any, spearmanr(found, wanted)).statistic)


def _expected(guesses: np.ndarray, labels: np.ndarray) -> float:
    """The mean squared difference of a guess and the label of any other sample, without all pairs."""
    guesses, labels = guesses.astype(np.float64), labels.astype(np.float64)
    return float((guesses**2).mean() + (labels**2).mean() - 2 * guesses.mean() * labels.mean())
