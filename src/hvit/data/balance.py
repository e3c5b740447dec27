"""Classes of unequal size: how many samples each has, and weights or chances that make up for it."""

from __future__ import annotations

import numpy as np

from hvit.data.tables.settings import Balance
from hvit.errors import UserError
from hvit.labels import LabelSpec


def class_counts(labels: np.ndarray, spec: LabelSpec) -> np.ndarray:
    """How many samples each class has, (classes,) int64; of numbers none are counted."""
    if spec.kind == "regression":
        return np.zeros(0, np.int64)
    if spec.kind == "multi":
        return labels.sum(axis=0).round().astype(np.int64)
    return np.bincount(labels, minlength=len(spec.names))


def count_notes(counts: np.ndarray, spec: LabelSpec, what: str, most: int = 12) -> tuple[str, ...]:
    """The sentence with the training samples of every class, the largest first."""
    if len(counts) < 2:
        return ()
    order = np.argsort(-counts, kind="stable")[:most]
    listed = ", ".join(f"{spec.names[label]} {counts[label]:,}" for label in order)
    more = f" and {len(counts) - most:,} more classes" if len(counts) > most else ""
    return (f"Training {what} of each class: {listed}{more}.",)


def sample_weights(labels: np.ndarray, spec: LabelSpec, balance: Balance, beta: float) -> np.ndarray | None:
    """The weight of every training sample in the loss, (samples,) float32 of mean 1; None where all weigh the same.

    weights: the inverse of the size of the sample's class. effective: (1 - beta) / (1 - beta ** size), of Cui et al.
    2019, "Class-balanced loss based on effective number of samples", equation 2. Of several classes a sample it is
    `positive_weights` that makes up for their sizes.
    """
    _check(spec, balance)
    if balance not in ("weights", "effective") or not spec.has_classes:
        return None
    counts = class_counts(labels, spec)
    weights = 1 / np.maximum(_size(counts, balance, beta), 1e-12)
    own = weights[labels]
    return (own / own.mean()).astype(np.float32)


def positive_weights(labels: np.ndarray, spec: LabelSpec, balance: Balance, beta: float) -> tuple[float, ...]:
    """Of several classes a sample: what a positive label weighs, for each class; empty where it weighs 1.

    labels: (samples, classes). The number of samples without the class divided by that of samples with it; with
    effective their effective numbers.
    """
    if balance not in ("weights", "effective") or spec.kind != "multi":
        return ()
    counts = class_counts(labels, spec)
    with_it, without = (_size(number, balance, beta) for number in (counts, len(labels) - counts))
    return tuple((without / np.maximum(with_it, 1)).clip(1e-3, 1e4).tolist())


def sampling_chances(labels: np.ndarray, spec: LabelSpec, balance: Balance) -> np.ndarray | None:
    """How often each training sample is drawn in an epoch, on average, (samples,) float64; None: each once.

    Every class is drawn equally often. A sample with several classes is drawn as often as the mean of its classes asks;
    one without any like the most frequent class.
    """
    _check(spec, balance)
    if balance != "sampling":
        return None
    counts = np.maximum(class_counts(labels, spec), 1)
    if spec.has_classes:
        chances = 1 / counts[labels]
    else:
        positive = labels.sum(axis=1)
        chances = np.where(positive > 0, labels @ (1 / counts) / np.maximum(positive, 1), 1 / counts.max())
    return chances * (len(labels) / chances.sum())


def draw_epoch(chances: np.ndarray, start: float) -> np.ndarray:
    """As many samples as there are, each drawn as often as its chance says, rounded up or down.

    chances: (samples,) with mean 1, in the order in which they are looked at. start: from 0 to below 1. Returns places
    in that order, (samples,). This is systematic sampling: one draw decides all.
    """
    edges = np.cumsum(chances)
    points = (np.arange(len(chances)) + start) * (edges[-1] / len(chances))
    return np.minimum(np.searchsorted(edges, points, side="right"), len(chances) - 1)


def _size(counts: np.ndarray, balance: Balance, beta: float) -> np.ndarray:
    if balance == "weights":
        return counts.astype(np.float64)
    return (1 - np.power(beta, counts.astype(np.float64))) / (1 - beta)


def _check(spec: LabelSpec, balance: Balance) -> None:
    if balance != "none" and spec.kind == "regression":
        raise UserError(f"balance {balance} is for classes, and the labels are numbers: omit --data.balance")
