"""Parts for cross-validation: every sample is held out in one of them, and samples of one group stay together."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from hvit.data.layout import some
from hvit.data.regular_files import open_regular, system_reason
from hvit.errors import UserError
from hvit.files import as_path
from hvit.labels import LabelSpec
from hvit.randomness import derive_seed

_FIFTHS = 5
_LARGEST = 200_000_000  # bytes of a file of groups


class FoldedData(Protocol):
    """The options of data that can be divided into folds."""

    @property
    def folds(self) -> int: ...
    @property
    def fold(self) -> int: ...
    @property
    def group(self) -> str: ...
    @property
    def split_seed(self) -> int: ...


def check_folds(config: FoldedData) -> None:
    """Raises UserError for folds that there cannot be."""
    if config.folds < 0 or config.folds == 1:
        raise UserError(f"folds must be 2 or more, or 0 for none, not {config.folds}.")
    if config.fold and not config.folds:
        raise UserError(f"fold {config.fold} is one of several in cross-validation: give --data.folds as well.")
    if not 0 <= config.fold <= config.folds:
        raise UserError(f"fold must be from 1 to folds ({config.folds}), or 0 for all in turn, not {config.fold}.")
    if config.group and not config.folds:
        raise UserError("group keeps samples together in cross-validation: give --data.folds as well.")


def held_out_fold(
    config: FoldedData,
    labels: np.ndarray,
    names: Sequence[str],
    classes: Sequence[str],
    groups: Sequence[str] | None = None,
    strict: bool = True,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Which samples the fold holds out (samples,) bool, and sentences about all folds; fold 0 is planned as the first.

    labels: (samples,) int. names: of the samples, such as paths from the data's root. groups: of the samples, where
    they are known; default: as the option says. strict: as of `make_folds`. Raises UserError as that.
    """
    are_grouped = bool(config.group) or groups is not None
    groups = groups_of(config.group, names) if groups is None else groups
    folds = make_folds(labels, groups, config.folds, config.split_seed, classes, strict)
    sizes = np.bincount(folds, minlength=config.folds).tolist()
    together = f", samples of the {len(set(groups)):,} groups together" if are_grouped else ""
    missing = [
        name for label, name in enumerate(classes) if len(np.unique(folds[labels == label])) < config.folds
    ]  # fmt: skip
    notes = [f"{config.folds} folds of {min(sizes):,} to {max(sizes):,} samples{together}."]
    if missing and strict:
        notes.append(f"Not every fold has samples of: {some(missing)}.")
    return folds == max(config.fold, 1) - 1, tuple(notes)


def groups_of(rule: str, names: Sequence[str]) -> list[str]:
    """The group of every sample; without a rule each is its own.

    rule: a file with a line "name,group" for every sample, or a regular expression that is searched in the name and
    whose first parenthesis (or whole match) is the group. Raises UserError for a sample without a group.
    """
    if not rule:
        return list(names)
    if names_file(rule):
        listed = _read_groups(as_path(rule))
        lost = [name for name in names if name not in listed]
        if lost:
            raise UserError(f"{rule} has no group for {len(lost):,} of {len(names):,} samples: {some(lost, 3)}.")
        return [listed[name] for name in names]
    try:
        pattern = re.compile(rule)
    except re.error as error:
        raise UserError(f"group {rule!r} is neither a file nor a regular expression: {error}.") from error
    found = [pattern.search(name) for name in names]
    lost = [name for name, match in zip(names, found, strict=True) if match is None]
    if lost:
        raise UserError(
            f"group {rule!r} matches nothing in {len(lost):,} of {len(names):,} names: {some(lost, 3)}; it is a file "
            f"of lines name,group, or a regular expression."
        )
    return [match[1] or "" if pattern.groups else match[0] for match in found if match is not None]


def names_file(rule: str) -> bool:
    """Whether a rule of groups is a file, and no regular expression; a full path is one even where the file is gone."""
    path = as_path(rule)
    try:
        is_there = path.is_file()
    except OSError:  # too long for a path
        is_there = False
    return is_there or (path.is_absolute() and path.suffix in (".csv", ".txt", ".tsv"))


def strata_of(labels: np.ndarray, spec: LabelSpec) -> tuple[np.ndarray, tuple[str, ...]]:
    """What folds are made even by: classes; of several classes a sample the rarest that it has; fifths of a number.

    labels: as of an image set. Returns the stratum of every sample (samples,) and the names of strata.
    """
    if spec.has_classes:
        return labels, spec.names
    if spec.kind == "multi":
        order = np.argsort((labels > 0.5).sum(axis=0), kind="stable")  # the rarest first
        present = labels[:, order] > 0.5
        strata = np.where(present.any(axis=1), order[present.argmax(axis=1)], len(spec.names))
        return strata, (*spec.names, "none of them")
    ranks = np.argsort(np.argsort(labels[:, 0], kind="stable"), kind="stable")
    return ranks * _FIFTHS // len(ranks), tuple(f"fifth {number + 1}" for number in range(_FIFTHS))


def make_folds(
    labels: np.ndarray, groups: Sequence[str], folds: int, seed: int, classes: Sequence[str], strict: bool = True
) -> np.ndarray:
    """The fold of every sample (samples,), from 0, with about the same share of every class in each.

    Groups go, the largest first, to the fold where the counts of all classes then are most even; of equals to the
    smallest. The order of equals hangs on the seed and the names of groups alone. Raises UserError for fewer groups
    than folds, and if strict for a class that one fold would hold out whole.
    """
    names = sorted(set(groups))
    if len(names) < folds:
        if len(names) == len(groups):  # each sample is its own group
            raise UserError(f"{folds} folds need {folds} samples or more; there are {len(names)}.")
        raise UserError(f"{folds} folds need {folds} groups or more; there are {len(names)}: {some(names, 5)}.")
    place = {name: number for number, name in enumerate(names)}
    members = np.array([place[name] for name in groups])
    counts = np.zeros((len(names), len(classes)))
    np.add.at(counts, (members, labels), 1)
    for label, name in enumerate(classes):
        holders = np.flatnonzero(counts[:, label])
        if strict and len(holders) == 1:
            raise UserError(
                f"all samples of class {name} are of one group ({names[holders[0]]}), so that the fold that holds it "
                f"out has none to train on: cross-validation needs two groups of every class."
            )
    totals = np.maximum(counts.sum(axis=0), 1)
    shares = counts / totals
    order = sorted(range(len(names)), key=lambda one: (-counts[one].sum(), derive_seed(seed, f"fold/{names[one]}")))
    filled, sizes, chosen = np.zeros((folds, len(classes))), np.zeros(folds), np.zeros(len(names), dtype=np.int64)
    for one in order:
        # What the sum of squares of all shares grows by in each fold: the least keeps the classes most even.
        growth = (shares[one] * (2 * filled + shares[one])).sum(axis=1)
        best = min(range(folds), key=lambda fold: (round(float(growth[fold]), 12), sizes[fold], fold))
        chosen[one], sizes[best] = best, sizes[best] + counts[one].sum()
        filled[best] += shares[one]
    for label, name in enumerate(classes):
        whole = np.flatnonzero(filled[:, label] > 1 - 1e-9)
        if strict and counts[:, label].any() and len(whole):
            raise UserError(
                f"one of {folds} folds would hold out class {name} whole: its groups cannot be divided; use fewer"
                f" folds."
            )
    return chosen[members]


def _read_groups(path: Path) -> dict[str, str]:
    try:
        with open_regular(path) as file:
            text = file.read(_LARGEST).decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {system_reason(error)}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no UTF-8 text; a file of groups has lines name,group.") from error
    rows = [row for row in csv.reader(io.StringIO(text), skipinitialspace=True) if row]
    odd = next((number for number, row in enumerate(rows, start=1) if len(row) != 2), None)
    if odd is not None:
        raise UserError(
            f"line {odd} of {path} has {len(rows[odd - 1])} columns: a file of groups has lines name,group."
        )
    twice = [name for name, count in Counter(name for name, _ in rows).items() if count > 1]
    if twice:
        raise UserError(f"{path} names a sample twice: {some(twice, 3)}.")
    return {row[0]: row[1] for row in rows}
