"""Charts and picture grids as matplotlib figures, in one style, for reports and documentation.

Figures are made and saved without pyplot, so no window system and no global figure list is involved. Colours are
those of Okabe and Ito (2008), which colour-blind readers can distinguish. Strings of the user, such as class names,
are shown letter by letter: a dollar sign never starts a formula.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib import font_manager, ticker
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, PowerNorm, to_rgb
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from PIL import Image

from hvit.markup import shown

Rows = Sequence[Mapping[str, Any]]
"""Lines of a run's journal, as `hvit.training.journal.read_journal` returns them."""

BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY_BLUE, YELLOW, BLACK = "#E69F00", "#56B4E9", "#F0E442", "#000000"
OKABE_ITO = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY_BLUE, YELLOW, BLACK)

FONT = "DejaVu Sans"  # comes with matplotlib, so pictures are the same on every machine
TEXT_SIZE = 9.0  # points


@dataclass(frozen=True)
class Theme:
    """The colours of a figure: its background, its texts and lines, and the curves in the order they are drawn."""

    paper: str
    ink: str
    soft_ink: str
    rule: str
    curves: tuple[str, ...]


LIGHT = Theme("#ffffff", "#1b2330", "#5a6675", "#e3e7ec", (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY_BLUE))
DARK = Theme("#171d26", "#e6eaf0", "#9aa7b6", "#2c3643", (SKY_BLUE, ORANGE, GREEN, PURPLE, VERMILLION, YELLOW))

_POINT_COLOURS = (*OKABE_ITO[:6], "#8C510A", "#7F7F7F", YELLOW, BLACK)  # two more, for the ten classes of many sets

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


def draw_curves(
    rows: Rows, quantities: Sequence[str] = ("loss", "top1", "learning_rate"), theme: Theme = LIGHT
) -> Figure:
    """The course of a run: loss, accuracy and learning rate against epochs, one chart next to the other.

    rows: lines of a run's journal; missing and non-finite values leave a gap. quantities: keys of `QUANTITIES`.
    """
    figure = _new_figure(3.9 * len(quantities), 2.9, theme)
    for axes, quantity in zip(np.ravel(figure.subplots(1, len(quantities))), quantities, strict=True):
        _style_axes(axes, theme, QUANTITIES[quantity])
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


Unit = Literal["value", "share", "loss", "distance"]


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
    figure = _new_figure(3.9, 2.9, theme)
    axes = figure.subplots()
    _style_axes(axes, theme, plain_text(title, 48))
    values = []
    for line in lines:
        chosen = [row for row in rows if row.get("kind") == line.kind and line.key in row]
        seen, heights = _numbers(chosen, "step") * images_per_step, _numbers(chosen, line.key)
        if unit == "loss":
            _plot_with_mean(axes, seen, heights, theme.curves[line.colour], line.name)
        else:
            written = _percent if unit == "share" else _short
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
    figure = _new_figure(6.4, 4.0, theme)
    axes = figure.subplots()
    _style_axes(axes, theme, QUANTITIES[quantity] + " on held-out data" * (quantity != "learning_rate"))
    kind = "train" if quantity == "learning_rate" else "evaluate"
    for number, (name, rows) in enumerate(runs.items()):
        colour = theme.curves[number % len(theme.curves)]
        line_style = ("-", "--", ":", "-.")[number // len(theme.curves) % 4]
        _draw_line(axes, rows, kind, quantity, colour, name, line_style)
    _finish_chart(axes, quantity, theme)
    return figure


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
    names = [plain_text(name, 20) if _is_drawable(name) else f"class {n}" for n, name in enumerate(classes)]
    names, places = names[::every], np.arange(0, num_classes, every) + 0.5
    size = min(TEXT_SIZE, 0.9 * cell * every)
    widest = max(map(len, names)) * 0.6 * size  # points, roughly
    margin = widest / 72 + 0.5
    figure = _new_figure(side + margin, side + margin, theme)
    axes = figure.subplots()
    _style_axes(axes, theme, "")
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
    figure = _new_figure(3.9, 2.9, theme)
    axes = figure.subplots()
    _style_axes(axes, theme, "Reliability")
    axes.plot([0, 1], [0, 1], color=theme.rule, linewidth=1)
    for bins, name, colour, style in ((before, "logits as they are", 1, "--"), (after, "at the temperature", 0, "-")):
        filled = [one for one in bins if one["count"]]
        places, heights = ([one[key] for one in filled] for key in ("confidence", "accuracy"))
        axes.plot(places, heights, style, color=theme.curves[colour], label=name, marker="o", markersize=3)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="highest probability", ylabel="share that is right")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: _percent(value)))
    axes.legend(frameon=False, fontsize=TEXT_SIZE, labelcolor=theme.ink)
    return figure


def draw_points(
    places: np.ndarray, labels: np.ndarray, classes: Sequence[str], title: str, theme: Theme = LIGHT
) -> Figure:
    """Points of a plane without scales, coloured by class.

    places: (points, 2). labels: (points,), indices into `classes`. The ten most frequent classes have colours and stand
    in the legend; those of the rest are grey.
    """
    figure = _new_figure(6.4, 4.6, theme)
    axes = figure.subplots()
    _style_axes(axes, theme, title)
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
    figure = _new_figure(3.9, 3.4, theme)
    axes = figure.subplots()
    _style_axes(axes, theme, plain_text(name, 48))
    ends = [min(wanted.min(), found.min()), max(wanted.max(), found.max())]
    axes.plot(ends, ends, color=theme.soft_ink, linewidth=1, linestyle="--")
    axes.scatter(wanted, found, s=12, color=theme.curves[0], alpha=0.6, linewidths=0)
    axes.set_xlabel("label")
    axes.set_ylabel("predicted")
    return figure


def draw_image_grid(
    images: Sequence[Image.Image | np.ndarray], captions: Sequence[str], columns: int, theme: Theme = LIGHT
) -> Figure:
    """Images in rows of `columns`, each with its caption below.

    images: PIL images, or arrays (height, width) or (height, width, 3), uint8 or floats in [0, 1]. Small images are
    enlarged without smoothing. captions: one string per image, may be empty.
    """
    assert len(images) == len(captions) > 0, f"{len(images)} images for {len(captions)} captions"
    columns = min(columns, len(images))
    lines = math.ceil(len(images) / columns)
    figure = _new_figure(1.7 * columns, 2.0 * lines, theme)
    grid = np.ravel(figure.subplots(lines, columns))
    for axes in grid:
        axes.set_axis_off()
    for axes, image, caption in zip(grid, images, captions, strict=False):
        pixels = np.asarray(image.convert("RGB") if isinstance(image, Image.Image) else image)
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255 if pixels.dtype == np.uint8 else 1)
        axes.images[0].set_interpolation("nearest" if max(pixels.shape[:2]) < 128 else "antialiased")
        title = {"y": -0.04, "pad": 0, "va": "top", "fontsize": 8, "color": theme.ink, "family": FONT}
        axes.set_title(plain_text(caption, 24), **title)
    return figure


def figure_to_png(figure: Figure, dpi: int = 150) -> bytes:
    """The figure as the bytes of a PNG file. dpi: pixels per inch."""
    file = BytesIO()
    figure.savefig(file, format="png", dpi=dpi)
    return file.getvalue()


def figure_to_svg(figure: Figure) -> str:
    """The figure as the text of an SVG file that needs no font; the same figure always gives the same text."""
    file = BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "hvit", "svg.fonttype": "path"}):
        figure.savefig(file, format="svg", dpi=150, metadata={"Date": None})
    return file.getvalue().decode()


def plain_text(text: str, limit: int) -> str:
    """A string of the user, made safe to draw: no formulas, on one line, at most `limit` letters.

    Control characters and the like are escaped (`markup.shown`); letters that the figures' font lacks become a small
    square.
    """
    letters = ["□" if ord(letter) not in _font_letters() else letter for letter in _one_line(text)]
    if len(letters) > limit:
        letters = [*letters[: limit - 1], "…"]
    return "".join(letters).replace("$", r"\$")


def _one_line(text: str) -> str:
    return "".join(" " if unicodedata.category(letter).startswith("Z") else letter for letter in shown(text))


def _is_drawable(text: str) -> bool:
    letters = _one_line(text).strip()
    return bool(letters) and all(ord(letter) in _font_letters() for letter in letters)


@cache
def _font_letters() -> frozenset[int]:
    return frozenset(font_manager.get_font(font_manager.findfont(FONT)).get_charmap())


def _new_figure(width: float, height: float, theme: Theme) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained", facecolor=theme.paper)
    FigureCanvasAgg(figure)
    return figure


def _style_axes(axes: Axes, theme: Theme, title: str) -> None:
    axes.set_facecolor(theme.paper)
    axes.set_title(title, loc="left", fontsize=TEXT_SIZE + 1, fontweight="bold", color=theme.ink, family=FONT)
    axes.grid(color=theme.rule, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(theme.soft_ink)
    axes.tick_params(colors=theme.soft_ink, labelsize=TEXT_SIZE, length=0)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=theme.soft_ink, fontsize=TEXT_SIZE, family=FONT)


def _points(rows: Rows, kind: str, key: str) -> tuple[np.ndarray, np.ndarray]:
    chosen = [row for row in rows if row.get("kind") == kind and key in row]
    return _numbers(chosen, "epoch"), _numbers(chosen, key)


def _numbers(rows: Rows, key: str) -> np.ndarray:
    values = [row.get(key) for row in rows]
    numbers = np.array([value if isinstance(value, int | float) else math.nan for value in values], dtype=float)
    return np.where(np.isfinite(numbers), numbers, math.nan)


def _draw_line(axes: Axes, rows: Rows, kind: str, key: str, colour: str, name: str = "", line_style: str = "-") -> None:
    _plot(axes, *_points(rows, kind, key), colour, name, line_style, _percent if key in _SHARES else _short)


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


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


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
