"""Charts of a run's course: losses, scores and rates against epochs or images, of one run or of several."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hvit.pictures.style import FONT, LIGHT, TEXT_SIZE, Theme, new_figure, percent, plain_text, style_axes

Rows = Sequence[Mapping[str, Any]]
"""Lines of a run's journal, as `hvit.training.journal.read_journal` returns them."""

QUANTITIES = {
    "loss": "Loss",
    "top1": "Accuracy",
    "explained_variance": "Explained variance of masked patches",
    "nearest_neighbours": "Classes from features",
    "mean_average_precision": "Mean average precision",
    "r2": "Explained variance (R²)",
    "quadratic_kappa": "Quadratic kappa",
    "learning_rate": "Learning rate",
}
"""What a chart can show over the epochs, by its key in the journal, with the chart's title."""
_SHARES = ("top1", "top5", "mean_average_precision", "explained_variance", "nearest_neighbours", "linear_probe")

Unit = Literal["value", "share", "loss", "distance"]


def draw_curves(
    rows: Rows, quantities: Sequence[str] = ("loss", "top1", "learning_rate"), theme: Theme = LIGHT
) -> Figure:
    """The course of a run: loss, accuracy and learning rate against epochs, one chart next to the other.

    rows: lines of a run's journal; missing and non-finite values leave a gap. quantities: keys of `QUANTITIES`.
    """
    figure = new_figure(3.9 * len(quantities), 2.9, theme)
    for axes, quantity in zip(np.ravel(figure.subplots(1, len(quantities))), quantities, strict=True):
        style_axes(axes, theme, QUANTITIES[quantity])
        if quantity == "loss":
            _draw_training_loss(axes, rows, theme)
            _draw_line(axes, rows, "evaluate", "loss", theme.curves[1], "held out")
        elif quantity == "top1":
            _draw_line(axes, rows, "evaluate", "top1", theme.curves[1], "top-1")
            _draw_line(axes, rows, "evaluate", "top5", theme.curves[2], "top-5", "--")
        elif quantity == "nearest_neighbours":
            _draw_line(axes, rows, "evaluate", quantity, theme.curves[1], "nearest neighbours")
            _draw_line(axes, rows, "evaluate", "linear_probe", theme.curves[2], "linear probe", "--")
        elif quantity in ("explained_variance", "mean_average_precision", "r2", "quadratic_kappa"):
            _draw_line(axes, rows, "evaluate", quantity, theme.curves[1], "held out")
        else:
            _draw_line(axes, rows, "train", quantity, theme.curves[0])
        _finish_chart(axes, quantity, theme)
    return figure


@dataclass(frozen=True)
class Line:
    """A line of a chart: which lines of the journal (kind, key) it shows, its colour in the theme, and its name."""

    kind: str
    key: str
    colour: int
    name: str
    style: str = "-"


def draw_lines(
    rows: Rows,
    title: str,
    lines: Sequence[Line],
    images_per_step: float,
    unit: Unit = "value",
    theme: Theme = LIGHT,
) -> Figure:
    """Values of a run against the images that it has seen.

    rows: lines of a run's journal; missing and non-finite values leave a gap. unit: shares are written in per cent;
    many values of a loss are drawn with their running mean; distances that fall by more than ten times are drawn on a
    logarithmic scale.
    """
    figure = new_figure(3.9, 2.9, theme)
    axes = figure.subplots()
    style_axes(axes, theme, plain_text(title, 48))
    values = []
    for line in lines:
        chosen = [row for row in rows if row.get("kind") == line.kind and line.key in row]
        seen, heights = _numbers(chosen, "step") * images_per_step, _numbers(chosen, line.key)
        if unit == "loss":
            _plot_with_mean(axes, seen, heights, theme.curves[line.colour], line.name)
        else:
            written = percent if unit == "share" else _short
            _plot(axes, seen, heights, theme.curves[line.colour], line.name, line.style, written)
        values.append(heights[np.isfinite(heights)])
    _finish_chart(axes, "top1" if unit == "share" else "loss", theme, "best")
    axes.set_xlabel("images seen")
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: short_count(value)))
    heights = np.concatenate(values)
    if unit == "distance" and len(heights) and 0 < heights.min() < heights.max() / 10:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(ticker.LogLocator(10, (1, 2, 5)))
        axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(ticker.NullLocator())
    elif unit == "value":
        axes.set_ylim(bottom=0)
    return figure


def compare_curves(runs: Mapping[str, Rows], quantity: str = "top1", theme: Theme = LIGHT) -> Figure:
    """Several runs in one chart, one line for each, such as the accuracy of NesT and of a plain ViT per epoch.

    runs: the name of each run and the lines of its journal. quantity: a key of `QUANTITIES`.
    """
    figure = new_figure(6.4, 4.0, theme)
    axes = figure.subplots()
    style_axes(axes, theme, QUANTITIES[quantity] + " on held-out data" * (quantity != "learning_rate"))
    kind = "train" if quantity == "learning_rate" else "evaluate"
    for number, (name, rows) in enumerate(runs.items()):
        colour = theme.curves[number % len(theme.curves)]
        line_style = ("-", "--", ":", "-.")[number // len(theme.curves) % 4]
        _draw_line(axes, rows, kind, quantity, colour, name, line_style)
    _finish_chart(axes, quantity, theme)
    return figure


def _points(rows: Rows, kind: str, key: str) -> tuple[np.ndarray, np.ndarray]:
    chosen = [row for row in rows if row.get("kind") == kind and key in row]
    return _numbers(chosen, "epoch"), _numbers(chosen, key)


def _numbers(rows: Rows, key: str) -> np.ndarray:
    values = [row.get(key) for row in rows]
    numbers = np.array([value if isinstance(value, int | float) else math.nan for value in values], dtype=float)
    return np.where(np.isfinite(numbers), numbers, math.nan)


def _draw_line(axes: Axes, rows: Rows, kind: str, key: str, colour: str, name: str = "", line_style: str = "-") -> None:
    _plot(axes, *_points(rows, kind, key), colour, name, line_style, percent if key in _SHARES else _short)


def _plot(
    axes: Axes, places: np.ndarray, values: np.ndarray, colour: str, name: str, line_style: str,
    written: Callable[[float], str],
) -> None:  # fmt: skip
    """A line whose legend states its last value; few points are marked."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return
    label = f"{plain_text(name, 40)}  {written(finite[-1])}" if name else "_"
    marker = "o" if len(values) <= 30 else ""
    axes.plot(places, values, line_style, color=colour, marker=marker, markersize=3.5, linewidth=1.8, label=label)


def _draw_training_loss(axes: Axes, rows: Rows, theme: Theme) -> None:
    _plot_with_mean(axes, *_points(rows, "train", "loss"), theme.curves[0], "training")


def _plot_with_mean(axes: Axes, places: np.ndarray, losses: np.ndarray, colour: str, name: str) -> None:
    """Few points as they are; many as a pale line with their running mean over it."""
    finite = np.isfinite(losses)
    if finite.sum() < 30:
        _plot(axes, places, losses, colour, name, "-", _short)
        return
    window = np.ones(max(3, len(losses) // 40))
    counts = np.convolve(finite, window, "same")
    sums = np.convolve(np.where(finite, losses, 0), window, "same")
    means = np.where(finite, sums / np.maximum(counts, 1), math.nan)
    axes.plot(places, losses, color=colour, linewidth=0.8, alpha=0.3, label="_")
    axes.plot(places, means, color=colour, linewidth=1.8, label=f"{name}  {_short(means[finite][-1])}")


def _short(value: float) -> str:
    return f"{value:.3g}"


def short_count(count: float) -> str:
    """A count on an axis, such as 200 k."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:g} {letter}"
    return f"{count:g}"


def _finish_chart(axes: Axes, quantity: str, theme: Theme, legend: Literal["best"] | None = None) -> None:
    axes.set_xlabel("epoch")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(ticker.MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    if not axes.lines:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "nothing recorded yet", transform=axes.transAxes, ha="center", color=theme.soft_ink)
        return
    if quantity in _SHARES:
        axes.yaxis.set_major_formatter(ticker.PercentFormatter(1, decimals=None, symbol=" %"))
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, 0) if quantity != "explained_variance" else low, min(high, 1.005))
    if quantity == "learning_rate":
        axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:.4g}"))
    if any(not str(line.get_label()).startswith("_") for line in axes.lines):
        place = legend or ("lower right" if quantity in _SHARES else "upper right")
        frame = {"facecolor": theme.paper, "edgecolor": theme.paper, "framealpha": 0.85}
        axes.legend(loc=place, labelcolor=theme.ink, prop={"family": FONT, "size": TEXT_SIZE}, **frame)
