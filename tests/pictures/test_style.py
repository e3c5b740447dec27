"""Claims about colours, letters and files of figures."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from hvit import pictures
from tests.pictures.figures import contrast, journal, size


@pytest.mark.parametrize("name", [r"$\frac{1}{2}$", "$", "a$b$c", r"\$", "line\nbreak\x00\ud800", "", "x" * 500])
def test_hostile_names_are_drawn_letter_by_letter(name: str):
    figure = pictures.draw_confusion([[1, 0], [0, 1]], [name, "other"])
    assert size(figure) > (0, 0)
    assert size(pictures.compare_curves({name: journal(20)})) > (0, 0)
    assert size(pictures.draw_image_grid([np.zeros((8, 8))], [name], 4)) > (0, 0)


def test_a_formula_in_a_name_is_not_typeset():
    assert pictures.plain_text("$x^2$", 20) == r"\$x^2\$"
    figure = pictures.draw_image_grid([np.zeros((8, 8))], ["$x^2$"], 1)
    title = figure.axes[0].title
    width = title.get_window_extent().width
    title.set(text="$x^2$", parse_math=False)
    assert title.get_window_extent().width == width
    title.set(text="$x^2$", parse_math=True)
    assert title.get_window_extent().width < width


def test_long_names_are_shortened():
    assert pictures.plain_text("abcdefgh", 5) == "abcd…"


def test_the_same_figure_gives_the_same_svg_and_it_refers_to_nothing_outside():
    first, second = (pictures.figure_to_svg(pictures.draw_curves(journal(40))) for _ in range(2))
    assert first == second
    for node in ElementTree.fromstring(first).iter():
        for name, value in node.attrib.items():
            if name.endswith("href"):
                assert value.startswith("#")
    assert "<text" not in first  # letters are outlines, so no font is needed


def test_the_first_colours_are_told_apart_by_brightness_on_both_papers():
    for theme in (pictures.LIGHT, pictures.DARK):
        assert set(theme.curves) <= set(pictures.OKABE_ITO)
        paper, *colours = (
            np.array([int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)])
            for colour in (theme.paper, *theme.curves[:3])
        )
        assert min(contrast(paper, colour) for colour in colours) > 3


def test_pyplot_is_never_needed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it now raises
    assert size(pictures.draw_curves(journal(20))) > (0, 0)
    assert pictures.figure_to_svg(pictures.draw_confusion([[1, 0], [0, 1]], ["a", "b"]))
    assert size(pictures.draw_image_grid([np.zeros((8, 8))], ["a"], 1)) > (0, 0)
