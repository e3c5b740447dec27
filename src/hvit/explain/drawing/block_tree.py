"""Draws the tree of blocks: small pictures of the image's parts with a value for each class, joined by lines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyBboxPatch, PathPatch, Rectangle
from matplotlib.path import Path as Curve

from hvit.explain.drawing.canvas import PALETTE, blend, readable_on, show, theme, write_text
from hvit.explain.drawing.layout import (
    Block,
    Box,
    Point,
    block_value,
    classes_along,
    curve,
    place_blocks,
    regions_of,
    share_of_peak,
)
from hvit.explain.tree import DEPTHS, Tree
from hvit.explain.words import TIMES, method_of, number_writer

PITCH, FAMILY_GAP = 0.415, 0.14
QUARTER = 4 * PITCH + FAMILY_GAP
TREE_WIDTH = 4 * QUARTER - FAMILY_GAP
THUMBNAILS, CELLS = (0.95, 0.74, 0.37), (0.6, 0.5, 0.375)
FONT_SIZES, ROW_HEIGHTS = (8.5, 8.0, 6.6), (0.19, 0.18, 0.15)
EDGE_HEIGHT = 0.5
THINNEST, THICKEST = 0.5, 4.0  # lines of the tree, by value, in points
MEANING = (
    f"Evidence for the class in each block: feature {TIMES}",
    "gradient of the logit, summed. The quadrants add up",
    "to the whole image. Thick coloured lines follow the",
    "largest child from step to step.",
)
REMOVED = (
    "What each block adds to the class's logit: the mean",
    "change when it is added to the other blocks. Blocks",
    "add up to the block that they are parts of. Thick",
    "coloured lines follow blocks that stand out.",
)
AGAINST = ("A control: the sign is flipped, so that values and", "lines show negative evidence for the class.")


def by_depth(values: Sequence[float], depth: int) -> float:
    """A size that shrinks with depth; the last one holds for everything deeper."""
    return values[min(depth, len(values) - 1)]


def draw_tree(
    axes: Axes,
    pixels: np.ndarray,
    trees: Sequence[Tree],
    left: float,
    top: float,
    cards: Sequence[float],
    shape: tuple[float, float],
) -> None:
    """Draws the tree: each shown block as a small picture with one value per class below it, joined by lines.

    left, top: the tree's corner; cards: height of a block's picture and values, by depth; shape: width and height of
    the image relative to its longer side. All in inches.
    """
    write_text(axes, left, top, method_of(trees[0].method).title, 11, weight="bold", va="top")
    for number, line in enumerate(meaning_of(trees[0])):
        write_text(axes, left, top + 0.27 + 0.15 * number, line, 7.2, color=theme().soft_ink, va="top")
    places = {path: left + TREE_WIDTH / 2 + x for path, x in place_blocks(trees, PITCH, FAMILY_GAP).items()}
    writers = depth_writers(trees, places)
    for number, line in enumerate(factor_words(writers)):
        y = top + 0.05 + 0.15 * number
        write_text(axes, left + TREE_WIDTH, y, line, 7.2, color=theme().soft_ink, ha="right", va="top")
    tops = [top + sum(cards[:depth]) + EDGE_HEIGHT * depth for depth in range(len(cards))]
    groups = [classes_along(trees, depth) for depth in range(len(cards))]
    regions = regions_of(trees[0])
    for path, x in places.items():
        depth, y = len(path), tops[len(path)]
        group = groups[depth].get(path, [])
        if path:
            start = places[path[:-1]], tops[depth - 1] + cards[depth - 1] + 0.03
            draw_edges(axes, start, (x, y - 0.03), [(number, share_of_peak(trees[number], path)) for number in group])
        width, height = by_depth(THUMBNAILS, depth) * shape[0], by_depth(THUMBNAILS, depth) * shape[1]
        part = cut(pixels, regions[path], trees[0].image_size)
        show(
            axes,
            part if group else 0.6 * np.array(to_rgb(theme().paper)) + 0.4 * part,
            (x - width / 2, y, width, height),
            zorder=4,
        )
        for rank, number in enumerate(group if path else ()):
            draw_border(axes, (x - width / 2, y, width, height), PALETTE[number], 2.0 / 72 * rank)
        for number, tree in enumerate(trees):
            row = by_depth(ROW_HEIGHTS, depth)
            strength = 1.0 if number in group else 0.07 + 0.3 * share_of_peak(tree, path)
            cell = (x, y + height + 0.07 + row * number, by_depth(CELLS, depth), row - 0.02)
            fill, value = blend(PALETTE[number], strength), writers[depth][0](block_value(tree, path))
            draw_value(axes, cell, value, by_depth(FONT_SIZES, depth), fill, number in group)


def meaning_of(tree: Tree) -> tuple[str, ...]:
    """What the values of a tree are, in short lines."""
    return REMOVED if tree.removal else MEANING if tree.sign == 1 else AGAINST


def depth_writers(trees: Sequence[Tree], blocks: Iterable[Block]) -> list[tuple[Callable[[float], str], str]]:
    """How to write the values of each depth, and the factor of all of them ("" for none); see `number_writer`.

    Depths have factors of their own: features of different levels differ in size. The whole image has its quadrants'.
    """
    values: defaultdict[int, list[float]] = defaultdict(list)
    for block in blocks:
        values[max(len(block) - 1, 0)] += [block_value(tree, block) for tree in trees]
    writers = [number_writer(values[depth]) for depth in sorted(values)]
    return writers[:1] + writers


def factor_words(writers: Sequence[tuple[Callable[[float], str], str]]) -> list[str]:
    """What to say about the factors of the depths: nothing if no depth has one."""
    factors = [(DEPTHS.get(depth, f"{4**depth}ths"), factor) for depth, (_, factor) in enumerate(writers) if depth]
    return [f"{name} {factor}" for name, factor in factors if factor]


def draw_edges(axes: Axes, start: Point, end: Point, shares: Sequence[tuple[int, float]]) -> None:
    """Draws the line from a block down to its child: thin and grey, or one for each class whose path it is.

    shares: number of each class, and the child's value for it as a share of the largest of its depth.
    """

    def line(aside: float, **style: float | str) -> None:
        path = Curve(curve(start, end, aside), [Curve.MOVETO] + 3 * [Curve.CURVE4])
        axes.add_artist(PathPatch(path, fill=False, capstyle="butt", **style))

    if not shares:
        line(0.0, edgecolor=theme().rule, linewidth=0.8, zorder=2)
    widths = [2 * THINNEST + (THICKEST - THINNEST) * share for _, share in shares]
    for rank, ((number, _), width) in enumerate(zip(shares, widths, strict=True)):
        aside = (sum(widths[:rank]) + width / 2 - sum(widths) / 2) / 72
        line(aside, edgecolor=PALETTE[number], linewidth=width, zorder=3)


def draw_border(axes: Axes, box: Box, colour: str, outside: float) -> None:
    """Draws a frame around a small picture, `outside` inches away from it."""
    left, top, width, height = box
    corner, across, down = (left - outside, top - outside), width + 2 * outside, height + 2 * outside
    axes.add_artist(Rectangle(corner, across, down, fill=False, edgecolor=colour, linewidth=2.0, zorder=5))


def cut(pixels: np.ndarray, region: tuple[int, int, int, int], image_size: tuple[int, int]) -> np.ndarray:
    """The part of a picture of any resolution at a region in pixels of the model's input (height, width)."""
    (left, top, right, bottom), (rows, columns) = region, pixels.shape[:2]
    height, width = image_size
    down, across = (
        slice(top * rows // height, -(-bottom * rows // height)),
        slice(left * columns // width, -(-right * columns // width)),
    )
    return pixels[down, across]


def draw_value(axes: Axes, box: Box, text: str, size: float, fill: tuple[float, float, float], bold: bool) -> None:
    """Writes a number in a rounded, filled cell; box: (horizontal centre, top, width, height)."""
    x, top, width, height = box
    rounded = "round,pad=0,rounding_size=0.03"
    corner = (x - width / 2, top)
    cell = FancyBboxPatch(corner, width, height, boxstyle=rounded, facecolor=fill, edgecolor="none", zorder=4)
    axes.add_artist(cell)
    weight = "bold" if bold else "normal"
    write_text(axes, x, top + height / 2, text, size, ha="center", color=readable_on(fill), weight=weight)
