"""Holds out a share of the samples of a table: the same ones each time, stratified, and never half a group."""

from __future__ import annotations

import numpy as np

from hvit.data.layout import alone_notes, counted, some
from hvit.data.tables.samples import Samples
from hvit.errors import UserError
from hvit.labels import LabelSpec
from hvit.randomness import derive_seed

_BINS = 10


def hold_out(samples: Samples, fraction: float, split_seed: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Which samples are held out, bool, and the sentences that say so.

    Of one class a sample, the share of every class, as of class folders, and by the same rule: the order hangs on the
    names of the files alone. Groups, and samples with several labels, are taken in such an order where that brings the
    counts of all classes nearer to their share. Numbers are divided into ten parts from low to high. No class loses its
    last training sample. Raises UserError where nothing can be held out.
    """
    drawn = (derive_seed(split_seed, f"split/{name}") for name in samples.split_names())
    seeds = np.fromiter(drawn, np.int64, len(samples.files))
    strata = _strata(samples)
    by_class = strata.ndim == 1
    if by_class and samples.groups is None:
        held, alone = _of_each_class(strata, seeds, fraction)
        names_alone = [samples.spec.names[label] for label in alone] if samples.spec.has_classes else []
        notes = alone_notes(names_alone, "sample")
        how = "each class" if samples.spec.has_classes else "the numbers from low to high"
    else:
        counts = np.eye(int(strata.max()) + 1, dtype=np.float32)[strata] if by_class else strata
        groups = np.arange(len(seeds))
        if samples.groups is not None:
            groups = np.unique(samples.groups, return_inverse=True)[1]
        order = _order_of_groups(groups, seeds)
        held, notes = _of_groups(counts, groups, order, fraction), ()
        how = "the samples (of every label the same share)"
        if samples.groups is not None:
            number = len(set(groups[held].tolist()))
            how = f"the samples in whole groups ({number:,} of {counted(len(order), 'group')})"
    if not held.any():
        raise UserError(
            "no sample can be held out: every class has a single one, or a single group; add some, or say in a column "
            "which rows are train and val (--data.split-column)"
        )
    return held, (f"The table names no split: {fraction:.0%} of {how} is held out.", *notes)


def _strata(samples: Samples) -> np.ndarray:
    """Class numbers (samples,), 0 and 1 of several classes (samples, classes), or which tenth a number is in."""
    if samples.spec.kind != "regression":
        return samples.labels
    values = samples.labels[:, 0]
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return ranks * min(_BINS, max(1, len(ranks) // 10)) // max(1, len(ranks))


def _of_each_class(strata: np.ndarray, seeds: np.ndarray, fraction: float) -> tuple[np.ndarray, list[int]]:
    held, alone = np.zeros(len(strata), bool), []
    for label in np.unique(strata):
        members = np.flatnonzero(strata == label)
        if len(members) == 1:
            alone.append(int(label))
        count = min(max(1, round(len(members) * fraction)), len(members) - 1)
        held[members[np.argsort(seeds[members], kind="stable")[:count]]] = True
    return held, alone


def _order_of_groups(groups: np.ndarray, seeds: np.ndarray) -> list[int]:
    """Groups by the smallest number of their members, so that the order hangs on names alone."""
    least: dict[int, int] = {}
    for group, seed in zip(groups.tolist(), seeds.tolist(), strict=True):
        least[group] = min(seed, least.get(group, seed))
    return sorted(least, key=least.__getitem__)


def _of_groups(counts: np.ndarray, groups: np.ndarray, order: list[int], fraction: float) -> np.ndarray:
    """counts: (samples, classes). A group is held out where the counts come nearer to their share by that."""
    inverse = np.argsort(order)  # groups are numbered from 0
    with_size = np.concatenate([counts, np.ones((len(counts), 1), counts.dtype)], axis=1).astype(np.float64)
    sums = np.zeros((len(order), with_size.shape[1]))
    np.add.at(sums, inverse[groups], with_size)
    total = sums.sum(axis=0)
    wanted, taken = total * fraction, np.zeros_like(total)
    scale = 1 / np.maximum(wanted, 1)
    chosen = np.zeros(len(order), bool)
    for place, group in enumerate(sums):
        after = taken + group
        leaves_all = (total - after > 0)[total > 0].all()
        nearer = (np.abs(wanted - after) * scale).sum() < (np.abs(wanted - taken) * scale).sum()
        if leaves_all and nearer:
            chosen[place], taken = True, after
    return chosen[inverse[groups]]


def check_parts(samples: Samples, train: np.ndarray, held: np.ndarray, tested: np.ndarray) -> tuple[str, ...]:
    """Notes on classes without held-out, or test, samples. train, held, tested: the parts, (samples,) bool.

    Raises UserError for a part without samples, and for a class that no training sample has.
    """
    spec = samples.spec
    if not held.any() or not train.any():
        part = "training" if held.any() else "held-out"
        raise UserError(f"no {part} sample is left: add rows to the table, or change its split")
    if spec.kind == "regression":
        return ()
    seen, asked, scored = (_present(samples.labels[part], spec) for part in (train, held, tested))
    only = [spec.names[label] for label in sorted((asked | scored) - seen)]
    if only:
        raise UserError(
            f"{counted(len(only), 'class', 'classes')} {'occurs' if len(only) == 1 else 'occur'} in held-out samples "
            f"only, where nothing can be trained on: {some(only)}; move some to the training part"
        )
    notes = ()
    for part, words in ((asked, "held-out"), (scored, "test")):
        never = [spec.names[label] for label in sorted(seen - part)]
        if never and (part or words == "held-out"):
            notes += (f"Not among the {words} samples: {some(never)}.",)
    return notes


def _present(labels: np.ndarray, spec: LabelSpec) -> set[int]:
    return set(labels.tolist()) if spec.has_classes else set(np.flatnonzero(labels.any(axis=0)).tolist())
