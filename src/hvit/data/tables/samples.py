"""The samples that a table lists, with their labels: missing files, rows without labels and doubles are found here."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hvit.data.images.listing import show
from hvit.data.images.paths import PathList
from hvit.data.layout import UNLABELLED, counted, some, split_key, split_name
from hvit.data.tables.cells import Cell
from hvit.data.tables.columns import TEST, TRAIN, VALIDATION, Columns, find_columns
from hvit.data.tables.files import as_bytes, files_of, listed_before, which_exist
from hvit.data.tables.numbers import as_number
from hvit.data.tables.read import Table
from hvit.data.tables.settings import LabelOptions
from hvit.data.tables.targets import Encoded, encode
from hvit.errors import UserError
from hvit.files import as_path
from hvit.labels import LabelSpec
from hvit.markup import shown

IN_TRAIN, IN_HELD_OUT, IN_TEST = 0, 1, 2


@dataclass(frozen=True)
class Samples:
    """Files with their labels.

    labels: (samples,) int64 or (samples, outputs) float32. part: (samples,) int, 0 for training, 1 for held out and 2
    for test, None where the table does not say. groups: (samples,) names of the group of each. weights:
    (samples,) float32. folder: what names start from. rows: (samples,) int64, the row of each sample in a table that
    holds the images themselves, in the image_column; None for files. held_words, test_words: what the table calls these
    parts; held_note: the sentence that says which they are, where it is no table.
    """

    files: Sequence[Path]
    labels: np.ndarray
    spec: LabelSpec
    folder: Path
    part: np.ndarray | None = None
    groups: np.ndarray | None = None
    weights: np.ndarray | None = None
    rows: np.ndarray | None = None
    image_column: str = ""
    held_words: tuple[str, ...] = ()
    test_words: tuple[str, ...] = ()
    held_note: str = ""
    notes: tuple[str, ...] = ()

    def split_names(self) -> Iterator[str]:
        """What each file is called, from which it follows whether it is held out."""
        files = PathList.of(self.files)
        for index, name in enumerate(files.names()):
            # Of names below the folder nothing needs to be computed.
            is_below = files.folder == self.folder and not name.startswith(b"/") and b".." not in name and name != b"."
            yield split_key(os.fsdecode(name)) if is_below else split_name(files[index], self.folder)

    def only(self, kept: np.ndarray) -> Samples:
        """Some of them. kept: (samples,) bool, or indices."""
        indices = np.arange(len(self.files))[kept]
        known = {name: getattr(self, name) for name in ("part", "groups", "weights", "rows")}
        parts = {name: None if values is None else values[indices] for name, values in known.items()}
        files = self.files
        files = files.take(indices) if isinstance(files, PathList) else [files[index] for index in indices]
        return replace(self, files=files, labels=self.labels[indices], **parts)


def list_samples(
    table: Table,
    options: LabelOptions,
    root: str,
    is_sample: Callable[[Path], bool],
    skips: bool,
    labels: str,
    what: str,
) -> Samples:
    """The samples of a table, with their labels.

    root: where paths start from; "" for the table's folder. skips: whether rows without a file or a label are skipped
    and named, or refused. labels: "folders" to need labels, "none" to take none, "auto". what: "images" or "clips".
    Raises UserError, with the line, for a table that cannot be understood.
    """
    unlabelled = labels == "none"
    columns = find_columns(table, options, is_sample, needs_labels=labels == "folders")
    if unlabelled:
        columns = replace(columns, labels=())
    cells, numbers = table.read(columns.used)

    def place(row: int) -> str:
        return table.place(numbers[row])

    if columns.labels:
        if options.task == "auto" and set(columns.labels) <= {*table.class_columns} and not options.class_order:
            is_list = any(isinstance(cell, list) for cell in cells[columns.labels[0]])
            options = replace(options, task="multi" if is_list else "single")
        encoded = encode({name: cells[name] for name in columns.labels}, options, place)
    else:
        note = f"The {what} have no labels: they are one unlabelled data set."
        none = np.zeros(len(numbers), np.int64)
        encoded = Encoded(LabelSpec("single", (UNLABELLED,)), none, none.astype(bool), note)
    folder = as_path(root) if root else table.folder
    part, held_words, test_words = _parts(cells, columns, place)
    groups, weights = _groups(cells, columns, place), _weights(cells, columns, place)
    holds_images = table.rows(columns.path) is not None
    if holds_images:
        files, notes = PathList.of_names(Path(), (as_bytes(str(cell)) for cell in cells[columns.path])), ()
    else:
        files, notes = files_of(cells[columns.path], folder, table.name, place)
    del cells  # of millions of rows, before more is made of them
    samples = Samples(
        files=files,
        labels=encoded.labels,
        spec=encoded.spec,
        folder=folder,
        part=part,
        rows=np.arange(len(files)) if holds_images else None,
        image_column=columns.path if holds_images else "",
        held_words=held_words,
        test_words=test_words,
        groups=groups,
        weights=weights,
    )
    kept, dropped = _doubles(samples, place)
    notes = (*table.notes, columns.describe(table.columns), encoded.note, *notes, *dropped)
    absent = np.zeros(len(files), bool)
    if not holds_images:
        absent[kept] = ~which_exist(files, np.flatnonzero(kept))
    if absent[kept].all():
        raise UserError(
            f"none of the {counted(int(kept.sum()), 'file')} that {table.name} lists exists, such as "
            f"{show(files[0])}: name the folder that its paths start from with the data's root (--data.root)"
        )
    for rows, phrase, ends in (
        (absent & kept, "of the table's files does not exist", "of the table's files do not exist"),
        (encoded.missing & kept, "row has no label", "rows have no label"),
    ):
        if rows.any():
            listed = [f"{show(files[row])} ({place(row).rpartition(', ')[2]})" for row in np.flatnonzero(rows)[:11]]
            count = int(rows.sum())
            listed += [""] * (count - len(listed))
            sentence = f"{count:,} {phrase if count == 1 else ends}{' and will be skipped' * skips}: {some(listed, 5)}."
            if not skips:
                raise UserError(f"{sentence} Correct the table, or train with --data.unreadable skip.")
            notes += (sentence,)
    return replace(samples.only(kept & ~absent & ~encoded.missing), notes=notes)


def _parts(
    cells: Mapping[str, Sequence[Cell]], columns: Columns, place: Callable[[int], str]
) -> tuple[np.ndarray | None, tuple[str, ...], tuple[str, ...]]:
    """The part of every row, and the words for held out and for test.

    Where no row says val, those that say test are held out. Raises UserError for a row that says something else, and
    where a part is missing.
    """
    if not columns.split:
        return None, (), ()
    present = set()
    for row, cell in enumerate(cells[columns.split]):
        if (word := str(cell).lower()) not in (*TRAIN, *VALIDATION, *TEST):
            raise UserError(
                f"{place(row)}: {shown(columns.split)} must be train, val or test; got {shown(word)[:80]!r}"
            )
        present.add(word)
    held = sorted(present & set(VALIDATION)) or sorted(present & set(TEST))
    if not present & set(TRAIN) or not held:
        raise UserError(
            f"the column {shown(columns.split)} says only {some(sorted(present))}: it needs rows for train and for val "
            "(or test); without --data.split-column a share would be held out"
        )
    tests = sorted(present - {*TRAIN, *held})
    number = dict.fromkeys(TRAIN, IN_TRAIN) | dict.fromkeys(held, IN_HELD_OUT) | dict.fromkeys(tests, IN_TEST)
    part = np.fromiter((number[str(cell).lower()] for cell in cells[columns.split]), np.int64)
    return part, tuple(held), tuple(tests)


def _groups(cells: Mapping[str, Sequence[Cell]], columns: Columns, place: Callable[[int], str]) -> np.ndarray | None:
    if not columns.group:
        return None
    found, known = [], {}
    for row, cell in enumerate(cells[columns.group]):
        if cell == "":
            raise UserError(f"{place(row)} has no {shown(columns.group)}: every row needs a group")
        found.append(known.setdefault(name := str(cell), name))
    if len(known) < 2:
        raise UserError(f"the column {shown(columns.group)} has one group only; a split needs two or more")
    return np.array(found, dtype=object)


def _weights(cells: Mapping[str, Sequence[Cell]], columns: Columns, place: Callable[[int], str]) -> np.ndarray | None:
    if not columns.weight:
        return None
    found = array("d")
    for row, cell in enumerate(cells[columns.weight]):
        number = as_number(cell)
        if number is None or not 0 <= number < 1e12:
            raise UserError(
                f"{place(row)}: {shown(columns.weight)} must be a number from 0; got {shown(str(cell))[:80]!r}"
            )
        found.append(number)
    return np.array(found, dtype=np.float32)


def _doubles(samples: Samples, place: Callable[[int], str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Which rows are kept, bool: of rows that list a file twice the first, which in multi-label gets the labels of all.

    Raises UserError where the same file has different labels, or is in both parts of the split.
    """
    kept, doubles = np.ones(len(samples.files), bool), []
    for row, known in listed_before(PathList.of(samples.files)):
        file = samples.files[row]
        kept[row] = False
        doubles.append(show(file) if len(doubles) < 3 else "")
        part = samples.part
        if part is not None and part[known] != part[row]:
            raise UserError(
                f"{show(file)} is in two parts of the split ({place(known)} and {place(row)}): keep one of the rows"
            )
        if samples.spec.kind == "multi":
            samples.labels[known] = np.maximum(samples.labels[known], samples.labels[row])
        elif not np.array_equal(samples.labels[known], samples.labels[row]):
            labels = [_label_words(samples.spec, samples.labels[one]) for one in (known, row)]
            raise UserError(
                f"{show(file)} is listed with different labels, {labels[0]} ({place(known)}) and {labels[1]} "
                f"({place(row)}): keep one of the rows, or with --data.task multi it gets both"
            )
    if not doubles:
        return kept, ()
    return kept, (f"{counted(len(doubles), 'row')} of the table {'lists' if len(doubles) == 1 else 'list'} a file that "
                  f"is listed before: {some(doubles, 3)}.",)  # fmt: skip


def _label_words(spec: LabelSpec, label: np.ndarray) -> str:
    return spec.names[int(label)] if spec.has_classes else ", ".join(f"{value:g}" for value in label)
