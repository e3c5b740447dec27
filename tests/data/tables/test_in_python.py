"""What a program gives is a table; `tests/verbs/test_fit.py` has the ways to hold images and labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hvit.data.tables.in_python import given, table_lines
from hvit.errors import UserError


def test_pairs_with_paths_are_lines_that_can_be_kept() -> None:
    found = given([(Path("a.png"), 1), ("b.png", 0)], [("c.png", 1)], None, ("cat", "dog"), "auto")
    assert found.files
    assert list(table_lines(found.table)) == [
        {"label": "dog", "split": "train", "path": "a.png"},
        {"label": "cat", "split": "train", "path": "b.png"},
        {"label": "dog", "split": "val", "path": "c.png"},
    ]
    assert found.options["class_order"] == ("cat", "dog")


def test_columns_have_names_of_their_own_where_classes_are_called_like_them() -> None:
    images = np.zeros((4, 8, 8), np.uint8)
    found = given((images, np.eye(2)[[0, 1, 0, 1]]), None, None, ("image", "split"), "auto")
    assert found.options["label_columns"] == ("image", "split")
    assert found.options["path_column"] == "image_"
    assert not found.files


def test_mixed_labels_are_refused() -> None:
    with pytest.raises(UserError, match="some labels are lists and others are not"):
        given([("a.png", [1, 0]), ("b.png", 1)], None, None, (), "auto")
    with pytest.raises(UserError, match="the data has no labels"):
        given([("a.png", None)], None, None, (), "auto")
