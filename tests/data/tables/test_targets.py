"""What labels are is decided by stated rules, and the note says why."""

from __future__ import annotations

import numpy as np
import pytest

from hvit.data.images.folders import FolderData
from hvit.data.tables.targets import Encoded, encode
from hvit.errors import UserError


def encoded(*cells: object, **options: object) -> Encoded:
    given = FolderData(table="t", **options)  # pyright: ignore[reportArgumentType]
    return encode({"y": list(cells)}, given, lambda row: f"row {row}")


@pytest.mark.parametrize(
    ("cells", "kind", "why"),
    [
        (("a", "b"), "single", "for it holds text"),
        ((0, 1, 0), "single", "for it holds 2 whole numbers in 3 rows: few enough for classes"),
        ((1, 2, 3), "regression", "for it holds 3 whole numbers in 3 rows: too many for classes"),
        ((0.5, 1), "regression", "for it holds numbers that are not whole"),
        ((0.5, "nan", "1.5", "N/A", ""), "regression", "for it holds numbers that are not whole"),
        (("1", "2", "NA", "1", "2"), "single", "few enough for classes"),
        (("1,5", "2,5", "1,5"), "single", "for it holds text"),
        (("a;b", "a", "b"), "multi", "for its cells are separated by ;"),
        (("a|b|c", "d"), "single", "for it holds text"),
        ((["a"], []), "multi", "for it holds lists"),
    ],
)
def test_one_column(cells: tuple[object, ...], kind: str, why: str) -> None:
    found = encoded(*cells)
    assert found.spec.kind == kind
    assert why in found.note


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (("0,5", "1,5", "12,25"), "holds numbers and '0,5' or the like in 3 cells: write them with a point"),
        (("0.5", "inf", "2.5", "3"), "holds numbers and 'inf' or the like in 1 cell: leave such cells empty"),
        (("0.5", "unknown", "2.5", "3"), "--data.task single for names of classes"),
    ],
)
def test_numbers_among_which_text_stands_are_not_taken_for_classes(cells: tuple[str, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        encoded(*cells)
    assert encoded(*cells, task="single").spec.kind == "single"


def test_words_for_no_number_are_missing_labels() -> None:
    found = encoded("0.5", "nan", "1.5", "NA", "")
    assert found.missing.tolist() == [False, True, False, True, True]


def test_classes_are_in_the_order_of_their_numbers_or_letters() -> None:
    assert encoded("10", "9", "10", "9").spec.names == ("9", "10")
    assert encoded("b", "a", "B").spec.names == ("B", "a", "b")
    assert encoded("e\u0301", "\u00e9", "x").spec.names == ("x", "\u00e9")


def test_rows_without_a_label_are_marked_and_empty_sets_are_labels() -> None:
    assert encoded("a", "", "b").missing.tolist() == [False, True, False]
    several = encoded("a|b", "", "a", "b")
    assert several.labels.tolist() == [[1, 1], [0, 0], [1, 0], [0, 1]]
    assert not several.missing.any()
    assert np.array_equal(encoded(0.5, "", 2).labels[[0, 2], 0], [0.5, 2])
