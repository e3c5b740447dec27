"""Claims about the charts of a run."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hvit import pictures
from tests.pictures.figures import chart, journal, legend_texts, size


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
