"""Columns of many cells: what they hold comes back, and takes few bytes."""

from __future__ import annotations

from hvit.data.tables.cells import MOST_SHARED, Cell, Column


def column_of(cells: list[Cell]) -> Column:
    column = Column()
    for cell in cells:
        column.append(cell)
    return column


def test_different_texts_are_kept_as_bytes_and_come_back_with_other_cells_among_them() -> None:
    cells: list[Cell] = [f"photo_{number}.jpg" for number in range(MOST_SHARED + 10)]
    cells[5:8] = ["", 1.5, ["a", 2]]
    cells += ["ü\ud800", None, "the last", ""]
    column = column_of(cells)
    assert list(column) == cells
    assert [column[row] for row in (-1, 6, 7, len(cells) - 4)] == ["", 1.5, ["a", 2], "ü\ud800"]
    assert column[4:8] == cells[4:8]
    assert column.nbytes() < 30 * len(cells)


def test_equal_texts_are_one_object_however_many_rows() -> None:
    column = column_of([f"class {number % 100}" for number in range(3 * MOST_SHARED)])
    assert len({id(cell) for cell in column}) == 100
    assert column.nbytes() == 8 * len(column)


def test_many_classes_in_more_rows_stay_objects() -> None:
    names = [f"class {number}" for number in range(MOST_SHARED)]
    column = column_of([*names, *names, *names, "one more", names[3]])
    assert column[-1] == names[3]
    assert column.nbytes() == 8 * len(column)
