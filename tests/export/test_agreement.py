"""Differences, answers and explanations of two models are compared as the report says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hvit.data.preprocess import Preprocess
from hvit.errors import UserError
from hvit.export.agreement import Outputs, as_bytes, check, difference, first_steps, outputs_of, rates
from hvit.runtime.about import About

ABOUT = About("classifier", "x", (4, 4), 1, 2, "float32")
PREPROCESS = Preprocess((4, 4), (0.5,), (0.25,), 1.0)


class Corner:
    """A model whose class 1 is as probable as one quadrant is bright."""

    def __init__(self, row: int, column: int, about: About = ABOUT) -> None:
        self.place, self.about = (slice(2 * row, 2 * row + 2), slice(2 * column, 2 * column + 2)), about

    def run(self, *inputs: np.ndarray) -> dict[str, np.ndarray]:
        pixels = inputs[0].astype(np.float32)
        images = pixels[..., 0] / 255 if self.about.inside else pixels[:, 0]
        bright = images[:, *self.place].mean((1, 2))
        logits = np.stack([np.zeros_like(bright), bright], 1)
        if not self.about.inside:
            return {"logits": logits}
        return {"probabilities": np.exp(logits) / np.exp(logits).sum(1, keepdims=True)}


@pytest.mark.parametrize("inside", [False, True])
def test_first_steps_are_those_of_the_quadrant_that_counts(inside: bool) -> None:
    about, images = replace(ABOUT, inside=inside), torch.rand(4, 1, 4, 4) * 0.5 + 1
    images[:, :, :2, :2] += 0.5
    images[:, :, 2:, 2:] += 0.5
    same, other = (Corner(0, 0, about), Corner(0, 0, about)), (Corner(0, 0, about), Corner(1, 1, about))
    assert first_steps(*same, images, PREPROCESS) == 1.0
    assert first_steps(*other, images, PREPROCESS) == 0.0


def test_the_difference_is_relative_and_broken_outputs_are_infinitely_different() -> None:
    before = Outputs({"logits": np.array([[4.0, -2.0]])})
    assert difference(before, Outputs({"logits": np.array([[4.0, -1.0]])})) == pytest.approx(0.25)
    for broken in (np.array([[np.nan, 1.0]]), np.zeros((1, 3))):
        assert difference(before, Outputs({"logits": broken})) == float("inf")


def test_a_file_must_be_as_close_as_its_precision_allows() -> None:
    before = Outputs({"logits": np.array([[1.0, 0.0]] * 10)})
    near, other = Outputs({"logits": np.array([[0.99, 0.005]] * 10)}), Outputs({"logits": np.array([[0.0, 1.0]] * 10)})
    with pytest.raises(UserError, match=r"x.onnx was not written: its outputs differ .* 1e-04 in float32 is allowed"):
        check(before, near, ABOUT, "x.onnx")
    assert check(before, near, replace(ABOUT, precision="bfloat16"), "x.onnx") == (pytest.approx(0.01), 1.0)
    assert check(before, near, replace(ABOUT, precision="int8"), "x.onnx")[1] == 1.0
    with pytest.raises(UserError, match="another one for 100% of the inputs"):
        check(before, other, replace(ABOUT, precision="int8"), "x.onnx")


def test_bytes_come_back_as_they_were() -> None:
    levels = torch.randint(0, 256, (2, 1, 4, 4))
    images = (levels / 255 - 0.5) / 0.25
    np.testing.assert_array_equal(as_bytes(images, PREPROCESS), levels.movedim(1, -1).numpy())


def test_outputs_of_batches_are_joined_and_rates_are_numbers() -> None:
    batches = [(np.ones((2, 1, 4, 4), np.float32),), (np.ones((1, 1, 4, 4), np.float32),)]
    assert outputs_of(Corner(0, 0), batches).values["logits"].shape == (3, 2)
    assert min(rates([Corner(0, 0), Corner(1, 1)], batches[0])) > 0
