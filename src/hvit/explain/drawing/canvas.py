"""A page measured in inches, and the few things that pictures of explanations are drawn with.

Everything goes through Figure objects alone: no display, and none of matplotlib's global state.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from io import BytesIO
from math import ceil
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.text import Text
from PIL import Image

from hvit.errors import UserError
from hvit.explain.drawing.layout import Box
from hvit.explain.methods.cam import upsample
from hvit.explain.tree import NEGATIVE, POSITIVE
from hvit.files import replacing
from hvit.markup import DARK_PICTURES
from hvit.pictures import BLUE, DARK, FONT, GREEN, ORANGE, PURPLE, Theme, plain_text

PALETTE = (BLUE, ORANGE, GREEN, PURPLE)
INK = "#1f1f1f"
LIGHT_SHEET = Theme("#ffffff", INK, "#666666", "#c9c9c9", PALETTE)
DARK_SHEET = Theme(DARK.paper, DARK.ink, DARK.soft_ink, "#4a5868", PALETTE)
GREY, STRENGTH = 0.75, 0.75  # of pictures under maps: how bright, and the most a map covers
TINT = 0.7  # of pictures under evidence: the most that a block is covered

Picture = Image.Image | np.ndarray

_theme = ContextVar("theme", default=LIGHT_SHEET)


def theme() -> Theme:
    """The colours of what is drawn now: those of a white sheet, or of a dark one (see `save_in_both_themes`)."""
    return _theme.get()


class TextStyle(TypedDict, total=False):
    """How words are written, by matplotlib's names: colour, weight, alignment, and what lies over what."""

    color: str
    weight: str
    ha: str
    va: str
    zorder: float


class Drawing(Figure):
    """A figure that shows itself in notebooks, with or without matplotlib's own display there."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """The picture as a PNG file, shown at half its pixels so that it is crisp on fine screens."""
        content = BytesIO()
        self.savefig(content, transparent=False, **_settings(self, "png"))
        width, height = (round(self.dpi * inches / 2) for inches in self.get_size_inches())
        return content.getvalue(), {"width": width, "height": height}


def _settings(figure: Figure, kind: str) -> dict[str, object]:
    """Every setting of a saved picture but transparency, so that the user's own for matplotlib cannot change it."""
    plain = {"dpi": figure.dpi, "bbox_inches": figure.bbox_inches, "edgecolor": "none"}
    plain["facecolor"] = figure.get_facecolor()
    # Twice as fast as the usual level, for files 6 % larger; writing takes as long as drawing.
    packed = {"pil_kwargs": {"compress_level": 4}} if kind == "png" else {}
    return {"format": kind, **plain, **packed}


def page(width: float, height: float, dpi: int) -> tuple[Figure, Axes]:
    """An empty figure of width x height inches, and axes over all of it: inches, from the top-left corner."""
    figure = Drawing(figsize=(width, height), dpi=dpi, facecolor=theme().paper)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    return figure, axes


def picture_pixels(image: Picture) -> np.ndarray:
    """The colours of a picture as (height, width, 3) numbers from 0 to 1.

    image: a PIL image, or an array (height, width) or (height, width, 1 or 3 channels) of bytes or of numbers from 0
    to 1. Raises UserError for anything else, such as the normalised numbers a model is fed with.
    """
    pixels = np.asarray(image.convert("RGB") if isinstance(image, Image.Image) else image)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
        raise UserError(
            "a picture to draw on must be (height, width) or (height, width, 1 or 3 channels), "
            f"got an array of shape {pixels.shape}"
        )
    pixels = pixels / 255.0 if pixels.dtype == np.uint8 else pixels.astype(np.float64)
    if not (pixels.min() >= 0 and pixels.max() <= 1):
        raise UserError(
            "a picture to draw on must hold bytes or numbers from 0 to 1, "
            f"got {pixels.min():.3g} to {pixels.max():.3g}; give the image as it was before normalisation"
        )
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3))


def show(axes: Axes, pixels: np.ndarray, box: Box, zorder: float = 1) -> None:
    """Draws pixels (height, width, 3), from 0 to 1, at box (left, top, width, height); few pixels stay squares."""
    left, top, width, height = box
    limits = axes.get_xlim(), axes.get_ylim()
    sharp = "nearest" if max(pixels.shape[:2]) <= 64 else "catrom"
    axes.imshow(
        pixels, extent=(left, left + width, top + height, top), aspect="auto", interpolation=sharp, zorder=zorder
    )
    axes.set(xlim=limits[0], ylim=limits[1])


def write_text(axes: Axes, x: float, y: float, text: str, size: float, **style: Unpack[TextStyle]) -> Text:
    """Writes one line of the library's own words; size: points. Words of the user go through `write_name`."""
    chosen: TextStyle = {"color": theme().ink, "va": "center_baseline", "zorder": 8, **style}
    return axes.text(x, y, text, fontsize=size, family=FONT, usetex=False, **chosen)


def write_name(
    axes: Axes, x: float, y: float, name: str, size: float, width: float, **style: Unpack[TextStyle]
) -> None:
    """Writes a name of the user, such as a class's, on one line and shortened to at most `width` inches."""
    text = write_text(axes, x, y, "", size, **style)
    figure = text.get_figure(root=True)
    assert figure is not None

    def inches(length: int) -> float:
        text.set_text(plain_text(name, length))
        return text.get_window_extent(dpi=figure.dpi).width / figure.dpi

    longest = bisect(range(1, min(len(name), 100) + 1), width, key=inches)
    text.set_text(plain_text(name, max(longest, 1)))


def disc(axes: Axes, x: float, y: float, colour: str, radius: float, label: str = "", rim: str = "white") -> None:
    """A filled circle with a rim, and a character in it."""
    axes.add_artist(Circle((x, y), radius, facecolor=colour, edgecolor=rim, linewidth=1.0, zorder=7))
    if label:
        write_text(axes, x, y, label, 82 * radius, ha="center", weight="bold", color=readable_on(colour))


def outlined(
    axes: Axes, make: Callable[..., Artist], colour: str, width: float, halo: float, zorder: float = 5
) -> None:
    """Draws a line over a white halo.

    make: builds the line from matplotlib's style keywords. width, halo (added on both sides): points.
    """
    style: dict[str, object] = {"fill": False, "capstyle": "butt", "joinstyle": "miter"}
    axes.add_artist(make(edgecolor="white", linewidth=width + 2 * halo, zorder=zorder, **style))
    axes.add_artist(make(edgecolor=colour, linewidth=width, zorder=zorder + 0.1, **style))


def blend(colour: str, strength: float) -> tuple[float, float, float]:
    """A colour mixed with that of the paper: strength 1 is the colour, 0 is the paper."""
    pairs = zip(to_rgb(colour), to_rgb(theme().paper), strict=True)
    red, green, blue = (paper - strength * (paper - part) for part, paper in pairs)
    return red, green, blue


def readable_on(colour: str | tuple[float, float, float]) -> str:
    """Dark or white, whichever is read better on a colour (relative luminance of WCAG 2)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    return INK if float(np.dot(linear, (0.2126, 0.7152, 0.0722))) > 0.2 else "white"


def heat_colours(heat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Red, green and blue of heat from 0 to 1 (any shape, then 3), and how much of it to lay over a grey picture."""
    return colormaps["inferno"](heat)[..., :3], 0.2 + 0.8 * heat


def heats(maps: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Maps of one method for the classes of one image, as heat from 0 to 1 on one scale.

    0 is the least value of all maps. 1 is the largest, if the maps range over as much as their largest value; the less
    they range over, the darker their heat stays: a flat map looks flat.
    """
    low, high = min(float(np.min(one)) for one in maps), max(float(np.max(one)) for one in maps)
    scale = max(high - low, abs(high), abs(low)) if high > low else 1.0
    return [(one - low) / scale for one in maps]


def overlay(pixels: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Heat (rows, columns) from 0 to 1 over a picture (height, width, 3) that became grey and darker; see `heats`."""
    grey = GREY * enlarge(pixels @ np.array([[0.299], [0.587], [0.114]]), 256)
    colours, strength = heat_colours(np.clip(upsample(heat, grey.shape[:2]), 0.0, 1.0))
    strength = STRENGTH * strength[..., None]
    return grey * (1 - strength) + colours * strength


def tinted(pixels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A picture (height, width, 3) that became grey, with its blocks in the colours of their evidence.

    values: (rows, columns), a block each; the largest magnitude has the strongest colour, others in proportion.
    """
    grey = np.repeat(0.25 + GREY * enlarge(pixels @ np.array([[0.299], [0.587], [0.114]]), 256), 3, axis=2)
    rows, columns = (np.arange(side) * parts // side for side, parts in zip(grey.shape, values.shape, strict=False))
    shares = np.nan_to_num(values / max(float(np.nanmax(np.abs(values))), np.finfo(float).tiny))[rows[:, None], columns]
    colours = np.where(shares[..., None] > 0, to_rgb(POSITIVE), to_rgb(NEGATIVE))
    strength = TINT * np.abs(shares)[..., None]
    return grey * (1 - strength) + colours * strength


def enlarge(pixels: np.ndarray, least: int) -> np.ndarray:
    """Repeats the pixels of a small picture (height, width, channels) until its longer side has `least` pixels."""
    times = max(1, ceil(least / max(pixels.shape[:2])))
    return pixels.repeat(times, axis=0).repeat(times, axis=1)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Writes a figure to a file, which appears complete or not at all.

    Args:
        figure: A matplotlib figure.
        path: Its suffix sets the format (.png, .pdf, .svg, ...). Missing folders are created.

    Raises:
        UserError: For an unknown suffix or a path that cannot be written.
    """
    path = Path(path)
    ending, known = path.suffix.lower().removeprefix("."), sorted(figure.canvas.get_supported_filetypes())
    if ending not in known:
        raise UserError(f"{path}: cannot write a picture ending in {path.suffix!r}; use one of {', '.join(known)}")
    with replacing(path) as file:
        figure.savefig(file, transparent=False, **_settings(figure, ending))


def save_in_both_themes(draw: Callable[[Theme], Figure], path: Path) -> None:
    """Writes a figure for light pages to a PNG file, and the same for dark pages in a folder next to it.

    draw: makes the figure in the colours of a theme. What draws on a `page` takes the colours from there.
    """
    for sheet, place in ((LIGHT_SHEET, path), (DARK_SHEET, path.parent / DARK_PICTURES / path.name)):
        token = _theme.set(sheet)
        try:
            save_figure(draw(sheet), place)
        finally:
            _theme.reset(token)
