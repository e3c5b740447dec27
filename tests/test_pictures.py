"""Claims about the charts and picture grids."""

from __future__ import annotations

import math
import sys
import xml.etree.ElementTree as ElementTree
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from hvit import pictures


def journal(count: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [{"kind": "start", "step": 0}]
    for step in range(1, count + 1):
        epoch = step / 10
        rows.append({"kind": "train", "step": step, "epoch": epoch, "loss": 1 / step, "learning_rate": 1e-3 / step})
        if step % 10 == 0:
            rows.append({"kind": "evaluate", "step": step, "epoch": epoch, "loss": 0.1, "top1": 0.9, "top5": 1.0})
    return rows


def chart(figure: Figure, title: str) -> Axes:
    return next(axes for axes in figure.axes if axes.get_title(loc="left").startswith(title))


def legend_texts(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def size(figure: Figure, dpi: int = 50) -> tuple[int, int]:
    return Image.open(BytesIO(pictures.figure_to_png(figure, dpi))).size


@pytest.mark.parametrize("count", [0, 1, 2, 2000])
def test_curves_are_drawn_from_no_line_or_thousands(count: int):
    figure = pictures.draw_curves(journal(count))
    assert size(figure) == (585, 145)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Loss", "Accuracy", "Learning rate"]


def test_few_training_losses_are_shown_as_they_are_and_many_smoothed_over_the_raw_line():
    few, many = (chart(pictures.draw_curves(journal(count)), "Loss").lines for count in (20, 500))
    assert np.allclose(np.asarray(few[0].get_ydata()), 1 / np.arange(1, 21))
    raw, smooth = (np.asarray(line.get_ydata()) for line in many[:2])
    assert np.allclose(raw, 1 / np.arange(1, 501))
    assert np.ptp(smooth) < np.ptp(raw)
    # A running mean follows a falling curve: it is not shifted in time.
    assert abs(smooth[250] - raw[250]) < 0.05 * raw[250]


def test_smoothing_leaves_gaps_where_the_loss_is_not_finite():
    rows = journal(200)
    for row in rows:
        if row["step"] == 100:
            row["loss"] = math.inf
        if row["step"] == 101:
            row["loss"] = None
    figure = pictures.draw_curves(rows, ["loss"])
    smooth = np.asarray(figure.axes[0].lines[1].get_ydata())
    assert np.flatnonzero(np.isnan(smooth)).tolist() == [99, 100]
    assert size(figure) > (0, 0)


def test_the_last_value_is_in_the_legend():
    assert legend_texts(chart(pictures.draw_curves(journal(20)), "Accuracy")) == ["top-1  90.0 %", "top-5  100.0 %"]


def test_two_runs_are_compared_in_one_chart_with_a_colour_each():
    figure = pictures.compare_curves({"NesT": journal(50), "ViT": journal(30), "nothing yet": []})
    (axes,) = figure.axes
    assert legend_texts(axes) == ["NesT  90.0 %", "ViT  90.0 %"]
    assert len({line.get_color() for line in axes.lines}) == 2
    assert axes.get_title(loc="left") == "Accuracy on held-out data"
    assert size(figure) > (0, 0)


@pytest.mark.parametrize("num_classes", [2, 10, 100, 130])
def test_a_confusion_matrix_fits_from_two_classes_to_many(num_classes: int):
    matrix = np.diag(np.full(num_classes, 20))
    figure = pictures.draw_confusion(matrix, [f"class number {number}" for number in range(num_classes)])
    width, height = size(figure)
    assert 150 < width < 700
    assert 150 < height < 700


def test_counts_are_written_only_where_they_fit():
    def written(num_classes: int, count: int) -> list[str]:
        figure = pictures.draw_confusion(np.diag(np.full(num_classes, count)), ["x"] * num_classes)
        return [text.get_text() for text in figure.axes[0].texts]

    assert written(3, 12) == ["12", "12", "12"]  # zeros stay empty
    assert written(100, 12) == []
    assert written(40, 1234567) == []


def test_counts_are_readable_on_light_and_dark_cells():
    for theme in (pictures.LIGHT, pictures.DARK):
        figure = pictures.draw_confusion([[50, 1], [0, 50]], ["a", "b"], theme)
        cells = figure.axes[0].collections[0]
        figure.draw_without_rendering()
        colours = np.asarray(cells.get_facecolor())[:, :3]
        for text in figure.axes[0].texts:
            column, row = (int(place) for place in text.get_position())
            ink = np.array([int(str(text.get_color())[start : start + 2], 16) / 255 for start in (1, 3, 5)])
            assert contrast(ink, colours[2 * row + column]) > 3


def contrast(first: np.ndarray, second: np.ndarray) -> float:
    """The contrast ratio of the Web Content Accessibility Guidelines 2.2."""

    def luminance(colour: np.ndarray) -> float:
        linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


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


def test_a_name_that_the_font_lacks_is_named_by_its_number():
    figure = pictures.draw_confusion([[1, 0], [0, 1]], ["狗", "cat"])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["class 0", "cat"]
    assert pictures.plain_text("狗 dog", 10) == "□ dog"


def test_long_names_are_shortened():
    assert pictures.plain_text("abcdefgh", 5) == "abcd…"


def test_the_image_grid_shows_every_image_with_its_pixels_unsmoothed():
    grey, colour = np.eye(8), np.zeros((40, 60, 3), np.uint8)
    images = [grey, colour, Image.new("L", (8, 8)), Image.new("P", (300, 200)), grey]
    figure = pictures.draw_image_grid(images, list("abcde"), 3)
    shown = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in shown] == list("abcde")
    assert [axes.images[0].get_interpolation() for axes in shown[:4]] == [
        "nearest",
        "nearest",
        "nearest",
        "antialiased",
    ]
    assert size(figure) == (255, 200)


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


def test_values_are_drawn_against_the_images_that_were_seen():
    rows = [{"kind": "evaluate", "step": step, "distance": value} for step, value in ((1, 40.0), (2, None), (3, 2.0))]
    line = pictures.Line("evaluate", "distance", 1, "made")
    axes = pictures.draw_lines(rows, "Distance", (line,), 64, "distance").axes[0]
    assert axes.lines[0].get_xdata().tolist() == [64, 128, 192]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [40, np.nan, 2])
    assert axes.get_yscale() == "log", "it falls by more than ten times"
    assert axes.lines[0].get_label() == "made  2"
    near = pictures.draw_lines([rows[0]], "Distance", (line,), 64, "distance").axes[0]
    assert near.get_yscale() == "linear"
    shares = pictures.draw_lines(rows, "Shares", (line,), 64, "share").axes[0]
    assert shares.lines[0].get_label() == "made  200.0 %"
    empty = pictures.draw_lines([], "Nothing", (line,), 64).axes[0]
    assert not empty.lines
    assert [pictures.short_count(count) for count in (0, 64, 1500, 2e6)] == ["0", "64", "1.5 k", "2 M"]
