"""Cells of a table as numbers."""

from __future__ import annotations

import math

_FLAGS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "true": 1, "false": 0, "yes": 1, "no": 0}
_MISSING = {"", "nan", "na", "n/a", "#n/a", "null"}


def is_flag(cell: object) -> bool:
    """Whether a cell says yes or no: 0 or 1, true or false."""
    return not isinstance(cell, list) and str(cell).lower() in _FLAGS


def as_flag(cell: object) -> int:
    """0 or 1 of a cell for which `is_flag` holds."""
    return _FLAGS[str(cell).lower()]


def as_number(cell: object) -> float | None:
    """The finite number that a cell holds, or None."""
    if isinstance(cell, bool) or not isinstance(cell, int | float | str):
        return None
    if isinstance(cell, str) and (len(cell) > 400 or "_" in cell):
        return None
    try:
        number = float(cell)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def says_nothing(cell: object) -> bool:
    """Whether a cell is empty, or has a word by which other programs write a number that is missing."""
    return isinstance(cell, str) and cell.lower() in _MISSING


def as_class_name(cell: object) -> str:
    """What a class is called whose name stands in a cell."""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)
