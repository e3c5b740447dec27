"""One picture of an experiment's results: the mean of every cell with its interval, and the score of every seed."""

from __future__ import annotations

from math import isfinite, sqrt
from textwrap import wrap

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from hvit.experiments.results import Results, quantile
from hvit.pictures import FONT, LIGHT, TEXT_SIZE, Theme, plain_text


def draw(results: Results, theme: Theme = LIGHT) -> Figure:
    """A row for every cell that has a score: a dot for the mean, a line for its 95 % interval, small dots for seeds.

    Intervals are those of the means, from the spread that all cells share (see `Difference`).
    """
    measure = results.experiment.measures[0]
    cells = [(cell, scores) for cell in results.experiment.cells if (scores := results.of(cell)) is not None]
    spread, freedom = results.spread(measure.key)
    figure = Figure(figsize=(7.2, 1.0 + 0.3 * len(cells)), layout="constrained", facecolor=theme.paper)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_facecolor(theme.paper)
    groups = list(dict.fromkeys(next(iter(cell.factors.values())) for cell, _ in cells))
    for place, (cell, scores) in enumerate(cells):
        colour = theme.curves[groups.index(next(iter(cell.factors.values()))) % len(theme.curves)]
        values = list(scores.of(measure.key).values())
        half = quantile(freedom) * spread / sqrt(len(values))
        if isfinite(half):
            axes.plot([scores.mean - half, scores.mean + half], [place, place], color=colour, linewidth=2)
        axes.plot(values, [place] * len(values), "|", color=theme.soft_ink, markersize=9)
        axes.plot([scores.mean], [place], "o", color=colour, markersize=6)
    names = [plain_text(", ".join(cell.factors.values()), 60) for cell, _ in cells]
    axes.set_yticks(range(len(cells)), names)
    axes.set_ylim(len(cells) - 0.4, -0.6)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None, symbol=" %"))
    axes.grid(axis="x", color=theme.rule, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(theme.soft_ink)
    axes.tick_params(colors=theme.soft_ink, labelsize=TEXT_SIZE, labelfontfamily=FONT, length=0)
    title = f"{results.experiment.header.title}: {measure.title}"
    style = {"fontsize": TEXT_SIZE + 1, "fontweight": "bold", "color": theme.ink, "family": FONT}
    figure.suptitle("\n".join(wrap(title, 70)), x=0.01, ha="left", **style)
    return figure
