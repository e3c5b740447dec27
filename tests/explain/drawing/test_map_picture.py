"""Claims about pictures of maps: they show the range of the map, and no differences where there are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hvit.explain import draw_cam, save_figure
from hvit.explain.drawing.canvas import heats, overlay
from tests.explain.drawing.trees import DIGIT, HOSTILE, PHOTO, assert_nothing_overlaps, texts


def test_a_map_is_drawn_with_its_range(tmp_path: Path) -> None:
    for picture, activation_map in ((PHOTO, np.linspace(-1.5, 4.25, 49).reshape(7, 7)), (DIGIT, np.zeros((4, 4)))):
        figure = draw_cam(picture, activation_map, HOSTILE[0], 0.99999)
        assert_nothing_overlaps(figure)
        save_figure(figure, tmp_path / "cam.png")
        assert (tmp_path / "cam.png").stat().st_size > 20_000
    written = [text.get_text() for text in texts(draw_cam(PHOTO, np.array([[-1.5, 0.0], [0.0, 4.25]])))]
    assert written == ["4.25", "\N{MINUS SIGN}1.50"]


def test_a_map_of_one_value_shows_no_differences() -> None:
    for value in (3.0, 0.1, -7.7):
        flat = overlay(np.ones((40, 60, 3)), heats([np.full((2, 3), value)])[0])
        assert np.ptp(flat, axis=(0, 1)).max() < 1e-6
