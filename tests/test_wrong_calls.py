"""The Python interface called with what it does not take: one sentence, whatever the function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hvit

IMAGE = torch.zeros(3, 32, 32)
SAMPLES = [(np.zeros((8, 8, 3), np.uint8), number % 2) for number in range(8)]


@pytest.fixture(scope="module")
def nest() -> torch.nn.Module:
    return hvit.create_model("nest_micro_32", num_classes=3).eval()


CALLS: dict[str, tuple[Callable[[Any], object], str]] = {
    "a name that is a number": (lambda nest: hvit.create_model(3), "model"),  # pyright: ignore
    "an unknown way to resize": (
        lambda nest: hvit.create_model("nest_micro_32", position_resize="x"),  # pyright: ignore
        "position_resize must be one of",
    ),
    "a size of no weights": (
        lambda nest: hvit.create_model("nest_micro_32", weights_input_size=(64, 64)),
        "weights_input_size is of weights that are loaded: give weights, too",
    ),
    "weights of nothing": (lambda nest: hvit.open_weights(None), "weights are the path of a file"),  # pyright: ignore
    "weights of a number": (lambda nest: hvit.open_generator(3), "or hf:owner/name; got 3"),  # pyright: ignore
    "weights of bytes": (lambda nest: hvit.from_pretrained(b"x"), "hf:owner/name; got b'x'"),  # pyright: ignore
    "a pattern of a number": (lambda nest: hvit.list_models(3), "a pattern of names is text"),  # pyright: ignore
    "no file to write": (lambda nest: hvit.save_weights(nest, None), "the file to write is text"),  # pyright: ignore
    "an empty file to write": (lambda nest: hvit.save_weights(nest, ""), "it is a folder; give the name of a file"),
    "images for a batch size": (
        lambda nest: hvit.prepare_for_inference(nest, IMAGE),  # pyright: ignore
        "float32 and a Tensor",
    ),
    "a budget of text": (
        lambda nest: hvit.explain.block_shapley(nest, IMAGE, 1, budget="x"),  # pyright: ignore
        "above 0, got 'x'",
    ),
    "a model of other images": (
        lambda nest: hvit.explain.block_shapley(torch.nn.Linear(3, 3), IMAGE, 1),
        "Linear cannot take images of shape",
    ),
    "no recipe": (lambda nest: hvit.fit(None, SAMPLES, out="o"), "recipe is the name of a recipe"),  # pyright: ignore
    "no folder": (lambda nest: hvit.fit("nest_micro_folder", SAMPLES, out=None), "out is text"),  # pyright: ignore
    "an empty folder": (lambda nest: hvit.fit("nest_micro_folder", SAMPLES, out=""), "out is empty"),
    "classes that are a number": (
        lambda nest: hvit.fit("nest_micro_folder", SAMPLES, out="o", classes=3),  # pyright: ignore
        "classes are names in a list or a tuple; got 3",
    ),
}


@pytest.mark.parametrize("what", CALLS)
def test_it_is_refused_in_a_sentence_and_leaves_nothing(
    what: str, nest: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call, sentence = CALLS[what]
    with pytest.raises(hvit.UserError) as refused:
        call(nest)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []
