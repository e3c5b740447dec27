"""The one style of all figures: colours, letters, axes, and how a figure becomes a file."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache
from io import BytesIO

import matplotlib
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hvit.markup import shown

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


def new_figure(width: float, height: float, theme: Theme) -> Figure:
    """An empty figure of a width and a height in inches."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor=theme.paper)
    FigureCanvasAgg(figure)
    return figure


def style_axes(axes: Axes, theme: Theme, title: str) -> None:
    """Gives axes their title, colours and letters."""
    axes.set_facecolor(theme.paper)
    axes.set_title(title, loc="left", fontsize=TEXT_SIZE + 1, fontweight="bold", color=theme.ink, family=FONT)
    axes.grid(color=theme.rule, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(theme.soft_ink)
    axes.tick_params(colors=theme.soft_ink, labelsize=TEXT_SIZE, length=0)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=theme.soft_ink, fontsize=TEXT_SIZE, family=FONT)


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


def is_drawable(text: str) -> bool:
    """Whether the font has every letter of a string that is not empty."""
    letters = _one_line(text).strip()
    return bool(letters) and all(ord(letter) in _font_letters() for letter in letters)


def _one_line(text: str) -> str:
    return "".join(" " if unicodedata.category(letter).startswith("Z") else letter for letter in shown(text))


@cache
def _font_letters() -> frozenset[int]:
    return frozenset(font_manager.get_font(font_manager.findfont(FONT)).get_charmap())


def percent(share: float) -> str:
    """A share as it is written in a chart."""
    return f"{100 * share:.1f} %"
