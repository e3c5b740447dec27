"""Columns are found by name and by what is in them, and the plan says which."""

from __future__ import annotations

from pathlib import Path

import pytest

from hvit.data.images.folders import FolderData
from hvit.data.images.listing import is_image_name
from hvit.data.tables.columns import Columns, find_columns
from hvit.data.tables.read import FrameTable
from hvit.data.tables.settings import LabelOptions


def found(columns: dict[str, list[object]], **options: object) -> Columns:
    table = FrameTable(columns, Path())
    given = FolderData(table="t", **options)  # pyright: ignore[reportArgumentType]
    assert isinstance(given, LabelOptions)
    return find_columns(table, given, is_image_name, needs_labels=True)


@pytest.mark.parametrize(
    ("columns", "path", "labels"),
    [
        ({"label": ["a"], "x": ["b.png"]}, "x", ("label",)),
        ({"Image": ["b.png"], "Class": ["a"], "comment": ["z"]}, "Image", ("Class",)),
        ({"file": ["b.png"], "thumb": ["b_small.png"], "label": ["a"]}, "file", ("label",)),
        ({"image_id": ["b"], "grade": [3]}, "image_id", ("grade",)),
        ({"p": ["b.png"], "cat": [1], "dog": [0], "age": [3.5]}, "p", ("cat", "dog")),
    ],
)
def test_path_and_labels_are_found(columns: dict[str, list[object]], path: str, labels: tuple[str, ...]) -> None:
    assert (found(columns).path, found(columns).labels) == (path, labels)


def test_a_split_column_is_one_only_if_it_says_splits() -> None:
    columns: dict[str, list[object]] = {"path": ["b.png", "c.png"], "label": [1, 2], "set": ["train", "Val"]}
    assert found(columns).split == "set"
    assert found(columns | {"set": ["train", "kitchen"]}).split == ""


def test_named_columns_are_taken_and_described() -> None:
    columns: dict[str, list[object]] = {"a": ["b.png"], "who": [1], "w": [2], "y": [0.5]}
    chosen = found(columns, label_columns=("y",), group_column="who", weight_column="w")
    assert chosen.describe() == "Columns: path a, labels y, group who, weight w."
    said = chosen.describe(("a", "site", "y", "w", "who", "day"))
    assert said == "Columns: path a, labels y, group who, weight w; not used: site; day."
    assert chosen.used == ["a", "y", "who", "w"]
