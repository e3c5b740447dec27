"""Options of tables that contradict each other are refused before anything is read."""

from __future__ import annotations

from typing import Any

import pytest

from hvit.data.clips.settings import ClipData
from hvit.data.images.folders import FolderData
from hvit.errors import UserError


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"label_columns": ("a",)}, "label_columns is for labels in a table"),
        ({"task": "multi"}, "task is for labels in a table"),
        ({"table": "t", "path_column": "a", "label_columns": ("a",)}, "the column 'a' is given two meanings"),
        (
            {"table": "t", "class_order": ("a", "b"), "task": "multi"},
            "class_order is for task ordinal or single, not for multi",
        ),
        ({"effective_beta": 1.0}, "effective_beta must be from 0 to below 1"),
        ({"balance": "some"}, "balance must be one of none, weights, sampling, effective"),
    ],
)
@pytest.mark.parametrize("kind", [FolderData, ClipData])
def test_it_is_refused(kind: Any, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        kind(**options)
    assert sentence in str(caught.value)


def test_a_list_and_a_table_of_clips_are_one_too_many() -> None:
    with pytest.raises(UserError, match="table and train_list both list the clips"):
        ClipData(table="t", train_list="l")
