"""What the labels of a table are (one class, several, ordered ones, numbers), and every row's label as numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hvit.data.hierarchy import Hierarchy
from hvit.data.layout import counted, some, spelling
from hvit.data.tables.cells import Cell
from hvit.data.tables.numbers import as_class_name, as_flag, as_number, is_flag, says_nothing
from hvit.data.tables.settings import LabelOptions
from hvit.errors import UserError
from hvit.labels import LabelKind, LabelSpec
from hvit.markup import shown

MOST_NUMBERED = 100
"""A column of whole numbers has classes if it has at most so many different ones, each in two rows on average."""
MOST_CLASSES = 1_000_000
_SEPARATORS = ("|", ";")


@dataclass(frozen=True)
class Encoded:
    """Labels as numbers, and what they are.

    labels: (rows,) int64 class numbers, or (rows, outputs) float32 of 0 and 1 or of numbers. missing: (rows,) bool,
    rows without a label. note: the sentence that says as what the labels were read, and why.
    """

    spec: LabelSpec
    labels: np.ndarray
    missing: np.ndarray
    note: str


def encode(columns: Mapping[str, Sequence[Cell]], options: LabelOptions, place: Callable[[int], str]) -> Encoded:
    """What the labels in one or more columns are, and each row's.

    columns: the cells by the names of the label columns. place: where a row is (its index), for a sentence. Raises
    UserError, with the row, for labels that are not what the options say they are.
    """
    kind, why = _kind(columns, options)
    word = "The column" if len(columns) == 1 else "The columns"
    names = f"{word} {some(list(columns), 4)}"
    if options.label_levels:
        found = _of_levels(columns, options, place)
    elif kind == "regression":
        found = _numbers(columns, place)
    elif kind == "multi":
        found = _flags(columns, place) if len(columns) > 1 else _several(columns, options)
    elif len(columns) > 1:
        found = _one_hot(columns, place)
    else:
        found = _classes(columns, kind, options, place)
    spec, labels, missing = found
    if missing.all():
        raise UserError(f"every row of {some(list(columns), 4)} is empty: the table has no labels")
    override = "" if options.task != "auto" or options.label_levels else " (--data.task for another reading)"
    return Encoded(spec, labels, missing, f"{names}: {spec.describe()}, {why}{override}.")


def _kind(columns: Mapping[str, Sequence[Cell]], options: LabelOptions) -> tuple[LabelKind, str]:
    """What the labels are, and why."""
    if options.label_levels:
        return "single", "as label_levels says"
    if options.task != "auto":
        return options.task, "as task says"
    if options.class_order:
        return "ordinal", "as class_order says"
    cells = [[cell for cell in column if cell != ""] for column in columns.values()]
    if len(columns) > 1:
        if all(is_flag(cell) for column in cells for cell in column):
            flags = np.array([[as_flag(cell) for cell in column] for column in cells]) if _equally_long(cells) else None
            if flags is not None and flags.size and (flags.sum(axis=0) == 1).all():
                return "single", "for every row has exactly one 1"
            return "multi", "for they hold 0 and 1"
        if all(as_number(cell) is not None or says_nothing(cell) for column in cells for cell in column):
            return "regression", "for they hold numbers"
        raise UserError(
            f"the columns {some(list(columns), 4)} hold neither 0 and 1 nor numbers: name one label column, or remove "
            "the text from them"
        )
    return _kind_of_one(next(iter(columns)), cells[0], options)


def _kind_of_one(name: str, cells: list[Cell], options: LabelOptions) -> tuple[LabelKind, str]:
    if any(isinstance(cell, list) for cell in cells):
        numeric = all(isinstance(cell, list) and any(isinstance(one, float) for one in cell) for cell in cells)
        return ("regression", "for it holds lists of numbers") if numeric else ("multi", "for it holds lists")
    if (separator := _separator(cells, options)) and any(separator in str(cell) for cell in cells):
        return "multi", f"for its cells are separated by {separator}"
    cells = [cell for cell in cells if not says_nothing(cell)] or cells
    numbers = [as_number(cell) for cell in cells]
    if any(number is None for number in numbers):
        _refuse_numbers_with_text(name, cells, numbers)
        return "single", "for it holds text"
    if any(number != int(number) for number in numbers if number is not None):
        return "regression", "for it holds numbers that are not whole"
    different = len(set(numbers))
    how_many = f"for it holds {counted(different, 'whole number')} in {counted(len(cells), 'row')}"
    if different <= 2 or (different <= MOST_NUMBERED and different * 2 <= len(cells)):
        return "single", f"{how_many}: few enough for classes"
    return "regression", f"{how_many}: too many for classes"


def _refuse_numbers_with_text(name: str, cells: Sequence[Cell], numbers: Sequence[float | None]) -> None:
    """Raises UserError for a column of decimals in which some cells are text: they are hardly names of classes."""
    text = [str(cell) for cell, number in zip(cells, numbers, strict=True) if number is None]
    with_comma = [one for one in text if re.fullmatch(r"[+-]?\d+,\d+", one)]
    decimals = any(number is not None and number != int(number) for number in numbers)
    if (len(with_comma) == len(text) and len(set(text)) > 2) or (decimals and 2 * len(text) <= len(cells)):
        wanted = "write them with a point" if with_comma else "leave such cells empty"
        raise UserError(
            f"the column {shown(name)} holds numbers and {text[0][:40]!r} or the like in {counted(len(text), 'cell')}: "
            f"{wanted}, or say what the labels are with task (--data.task single for names of classes)"
        )


def _equally_long(columns: Sequence[Sequence[Cell]]) -> bool:
    return len({len(column) for column in columns}) == 1


def _separator(cells: Sequence[Cell], options: LabelOptions) -> str:
    """What separates classes in a cell: as the options say, or where parts come back in several cells."""
    if options.label_separator:
        return options.label_separator
    texts = {cell for cell in cells if isinstance(cell, str)}
    for separator in _SEPARATORS:
        if any(separator in text for text in texts):
            parts = {part.strip() for text in texts for part in text.split(separator)} - {""}
            if len(parts) <= len(texts):
                return separator
    return ""


Found = tuple[LabelSpec, np.ndarray, np.ndarray]


def _classes(
    columns: Mapping[str, Sequence[Cell]], kind: LabelKind, options: LabelOptions, place: Callable[[int], str]
) -> Found:
    (column,) = columns.values()
    known: dict[str, str] = {}  # names that come back are one object
    names = [known.setdefault(name := _class_name(cell, row, place), name) for row, cell in enumerate(column)]
    present = set(names) - {""}
    if kind == "ordinal" and not options.class_order and any(as_number(name) is None for name in present):
        raise UserError(
            f"the order of the classes {some(sorted(present), 4)} is not known: give it with class_order "
            "(--data.class-order LOWEST … HIGHEST), or number them"
        )
    classes = _ordered(present)
    if options.class_order:
        classes = [spelling(name) for name in options.class_order]
        if unknown := sorted(present - set(classes)):
            row = names.index(unknown[0])
            raise UserError(f"{place(row)}: {shown(unknown[0])!r} is not in class_order ({some(classes)})")
    number = {name: place for place, name in enumerate(classes)}
    labels = np.fromiter((number.get(name, 0) for name in names), np.int64, len(names))
    missing = np.fromiter((name == "" for name in names), bool, len(names))
    return LabelSpec(kind, tuple(map(shown, classes))), labels, missing


def _of_levels(columns: Mapping[str, Sequence[Cell]], options: LabelOptions, place: Callable[[int], str]) -> Found:
    """One class a sample in the last column, and the classes that it stands under in the others."""
    names = list(columns)
    spec, labels, missing = _classes({names[-1]: columns[names[-1]]}, "single", options, place)
    hierarchy = Hierarchy(names)
    for row, cells in enumerate(zip(*columns.values(), strict=True)):
        words = [_alone(cell, place(row)) if isinstance(cell, list) else as_class_name(cell) for cell in cells]
        hierarchy.add([shown(word) for word in words])
    return replace(spec, levels=hierarchy.levels(spec.names)), labels, missing


def _class_name(cell: Cell, row: int, place: Callable[[int], str]) -> str:
    return _alone(cell, place(row)) if isinstance(cell, list) else spelling(as_class_name(cell))


def _alone(cell: list[Cell], place: str) -> str:
    if len(cell) == 1:
        return spelling(as_class_name(cell[0]))
    raise UserError(f"{place} has {len(cell)} classes, and task single takes one: say task multi")


def _ordered(names: set[str]) -> list[str]:
    """Class names in alphabetical order, or in that of whole numbers where all are."""
    if len(names) > MOST_CLASSES:
        raise UserError(f"the label column has {len(names):,} different classes; at most {MOST_CLASSES:,} are possible")
    numbers = {name: as_number(name) for name in names}
    if any(number is None for number in numbers.values()):
        return sorted(names)
    return sorted(names, key=lambda name: (numbers[name] or 0.0, name))


def _one_hot(columns: Mapping[str, Sequence[Cell]], place: Callable[[int], str]) -> Found:
    """One class a row, whose column has the 1."""
    spec, flags, missing = _flags(columns, place)
    counts = flags.sum(axis=1)
    wrong = np.flatnonzero((counts != 1) & ~missing)
    if len(wrong):
        raise UserError(
            f"{place(int(wrong[0]))} has {int(counts[wrong[0]])} classes, and task single takes one: say task multi"
        )
    return LabelSpec("single", spec.names), flags.argmax(axis=1).astype(np.int64), missing


def _flags(columns: Mapping[str, Sequence[Cell]], place: Callable[[int], str]) -> Found:
    """A column of 0 and 1 for every class."""
    rows = len(next(iter(columns.values())))
    flags, missing = np.zeros((rows, len(columns)), np.float32), np.zeros(rows, bool)
    for output, (name, cells) in enumerate(columns.items()):
        for row, cell in enumerate(cells):
            if cell == "":
                missing[row] = True
            elif is_flag(cell):
                flags[row, output] = as_flag(cell)
            else:
                raise UserError(f"{place(row)}: {shown(name)} must be 0 or 1; got {shown(str(cell))[:80]!r}")
    return LabelSpec("multi", tuple(map(shown, columns))), flags, missing


def _several(columns: Mapping[str, Sequence[Cell]], options: LabelOptions) -> Found:
    """Several classes in one cell: a list, or text with a separator. An empty cell has no class, which is a label."""
    ((name, column),) = columns.items()
    separator = _separator(column, options)
    found: list[list[str]] = []
    for cell in column:
        parts = (
            cell if isinstance(cell, list) else str(as_class_name(cell)).split(separator or None if separator else "\0")
        )
        found.append([text for part in parts if (text := spelling(as_class_name(part).strip()))])
    classes = _ordered({part for parts in found for part in parts})
    if not classes:
        raise UserError(f"the column {shown(name)} names no class in any row")
    if len(found) * len(classes) > 4 * 2**30:
        raise UserError(f"{len(found):,} rows with {len(classes):,} classes do not fit into memory")
    number = {text: place for place, text in enumerate(classes)}
    labels = np.zeros((len(found), len(classes)), np.float32)
    for row, parts in enumerate(found):
        labels[row, [number[part] for part in parts]] = 1
    return LabelSpec("multi", tuple(map(shown, classes))), labels, np.zeros(len(found), bool)


def _numbers(columns: Mapping[str, Sequence[Cell]], place: Callable[[int], str]) -> Found:
    names = tuple(map(shown, columns))
    if len(columns) == 1 and any(isinstance(cell, list) for cell in next(iter(columns.values()))):
        ((name, cells),) = columns.items()
        width = next(len(cell) for cell in cells if isinstance(cell, list))
        for row, cell in enumerate(cells):
            if cell != "" and (not isinstance(cell, list) or len(cell) != width):
                raise UserError(f"{place(row)}: {shown(name)} must be a list of {width} numbers")
        names = tuple(f"{shown(name)} {number + 1}" for number in range(width)) if width > 1 else (shown(name),)
        columns = {}
        for number, part in enumerate(names):
            columns[part] = [cell[number] if isinstance(cell, list) else "" for cell in cells]
    rows = len(next(iter(columns.values())))
    values, missing = np.zeros((rows, len(columns)), np.float32), np.zeros(rows, bool)
    for output, (name, cells) in enumerate(columns.items()):
        for row, cell in enumerate(cells):
            number = as_number(cell)
            if says_nothing(cell):
                missing[row] = True
            elif number is None or abs(number) > 1e30:
                raise UserError(f"{place(row)}: {shown(name)} must be a number; got {shown(str(cell))[:80]!r}")
            else:
                values[row, output] = number
    return LabelSpec("regression", names), values, missing
