"""From a table's samples to a training and a held-out part, with what unequal classes and weights ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from hvit.data.balance import class_counts, count_notes, positive_weights, sample_weights, sampling_chances
from hvit.data.folds import FoldedData, groups_of, held_out_fold, strata_of
from hvit.data.images.listing import show
from hvit.data.layout import UNLABELLED, imbalance_notes, some
from hvit.data.regular_files import is_folder
from hvit.data.sets import Splits, choose_subset, subset_notes
from hvit.data.tables.columns import TEST
from hvit.data.tables.hugging_face import is_saved, open_named, open_parquet, open_saved
from hvit.data.tables.read import ParquetTable, Table, read_table
from hvit.data.tables.samples import IN_HELD_OUT, IN_TEST, Samples
from hvit.data.tables.settings import LabelOptions
from hvit.data.tables.split import check_parts, hold_out
from hvit.errors import UserError
from hvit.files import as_path
from hvit.labels import LabelSpec
from hvit.randomness import derive_seed


class TableData(FoldedData, Protocol):
    """The options of a table's data that decide its split."""

    @property
    def val_fraction(self) -> float: ...
    @property
    def num_per_class(self) -> int | None: ...
    @property
    def fraction(self) -> float | None: ...


@dataclass(frozen=True)
class Parts:
    """The samples to train on, the held-out ones, and those of a test part; spec has the statistics of the training
    labels."""

    train: Samples
    held_out: Samples
    test: Samples | None
    spec: LabelSpec
    notes: tuple[str, ...]
    subset_notes: tuple[str, ...]


IN_PYTHON = "python:"
"""Instead of a table's file: the samples are held by a program that calls `hvit.fit`."""
BY_NAME = "hf:"
"""How the name of a data set of Hugging Face begins."""


def is_no_path(table: str) -> bool:
    """Whether a table is given by something else than the path of a file or folder."""
    return table.startswith((IN_PYTHON, BY_NAME))


def table_at(path: str, is_sample: Callable[[Path], bool]) -> Table:
    """The table at a path that a user gave, or of a name. Raises UserError where there is none."""
    if path == IN_PYTHON:
        raise UserError(
            "the images of this run were given to hvit.fit by a Python program, and no file holds them: call hvit.fit "
            "again with the same data and out=FOLDER to go on, or name other data (--root DIR)"
        )
    if path.startswith(BY_NAME):
        return open_named(path.removeprefix(BY_NAME))
    file = as_path(path)
    if is_saved(file):
        return open_saved(file)
    if is_folder(file):
        raise UserError(
            f"{show(file)} is a folder, and the table is a file (CSV, JSON lines or Parquet); class folders are given "
            "as the data's root (--data.root)"
        )
    table = read_table(file, is_sample)
    return open_parquet(file) if isinstance(table, ParquetTable) and table.embedded else table


def split_samples(samples: Samples, config: TableData, seed: int, what: str) -> Parts:
    """The parts of a table's samples: as it says, or a share held out; of the training part perhaps a subset.

    Raises UserError where a part, or a class of it, is left without samples.
    """
    part, notes = samples.part, ()
    tested = np.zeros(len(samples.files), bool) if part is None else part == IN_TEST
    held = None if part is None else part == IN_HELD_OUT
    if config.folds:
        if part is not None and not tested.any() and set(samples.held_words) <= {*TEST}:
            tested = part == IN_HELD_OUT
        held = np.zeros(len(samples.files), bool)
        held[~tested], notes = _held_out_fold(samples.only(~tested), config)
    elif held is None:
        held, notes = hold_out(samples, config.val_fraction, config.split_seed)
    else:
        notes = (_said(samples),)
        if samples.groups is not None and (both := _in_both(samples.groups, held | tested)):
            notes += (f"{both:,} groups are in both parts of the split that the table names, so scores are too good.",)
    notes += check_parts(samples, ~held & ~tested, held, tested)
    train, held_out = samples.only(~held & ~tested), samples.only(held)
    if config.folds and config.group:
        named = groups_of(config.group, list(held_out.split_names()))
        held_out = replace(held_out, groups=np.array(named))
    test = samples.only(tested) if tested.any() else None
    whole = len(train.files)
    train = train.only(_subset(train, config, seed, what))
    spec = with_statistics(samples.spec, train.labels)
    if spec.names != (UNLABELLED,):
        _check_kind(spec)
    return Parts(train, held_out, test, spec, notes, subset_notes(len(train.files), whole, what))


def _said(samples: Samples) -> str:
    """What the rows of the held-out and of the test part say."""
    if samples.held_note:
        return samples.held_note
    note = f"Held out are the rows that say {some(samples.held_words)}."
    if samples.test_words:
        note += f" The finished run is scored on those that say {some(samples.test_words)}, which choose nothing."
    return note


def _in_both(groups: np.ndarray, asked: np.ndarray) -> int:
    """How many groups have samples to train on and others."""
    return len(set(groups[asked].tolist()) & set(groups[~asked].tolist()))


def _held_out_fold(samples: Samples, config: TableData) -> tuple[np.ndarray, tuple[str, ...]]:
    """Which samples the fold of cross-validation holds out, bool, and sentences about all folds."""
    spec = samples.spec
    if samples.groups is not None and config.group:
        raise UserError("group and group_column both keep samples together: give only one")
    names = list(samples.split_names())
    groups = None if samples.groups is None else samples.groups.tolist()
    strata, classes = strata_of(samples.labels, spec)
    return held_out_fold(config, strata, names, classes, groups, strict=spec.has_classes)


def with_statistics(spec: LabelSpec, labels: np.ndarray) -> LabelSpec:
    """The meaning of labels with the mean and the standard deviation of numbers. labels: of the training samples."""
    if spec.kind != "regression":
        return spec
    mean, std = labels.astype(np.float64).mean(axis=0), labels.astype(np.float64).std(axis=0)
    constant = [name for name, value in zip(spec.names, std, strict=True) if not value > 0]
    if constant:
        raise UserError(f"all training samples have the same {constant[0]}, so there is nothing to predict")
    return replace(spec, mean=tuple(mean.tolist()), std=tuple(std.tolist()))


def with_balance(splits: Splits, config: LabelOptions, what: str, notes: tuple[str, ...] = ()) -> Splits:
    """The splits with weights and chances of the training samples, and notes on the sizes of their classes.

    notes: what is to stand after these. Raises UserError where classes are to be balanced and there are none.
    """
    train, spec, balance = splits.train, splits.labels, config.balance
    if balance != "none" and not splits.has_labels:
        raise UserError(f"balance {balance} is for classes, and the {what} have no labels: omit --data.balance")
    of_class = sample_weights(train.labels, spec, balance, config.effective_beta)
    if of_class is not None:
        train.weights = of_class if train.weights is None else of_class * train.weights
    if train.weights is not None:
        if not (total := float(train.weights.sum())) > 0:
            raise UserError("the weights of all training samples are 0: give some of them more")
        train.weights = (train.weights * (len(train) / total)).astype(np.float32)
    train.chances = sampling_chances(train.labels, spec, balance)
    counts = class_counts(train.labels, spec)
    if splits.spec is not None or balance != "none":
        notes = (*count_notes(counts, spec, what), *notes)
    if len(counts) > 1 and balance == "none":
        sizes = {name: count for name, count in zip(spec.names, counts.tolist(), strict=True) if count}
        notes = (*imbalance_notes(sizes, what), *notes)
    elif balance != "none":
        notes = (f"{_BALANCED[balance]} (--data.balance {balance}).", *notes)
    return replace(
        splits,
        notes=(*splits.notes, *notes),
        positive_weights=positive_weights(train.labels, spec, balance, config.effective_beta),
    )


_BALANCED = {
    "weights": "Classes weigh the same in the loss, by the inverse of their sizes",
    "sampling": "Every class is drawn equally often",
    "effective": "Classes are weighted in the loss by their effective numbers of samples",
}


def _check_kind(spec: LabelSpec) -> None:
    if spec.has_classes and len(spec.names) < 2:
        raise UserError(f"all rows have the same label, {''.join(spec.names)}: two classes or more are needed")


def _subset(train: Samples, config: TableData, seed: int, what: str) -> np.ndarray:
    """Indices of the training samples that are used."""
    if train.spec.has_classes:
        return choose_subset(train.labels, train.spec.names, seed, config.num_per_class, config.fraction, what)
    if config.num_per_class is not None:
        raise UserError(
            f"num_per_class ({config.num_per_class}) is for one class a sample, and the labels are "
            f"{train.spec.describe()}: take --data.fraction"
        )
    if config.fraction is None:
        return np.arange(len(train.files))
    order = sorted(range(len(train.files)), key=lambda index: derive_seed(seed, f"subset/{train.files[index].name}"))
    return np.sort(np.array(order[: max(1, round(len(order) * config.fraction))]))
