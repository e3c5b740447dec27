"""Draws a sheet that compares methods: a row for each class of an image, a column for each method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hvit.errors import UserError
from hvit.explain.drawing.canvas import (
    PALETTE,
    Picture,
    disc,
    heat_colours,
    heats,
    overlay,
    page,
    picture_pixels,
    show,
    theme,
    tinted,
    write_name,
    write_text,
)
from hvit.explain.drawing.layout import Box, boxes_of, check_trees
from hvit.explain.drawing.tree_picture import draw_frame, draw_image
from hvit.explain.tree import Tree
from hvit.explain.words import method_of, number_writer, percent

SIDE, SPACE, MARGIN = 1.75, 0.1, 0.18  # inches
LABEL, HEAD, RANGE, SCALE = 1.45, 0.32, 0.2, 0.34


def draw_comparison(
    image: Picture,
    maps: Mapping[str, Sequence[np.ndarray]],
    class_names: Sequence[str],
    probabilities: Sequence[float] | None = None,
    *,
    trees: Sequence[Tree] | None = None,
    dpi: int = 200,
) -> Figure:
    """Draws what several methods say about up to four classes of one image.

    image: as in `draw_trees`. maps: for each method ("cam", "gradcam", "gradcam++", "rollout", or any other name) one
    map (rows, columns) a class; the maps of a method share one scale (`heats`), and the range of each is written below.
    class_names, probabilities (0 to 1): one per class. trees: one per class, whose path and blocks become the first
    column; without them it is the image. dpi: pixels per inch.
    Raises UserError for no or more than four classes, lists of other lengths, or trees that do not fit the image.
    """
    pixels, count = picture_pixels(image), len(class_names)
    if not 1 <= count <= len(PALETTE):
        raise UserError(f"a comparison shows 1 to {len(PALETTE)} classes, got {count}")
    for given, what in (*((values, f"maps {name}") for name, values in maps.items()), (probabilities, "probabilities")):
        if given is not None and len(given) != count:
            raise UserError(f"give one of the {what} per class: got {len(given)} for {count} classes")
    if trees is not None:
        if len(trees) != count:
            raise UserError(f"give one tree per class: got {len(trees)} for {count} classes")
        check_trees(pixels.shape[:2], trees)
    longest = max(pixels.shape[:2])
    width, height = SIDE * pixels.shape[1] / longest, SIDE * pixels.shape[0] / longest
    lefts = [MARGIN + LABEL + (width + SPACE) * column for column in range(1 + len(maps))]
    tops = [MARGIN + HEAD + (height + RANGE) * row for row in range(count)]
    figure, axes = page(lefts[-1] + width + MARGIN, tops[-1] + height + RANGE + SCALE * bool(maps), dpi)

    titles = ["Image" if trees is None else method_of(trees[0].method).title, *(method_of(name).title for name in maps)]
    for left, title in zip(lefts, titles, strict=True):
        write_name(axes, left, MARGIN + 0.1, title, 10, width, weight="bold")
    for row, top in enumerate(tops):
        share = None if probabilities is None else probabilities[row]
        draw_label(axes, top + height / 2, row, class_names[row], share)
        draw_path(axes, pixels, (lefts[0], top, width, height), PALETTE[row], None if trees is None else trees[row])
        for left, values in zip(lefts[1:], maps.values(), strict=True):
            draw_map(axes, pixels, values[row], heats(values)[row], (left, top, width, height))
    if maps:
        draw_scale(axes, lefts[0], tops[-1] + height + RANGE + 0.08)
    return figure


def draw_label(axes: Axes, y: float, number: int, name: str, probability: float | None) -> None:
    """Writes a class left of its row: its disc, its name, and its probability."""
    disc(axes, MARGIN + 0.1, y, PALETTE[number], 0.1, str(number + 1))
    write_name(axes, MARGIN + 0.28, y, name, 10, LABEL - 0.38)
    if probability is not None:
        write_text(axes, MARGIN + 0.28, y + 0.19, percent(probability), 8, color=theme().soft_ink)


def draw_path(axes: Axes, pixels: np.ndarray, box: Box, colour: str, tree: Tree | None) -> None:
    """Draws the image at a box, and the nested squares of a tree's path."""
    draw_image(axes, pixels if tree is None or tree.removal is None else tinted(pixels, tree.block_map), box)
    if tree is not None:
        boxes = boxes_of(tree, box)
        for step in range(1, len(tree.clear_path) + 1):
            draw_frame(axes, boxes[tree.clear_path[:step]], colour, 1.2 + 0.4 * step)


def draw_map(axes: Axes, pixels: np.ndarray, values: np.ndarray, heat: np.ndarray, box: Box) -> None:
    """Draws a map over the image at a box, and writes its range below."""
    left, top, width, height = box
    show(axes, overlay(pixels, heat), box)
    low, high = float(np.min(values)), float(np.max(values))
    write, factor = number_writer([low, high])
    write_text(
        axes,
        left + width,
        top + height + 0.09,
        f"{write(low)} to {write(high)} {factor}",
        6.5,
        ha="right",
        color=theme().soft_ink,
    )


def draw_scale(axes: Axes, left: float, top: float) -> None:
    """Draws what the colours of maps mean."""
    colours, _ = heat_colours(np.linspace(0.0, 1.0, 256)[None])
    write_text(axes, left, top + 0.05, "least", 7.5, color=theme().soft_ink)
    show(axes, colours, (left + 0.36, top, 0.9, 0.1))
    write_text(axes, left + 1.33, top + 0.05, "most, of each method", 7.5, color=theme().soft_ink)
