"""The metadata of exported files are read strictly."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hvit.errors import UserError
from hvit.runtime.about import About, read_about

ABOUT = About("classifier", "nest_micro_32", (32, 32), 3, 2, "int8", classes=("cat", "dog"), temperature=1.5)


def test_what_is_written_is_read() -> None:
    assert read_about(ABOUT.text(), "a.onnx") == ABOUT
    assert [ABOUT.name_of(1), About("classifier", "x", (1, 1), 1, 2, "int8").name_of(1)] == ["dog", "class 1"]


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "detector"}, {"precision": "int4"}, {"classes": ["cat"]}, {"classes": "ab"}, {"temperature": 0},
        {"temperature": float("inf")}, {"input_size": [32]}, {"input_size": [32, -1]}, {"channels": True},
        {"inside": 1}, {"unsure_below": "half"}, {"more": 1}, {"preprocess": []},
    ],
)  # fmt: skip
def test_anything_else_is_refused(change: dict[str, Any]) -> None:
    text = json.dumps({**json.loads(ABOUT.text()), **change})
    with pytest.raises(UserError, match=r"a\.onnx is damaged"):
        read_about(text, "a.onnx")


@pytest.mark.parametrize("preprocess", [None, {"input_size": [16, 16], "mean": [0.5], "std": [0.5]}, {"size": 3}])
def test_a_preparation_that_cannot_be_is_refused(preprocess: dict[str, object] | None) -> None:
    about = read_about(json.dumps({**json.loads(ABOUT.text()), "preprocess": preprocess}), "a.onnx")
    with pytest.raises(UserError, match=r"a\.onnx"):
        about.preparation("a.onnx")
