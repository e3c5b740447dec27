"""Claims about the sheet that compares methods: a row a class, a column a method, and nothing overlaps."""

from __future__ import annotations

import numpy as np
import pytest

from hvit.errors import UserError
from hvit.explain.drawing.canvas import heats, overlay
from hvit.explain.drawing.comparison import draw_comparison
from hvit.explain.words import TIMES
from tests.explain.drawing.trees import HOSTILE, PHOTO, assert_nothing_overlaps, grow, texts


@pytest.mark.parametrize("classes", [1, 4])
@pytest.mark.parametrize("methods", [("cam",), ("cam", "gradcam", "gradcam++", "rollout", HOSTILE[0])])
def test_a_comparison_has_a_row_a_class_and_a_column_a_method(classes: int, methods: tuple[str, ...]) -> None:
    maps = {method: list(np.random.default_rng(0).normal(size=(classes, 7, 7)) * 1e-4) for method in methods}
    trees = [grow(3, seed) for seed in range(classes)]
    shares = [0.99999, 0.5, 0.00001, 0.0][:classes]
    figure = draw_comparison(PHOTO, maps, HOSTILE[:classes], shares, trees=trees)
    assert_nothing_overlaps(figure)
    shown = figure.axes[0].images
    scale = 1
    assert len(shown) == classes * (1 + len(methods)) + scale
    pixels = np.asarray(PHOTO) / 255
    for row in range(classes):
        for column, method in enumerate(methods, start=1):
            drawn = shown[row * (1 + len(methods)) + column].get_array()
            assert drawn is not None
            assert np.allclose(drawn, overlay(pixels, heats(maps[method])[row]))
    written = [text.get_text() for text in texts(figure)]
    assert len([text for text in written if " to " in text and TIMES in text]) == classes * len(methods)
    assert {"GradCAT", "CAM"} <= set(written)
    alone = draw_comparison(np.zeros((120, 360)), {"cam": maps["cam"]}, ["a", "b", "c", "d"][:classes])
    assert_nothing_overlaps(alone)
    assert "Image" in [text.get_text() for text in texts(alone)]


def test_an_impossible_comparison_is_refused_with_a_sentence() -> None:
    one = [np.zeros((2, 2))]
    with pytest.raises(UserError, match="1 to 4 classes, got 0"):
        draw_comparison(PHOTO, {}, [])
    with pytest.raises(UserError, match="maps cam per class: got 1 for 2 classes"):
        draw_comparison(PHOTO, {"cam": one}, ["a", "b"])
    with pytest.raises(UserError, match="probabilities per class: got 2 for 1 classes"):
        draw_comparison(PHOTO, {"cam": one}, ["a"], [0.5, 0.5])
    with pytest.raises(UserError, match="one tree per class: got 2 for 1"):
        draw_comparison(PHOTO, {"cam": one}, ["a"], trees=[grow(2)] * 2)
    with pytest.raises(UserError, match="the model saw 32 x 32"):
        draw_comparison(np.zeros((10, 20)), {"cam": one}, ["a"], trees=[grow(2, size=(32, 32))])
