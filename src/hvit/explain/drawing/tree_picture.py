"""Draws explanations: the image with the decisive blocks beside the tree of blocks, and activation maps over the image.

The tree picture follows the figures of the NesT authors (arXiv 2105.12723; Google AI blog, 2022-02-09): one colour per
class, a path of nested squares on the image, and a tree with a value in every node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch, Rectangle
from matplotlib.path import Path as Curve

from hvit.errors import UserError
from hvit.explain.drawing.canvas import (
    INK,
    PALETTE,
    Picture,
    blend,
    disc,
    heat_colours,
    outlined,
    overlay,
    page,
    picture_pixels,
    readable_on,
    show,
    theme,
    write_name,
    write_text,
)
from hvit.explain.drawing.layout import (
    Block,
    Box,
    Point,
    beside,
    block_value,
    boxes_of,
    centre_of,
    check_trees,
    classes_along,
    curve,
    inside,
    leaf_mark,
    place_blocks,
    regions_of,
    share_of_peak,
)
from hvit.explain.tree import Tree
from hvit.explain.words import TIMES, logit_words, number_writer, percent

MARGIN, GUTTER = 0.18, 0.42
PITCH, FAMILY_GAP = 0.415, 0.14
QUARTER = 4 * PITCH + FAMILY_GAP
TREE_WIDTH = 4 * QUARTER - FAMILY_GAP
THUMBNAILS, CELLS = (0.95, 0.74, 0.37), (0.6, 0.5, 0.375)
FONT_SIZES, ROW_HEIGHTS = (8.5, 8.0, 6.6), (0.19, 0.18, 0.15)
EDGE_HEIGHT, LEGEND_ROW = 0.5, 0.27
PATH_LINE, HALO = 1.7, 0.9  # points
THINNEST, THICKEST = 0.5, 4.0  # lines of the tree, by value, in points
MEANING = (
    f"Evidence for the class in each block: feature {TIMES}",
    "gradient of the logit, summed. The quadrants add up",
    "to the whole image. Thick coloured lines follow the",
    "largest child from step to step.",
)
AGAINST = ("A control: the sign is flipped, so that values and", "lines show what speaks against the class.")


def draw_trees(
    image: Picture,
    trees: Sequence[Tree],
    class_names: Sequence[str] | None = None,
    probabilities: Sequence[float] | None = None,
    *,
    dpi: int = 200,
) -> Figure:
    """Draws the explanations of up to four classes: their blocks on the image, and the tree with all values next to it.

    The tree shows all quadrants and all sixteenths; deeper, the children of the blocks on a path.

    Args:
        image: The model's input before normalisation: a PIL image, or an array (height, width) or (height, width,
            channels) of bytes or of numbers from 0 to 1; any resolution with the same aspect ratio.
        trees: Of this image, one per class.
        class_names: One per tree; default: the class indices.
        probabilities: One per tree, from 0 to 1.
        dpi: Pixels per inch of the saved picture, which is about 11 inches wide.

    Raises:
        UserError: For no or more than four trees, trees of different models, or lists of other lengths.
    """
    pixels = picture_pixels(image)
    names = check_request(pixels, trees, class_names, probabilities)
    rows, columns = pixels.shape[:2]
    shape = min(1.0, columns / rows), min(1.0, rows / columns)
    cards = [
        by_depth(THUMBNAILS, depth) * shape[1] + 0.04 + len(trees) * by_depth(ROW_HEIGHTS, depth)
        for depth in range(trees[0].depth + 1)
    ]
    tree_height = sum(cards) + EDGE_HEIGHT * trees[0].depth
    legend_height = 0.14 + LEGEND_ROW * len(trees)
    side = min(max(tree_height - legend_height, 3.4), 4.2)
    width, image_height = side * shape[0], side * shape[1]
    height = max(image_height + legend_height, tree_height)
    left = MARGIN + max(width, 2.6) + GUTTER
    figure, axes = page(left + TREE_WIDTH + MARGIN, height + 2 * MARGIN, dpi)
    draw_paths(axes, pixels, trees, (MARGIN, MARGIN, width, image_height))
    draw_legend(axes, trees, names, probabilities, MARGIN + image_height + 0.14, max(width, 2.6))
    draw_tree(axes, pixels, trees, left, MARGIN, cards, shape)
    return figure


def draw_cam(
    image: Picture,
    activation_map: np.ndarray,
    class_name: str | None = None,
    probability: float | None = None,
    *,
    dpi: int = 200,
) -> Figure:
    """Draws a class activation map over its image, next to the image alone.

    Args:
        image: As in `draw_trees`.
        activation_map: (rows, columns), as `class_activation_map` returns it. Brighter positions add more to the logit.
        class_name: Written below the map.
        probability: From 0 to 1, written below the map.
        dpi: Pixels per inch.
    """
    pixels = picture_pixels(image)
    rows, columns = pixels.shape[:2]
    width, height = 3.4 * min(1.0, columns / rows), 3.4 * min(1.0, rows / columns)
    right = MARGIN + width + 0.15
    bar, bottom = right + width + 0.12, MARGIN + height
    figure, axes = page(bar + 0.8, bottom + 0.4, dpi)
    show(axes, pixels, (MARGIN, MARGIN, width, height))

    show(axes, overlay(pixels, activation_map), (right, MARGIN, width, height))

    scale, _ = heat_colours(np.linspace(1.0, 0.0, 256)[:, None])
    show(axes, scale, (bar, MARGIN, 0.11, height))
    low, high = float(np.min(activation_map)), float(np.max(activation_map))
    write, factor = number_writer([low, high])
    write_text(axes, bar + 0.17, MARGIN, write(high), 8, va="top")
    write_text(axes, bar + 0.17, MARGIN + height / 2, factor, 8)
    write_text(axes, bar + 0.17, bottom, write(low), 8, va="bottom")
    name_width = right + width - MARGIN
    if probability is not None:
        write_text(axes, right + width, bottom + 0.2, percent(probability), 10, ha="right")
        name_width -= 0.8
    if class_name is not None:
        write_name(axes, MARGIN, bottom + 0.2, class_name, 10, name_width)
    return figure


def check_request(
    pixels: np.ndarray,
    trees: Sequence[Tree],
    class_names: Sequence[str] | None,
    probabilities: Sequence[float] | None,
) -> list[str]:
    """The names to write, one per tree; raises UserError if the trees, names and image do not belong together."""
    if not 1 <= len(trees) <= len(PALETTE):
        raise UserError(f"a tree picture shows 1 to {len(PALETTE)} classes, got {len(trees)}")
    for given, what in ((class_names, "class names"), (probabilities, "probabilities")):
        if given is not None and len(given) != len(trees):
            raise UserError(f"give one of the {what} per tree: got {len(given)} for {len(trees)} trees")
    check_trees(pixels.shape[:2], trees)
    return [f"class {tree.class_index}" for tree in trees] if class_names is None else list(class_names)


def by_depth(values: Sequence[float], depth: int) -> float:
    """A size that shrinks with depth; the last one holds for everything deeper."""
    return values[min(depth, len(values) - 1)]


def draw_paths(axes: Axes, pixels: np.ndarray, trees: Sequence[Tree], box: Box) -> None:
    """Draws the image at box (left, top, width, height), every class's nested squares, and its line to the leaf."""
    draw_image(axes, pixels, box)
    boxes, depth = boxes_of(trees[0], box), trees[0].depth
    blocks = {path: group for step in range(depth) for path, group in classes_along(trees, step + 1).items()}
    for path, group in blocks.items():
        for rank, number in enumerate(group):
            draw_frame(axes, boxes[path], PALETTE[number], 0.9 + 0.8 * len(path), rank)
    for path, group in blocks.items():
        start, end = centre_of(boxes[path[:-1]]), centre_of(boxes[path])
        for rank, number in reversed(list(enumerate(group))):
            if len(path) == depth:
                x, y, radius = leaf_mark(start, end, rank, least=0.06, most=0.1)
                draw_line(axes, start, (x, y), PALETTE[number])
                disc(axes, x, y, PALETTE[number], radius, str(number + 1) if len(trees) > 1 else "")
            else:
                aside = (PATH_LINE + HALO) / 72 * (rank - (len(group) - 1) / 2)
                draw_line(axes, *beside(start, end, aside), PALETTE[number])
        if len(path) < depth:
            disc(axes, *end, "white", 0.05 - 0.008 * len(path), rim=INK)
    disc(axes, *centre_of(box), "white", 0.05, rim=INK)


def draw_image(axes: Axes, pixels: np.ndarray, box: Box) -> None:
    """Draws an image that frames will be drawn on; an edge keeps its outermost pixels from showing beside them."""
    show(axes, pixels, box)
    axes.add_artist(Rectangle(box[:2], *box[2:], fill=False, edgecolor=theme().paper, linewidth=2 * HALO, zorder=4))


def draw_line(axes: Axes, start: Point, end: Point, colour: str) -> None:
    """Draws a straight line."""
    outlined(axes, lambda **style: PathPatch(Curve([start, end]), **style), colour, PATH_LINE, HALO)


def draw_frame(axes: Axes, box: Box, colour: str, thickness: float, rank: int = 0) -> None:
    """Draws a frame inside a box, and inside the frames of lower rank; thickness: points, less in a tiny box."""
    thickness = min(thickness, 7.2 * min(box[2:]))
    left, top, width, height = inside(box, thickness / 72, HALO / 72, rank)
    outlined(axes, lambda **style: Rectangle((left, top), width, height, **style), colour, thickness, HALO)


def draw_legend(
    axes: Axes,
    trees: Sequence[Tree],
    names: Sequence[str],
    probabilities: Sequence[float] | None,
    top: float,
    width: float,
) -> None:
    """Writes one line per class below the image: its colour, name, logit and probability."""
    for number, (tree, name) in enumerate(zip(trees, names, strict=True)):
        y, end = top + LEGEND_ROW * (number + 0.5), MARGIN + width
        disc(axes, MARGIN + 0.1, y, PALETTE[number], 0.1, str(number + 1) if len(trees) > 1 else "")
        if probabilities is not None:
            write_text(axes, end, y, percent(probabilities[number]), 10, ha="right")
            end -= 0.7
        write_text(axes, end, y, logit_words(tree.logit), 7.5, ha="right", color=theme().soft_ink)
        end -= 0.85
        write_name(axes, MARGIN + 0.28, y, name, 10, end - MARGIN - 0.28)


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
    write_text(axes, left, top, "GradCAT", 11, weight="bold", va="top")
    for number, line in enumerate(MEANING if trees[0].sign == 1 else AGAINST):
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


def depth_writers(trees: Sequence[Tree], blocks: Iterable[Block]) -> list[tuple[Callable[[float], str], str]]:
    """How to write the values of each depth, and the factor of all of them ("" for none); see `number_writer`.

    Depths have factors of their own: features of different levels differ in size. The whole image has its quadrants'.
    """
    values: list[list[float]] = [[] for _ in range(trees[0].depth)]
    for block in blocks:
        values[max(len(block) - 1, 0)] += [block_value(tree, block) for tree in trees]
    writers = [number_writer(numbers) for numbers in values]
    return writers[:1] + writers


def factor_words(writers: Sequence[tuple[Callable[[float], str], str]]) -> list[str]:
    """What to say about the factors of the depths: nothing if no depth has one."""
    names = {1: "quadrants", 2: "sixteenths"}
    factors = [(names.get(depth, f"{4**depth}ths"), factor) for depth, (_, factor) in enumerate(writers) if depth]
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
