"""Cells as numbers, flags and class names."""

from __future__ import annotations

import pytest

from hvit.data.tables.numbers import as_class_name, as_flag, as_number, is_flag


@pytest.mark.parametrize(
    ("cell", "number"),
    [("1.5", 1.5), (" 2 ", 2.0), (3, 3.0), ("1e3", 1000.0), ("nan", None), ("inf", None), ("1_0", None), (True, None),
     ("", None), ([1], None), (10**400, None), ("9" * 500, None)],
)  # fmt: skip
def test_numbers_are_finite(cell: object, number: float | None) -> None:
    assert as_number(cell) == number


def test_flags_are_yes_or_no() -> None:
    assert [as_flag(cell) for cell in ("1", "0", "True", False, 1.0, "no")] == [1, 0, 1, 0, 1, 0]
    assert not any(map(is_flag, ("2", "", [1], "maybe", 0.5)))


def test_whole_numbers_are_called_without_a_point() -> None:
    assert [as_class_name(cell) for cell in (3.0, 3, "3", 2.5)] == ["3", "3", "3", "2.5"]
