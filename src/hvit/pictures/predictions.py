"""Pictures of what a model predicts: confusions, reliability, numbers against labels, points by class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm, to_rgb
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from hvit.pictures.style import (
    BLACK,
    FONT,
    LIGHT,
    OKABE_ITO,
    TEXT_SIZE,
    YELLOW,
    Theme,
    is_drawable,
    new_figure,
    percent,
    plain_text,
    style_axes,
)

_POINT_COLOURS = (*OKABE_ITO[:6], "#8C510A", "#7F7F7F", YELLOW, BLACK)  # two more, for the ten classes of many sets


def draw_confusion(matrix: ArrayLike, classes: Sequence[str], theme: Theme = LIGHT) -> Figure:
    """How often each true class (row) was predicted as each class (column), as shaded cells.

    matrix: (classes, classes) counts, as `hvit.metrics.classification.confusion_matrix` returns them. The shade is the
    share of the row. Counts are written into the cells where they fit; beyond 100 classes only every few names are.
    """
    counts = np.asarray(matrix)
    num_classes = len(classes)
    assert counts.shape == (num_classes, num_classes), f"a {counts.shape} matrix for {num_classes} classes"
    side = min(max(2.6, 0.4 * num_classes), 9.0)  # inches
    cell = side / num_classes * 72  # points
    every = math.ceil(num_classes / 100)
    names = [plain_text(name, 20) if is_drawable(name) else f"class {n}" for n, name in enumerate(classes)]
    names, places = names[::every], np.arange(0, num_classes, every) + 0.5
    size = min(TEXT_SIZE, 0.9 * cell * every)
    widest = max(map(len, names)) * 0.6 * size  # points, roughly
    margin = widest / 72 + 0.5
    figure = new_figure(side + margin, side + margin, theme)
    axes = figure.subplots()
    style_axes(axes, theme, "")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)

    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    empty = np.mean([to_rgb(theme.paper), to_rgb(theme.rule)], axis=0)
    shades = LinearSegmentedColormap.from_list("shares", [empty, to_rgb(theme.curves[0])])
    # The square root makes a class's rare mistakes visible next to its many hits.
    cells = axes.pcolormesh(shares, cmap=shades, norm=PowerNorm(0.5, 0, 1), rasterized=num_classes > 40)
    cells.set(edgecolor=theme.paper if num_classes <= 40 else "face", linewidth=1 if num_classes <= 40 else 0)
    axes.set(aspect="equal", ylim=(num_classes, 0), xlabel="predicted class", ylabel="true class")
    axes.set_xticks(places, names)
    axes.set_yticks(places, names)
    axes.tick_params(labelsize=size, labelfontfamily=FONT)
    axes.tick_params(axis="x", labelrotation=90 if widest > 0.9 * cell * every else 0)
    _write_counts(axes, counts, cells.to_rgba(shares), cell)
    return figure


def draw_reliability(
    before: Sequence[Mapping[str, float]], after: Sequence[Mapping[str, float]], theme: Theme = LIGHT
) -> Figure:
    """The reliability diagram of a classifier: accuracy against confidence, before and after temperature scaling.

    before, after: "count", "confidence" and "accuracy" of every bin. The diagonal is what would be right.
    """
    figure = new_figure(3.9, 2.9, theme)
    axes = figure.subplots()
    style_axes(axes, theme, "Reliability")
    axes.plot([0, 1], [0, 1], color=theme.rule, linewidth=1)
    for bins, name, colour, style in ((before, "logits as they are", 1, "--"), (after, "at the temperature", 0, "-")):
        filled = [one for one in bins if one["count"]]
        places, heights = ([one[key] for one in filled] for key in ("confidence", "accuracy"))
        axes.plot(places, heights, style, color=theme.curves[colour], label=name, marker="o", markersize=3)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="highest probability", ylabel="share that is right")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: percent(value)))
    axes.legend(frameon=False, fontsize=TEXT_SIZE, labelcolor=theme.ink)
    return figure


def draw_points(
    places: np.ndarray, labels: np.ndarray, classes: Sequence[str], title: str, theme: Theme = LIGHT
) -> Figure:
    """Points of a plane without scales, coloured by class.

    places: (points, 2). labels: (points,), indices into `classes`. The ten most frequent classes have colours and stand
    in the legend; those of the rest are grey.
    """
    figure = new_figure(6.4, 4.6, theme)
    axes = figure.subplots()
    style_axes(axes, theme, title)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set(xticks=[], yticks=[])
    counts = np.bincount(labels, minlength=len(classes))
    named = [int(label) for label in np.argsort(-counts, kind="stable")[: len(_POINT_COLOURS)] if counts[label]]
    rest, area = ~np.isin(labels, named), min(max(9.0, 2000 / len(places)), 60.0)
    if rest.any():
        axes.scatter(*places[rest].T, s=area, color=theme.soft_ink, alpha=0.5, linewidths=0, label="other classes")
    for number, label in enumerate(named):
        colour = theme.ink if _POINT_COLOURS[number] == BLACK else _POINT_COLOURS[number]
        name = plain_text(classes[label], 24)
        axes.scatter(*places[labels == label].T, s=area, color=colour, alpha=0.85, linewidths=0, label=name)
    if len(classes) > 1:
        place = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5), "frameon": False, "markerscale": 2.0}
        axes.legend(labelcolor=theme.ink, prop={"family": FONT, "size": TEXT_SIZE}, **place)
    return figure


def draw_predictions(values: ArrayLike, predictions: ArrayLike, name: str, theme: Theme = LIGHT) -> Figure:
    """Predicted numbers against the labels, and the diagonal of perfect predictions.

    values, predictions: (samples,). name: what is predicted.
    """
    wanted, found = (np.asarray(one, dtype=np.float64) for one in (values, predictions))
    figure = new_figure(3.9, 3.4, theme)
    axes = figure.subplots()
    style_axes(axes, theme, plain_text(name, 48))
    ends = [min(wanted.min(), found.min()), max(wanted.max(), found.max())]
    axes.plot(ends, ends, color=theme.soft_ink, linewidth=1, linestyle="--")
    axes.scatter(wanted, found, s=12, color=theme.curves[0], alpha=0.6, linewidths=0)
    axes.set_xlabel("label")
    axes.set_ylabel("predicted")
    return figure


def _write_counts(axes: Axes, counts: np.ndarray, colours: np.ndarray, cell: float) -> None:
    """Writes the counts that are not zero into cells of `cell` points, unless the widest would not fit."""
    size = min(TEXT_SIZE, 0.8 * cell / (0.65 * len(str(counts.max()))))
    if size < 5:
        return
    for row, column in np.argwhere(counts):
        # Luminance by the weights of ITU-R BT.709, without linearising: enough to choose black or white.
        bright = colours[row, column, :3] @ (0.2126, 0.7152, 0.0722) > 0.55
        ink = "#10151c" if bright else "#ffffff"
        place = {"ha": "center", "va": "center", "fontsize": size, "family": FONT}
        axes.text(column + 0.5, row + 0.5, str(counts[row, column]), color=ink, **place)
