"""Exported models predict images; what they cannot predict is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hvit.errors import UserError
from hvit.runtime.about import About
from hvit.runtime.open import Exported
from hvit.runtime.predict import predict

PREPROCESS: dict[str, object] = {"input_size": [2, 2], "mean": [0.0], "std": [1.0], "crop": 1.0}
ABOUT = About("classifier", "x", (2, 2), 1, 3, "float32", preprocess=PREPROCESS, unsure_below=0.5)


class Brightness(Exported):
    """Class 2 for bright images, class 0 for dark ones."""

    def run(self, *inputs: np.ndarray) -> dict[str, np.ndarray]:
        bright = inputs[0].astype(np.float32).reshape(len(inputs[0]), -1).mean(1)
        scale = 255 if self.about.inside else 1
        rows = np.stack([1 - bright / scale, np.zeros_like(bright), bright / scale], 1).astype(np.float32)
        return {"probabilities" if self.about.inside else "logits": rows}


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    from PIL import Image

    for name, level in (("dark", 20), ("bright", 240)):
        Image.new("L", (5, 4), level).save(tmp_path / f"{name}.png")
    return [tmp_path / "dark.png", tmp_path / "bright.png"]


@pytest.mark.parametrize("inside", [False, True])
def test_the_most_probable_classes_come_first(inside: bool, images: list[Path]) -> None:
    model = Brightness(replace(ABOUT, inside=inside), "x.onnx")
    found = list(predict(model, images, 2, 1, pytest.fail))
    assert [answer["classes"][0]["index"] for answer in found] == [0, 2]
    assert [len(answer["classes"]) for answer in found] == [2, 2]
    assert not inside or [answer["unsure"] for answer in found] == [False, False]


def test_several_labels_and_numbers_are_answered_as_with_weights(images: list[Path]) -> None:
    multi = replace(ABOUT, labels={"kind": "multi", "thresholds": [0.6, 0.4, 0.6]}, unsure_below=None)
    dark = next(predict(Brightness(multi, "x.onnx"), images, 1, 16, pytest.fail))
    assert dark["labels"] == ["class 0", "class 1"]
    assert dark["classes"][0]["probability"] == pytest.approx(1 / (1 + np.exp(-(1 - 20 / 255))), abs=1e-5)
    numbers = replace(
        multi, labels={"kind": "regression", "mean": [1.0, 0.0, 0.0], "std": [10.0, 1.0, 2.0]}, classes=("a", "b", "c")
    )
    bright = list(predict(Brightness(numbers, "x.onnx"), images, 1, 16, pytest.fail))[1]
    assert bright["values"] == pytest.approx({"a": 1 + 10 * 15 / 255, "b": 0.0, "c": 2 * 240 / 255}, rel=1e-4)
    assert "classes" not in bright


@pytest.mark.parametrize(
    ("about", "sentence"),
    [
        (replace(ABOUT, kind="generator"), "holds a generator, which predicts no classes"),
        (replace(ABOUT, kind="features"), "holds an encoder without a head"),
        (replace(ABOUT, input_size=(4, 2, 2), preprocess=PREPROCESS | {"input_size": [4, 2, 2]}), "takes clips"),
    ],
)
def test_models_without_classes_and_of_clips_are_refused(about: About, sentence: str, images: list[Path]) -> None:
    with pytest.raises(UserError, match=sentence):
        list(predict(Brightness(about, "x.onnx"), images, 5, 16, pytest.fail))
