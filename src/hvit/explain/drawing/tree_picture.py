"""Draws explanations: the image with the decisive blocks, and the tree of blocks next to it.

The picture follows the figures of the NesT authors (arXiv 2105.12723; Google AI blog, 2022-02-09): one colour per
class, a path of nested squares on the image, and a tree with a value in every node.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path as Curve

from hvit.errors import UserError
from hvit.explain.captions import COLOURS, NameOf, before_words, namer, without_words
from hvit.explain.drawing.block_tree import EDGE_HEIGHT, ROW_HEIGHTS, THUMBNAILS, TREE_WIDTH, by_depth, draw_tree
from hvit.explain.drawing.canvas import (
    INK,
    PALETTE,
    Picture,
    disc,
    outlined,
    page,
    picture_pixels,
    show,
    theme,
    tinted,
    write_name,
    write_text,
)
from hvit.explain.drawing.layout import (
    Box,
    Point,
    beside,
    boxes_of,
    centre_of,
    check_trees,
    classes_along,
    families,
    inside,
    leaf_mark,
)
from hvit.explain.tree import Tree
from hvit.explain.words import logit_words, percent

MARGIN, GUTTER, LEGEND_ROW, CAPTION_ROW = 0.18, 0.42, 0.27, 0.17  # inches
PATH_LINE, HALO = 1.7, 0.9  # points


def draw_trees(
    image: Picture,
    trees: Sequence[Tree],
    class_names: Sequence[str] | None = None,
    probabilities: Sequence[float] | None = None,
    *,
    all_names: Sequence[str] = (),
    dpi: int = 200,
) -> Figure:
    """Draws the explanations of up to four classes: their blocks on the image, and the tree with all values next to it.

    The tree shows all quadrants and all sixteenths; deeper, the children of the blocks on a path. A path of block
    Shapley is drawn as far as its blocks stand out (`Tree.clear_path`); of one class alone, the blocks of the image are
    blue where they are positive evidence, and red where negative.

    Args:
        image: The model's input before normalisation: a PIL image, or an array (height, width) or (height, width,
            channels) of bytes or of numbers from 0 to 1; any resolution with the same aspect ratio.
        trees: Of this image, one per class.
        class_names: One per tree; default: the class indices.
        probabilities: One per tree, from 0 to 1.
        all_names: The names of all classes of the model, for what it predicts without blocks; default: their numbers.
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
        for depth in range(len(families(trees)) + 1)
    ]
    tree_height = sum(cards) + EDGE_HEIGHT * (len(cards) - 1)
    rows_below = LEGEND_ROW + CAPTION_ROW * (trees[0].removal is not None)
    notes = CAPTION_ROW * 2 * (trees[0].removal is not None)
    legend_height = 0.14 + rows_below * len(trees) + notes
    side = min(max(tree_height - legend_height, 3.4), 4.2)
    width, image_height = side * shape[0], side * shape[1]
    height = max(image_height + legend_height, tree_height)
    left = MARGIN + max(width, 2.6) + GUTTER
    figure, axes = page(left + TREE_WIDTH + MARGIN, height + 2 * MARGIN, dpi)
    colour = len(trees) == 1 and trees[0].removal is not None
    shown = tinted(pixels, trees[0].block_map) if colour else pixels
    draw_paths(axes, shown, trees, (MARGIN, MARGIN, width, image_height))
    name_of = namer(tuple(names), list(trees), tuple(all_names))
    draw_legend(axes, trees, names, probabilities, name_of, MARGIN + image_height + 0.14, max(width, 2.6))
    if trees[0].removal is not None:
        top = MARGIN + image_height + 0.14 + rows_below * len(trees)
        lines = [f"{before_words(trees[0], name_of)}.".capitalize(), COLOURS if colour else ""]
        for number, line in enumerate(filter(None, lines)):
            y = top + CAPTION_ROW * (number + 0.5)
            write_name(axes, MARGIN, y, line, 7.2, max(width, 2.6) + GUTTER / 2, color=theme().soft_ink)
    draw_tree(axes, pixels, trees, left, MARGIN, cards, shape)
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
            if path == trees[number].clear_path:
                x, y, radius = leaf_mark(start, end, rank, least=0.06, most=0.1)
                draw_line(axes, start, (x, y), PALETTE[number])
                disc(axes, x, y, PALETTE[number], radius, str(number + 1) if len(trees) > 1 else "")
            else:
                aside = (PATH_LINE + HALO) / 72 * (rank - (len(group) - 1) / 2)
                draw_line(axes, *beside(start, end, aside), PALETTE[number])
        if any(path != trees[number].clear_path for number in group):
            disc(axes, *end, "white", 0.05 - 0.008 * len(path), rim=INK)
    disc(axes, *centre_of(box), "white", 0.05, rim=INK)


def draw_image(axes: Axes, pixels: np.ndarray, box: Box) -> None:
    """Draws an image that frames will be drawn on; an edge keeps its outermost pixels from showing next to them."""
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
    name_of: NameOf,
    top: float,
    width: float,
) -> None:
    """Writes each class below the image: colour, name, logit and probability, and the prediction without a block."""
    row = LEGEND_ROW + CAPTION_ROW * (trees[0].removal is not None)
    for number, (tree, name) in enumerate(zip(trees, names, strict=True)):
        y, end = top + row * number + LEGEND_ROW / 2, MARGIN + width
        if tree.removal is not None:
            text = without_words(tree, name_of)
            write_name(axes, MARGIN + 0.28, y + 0.2, text, 7.0, width - 0.28 + 0.8 * GUTTER, color=theme().soft_ink)
        disc(axes, MARGIN + 0.1, y, PALETTE[number], 0.1, str(number + 1) if len(trees) > 1 else "")
        if probabilities is not None:
            write_text(axes, end, y, percent(probabilities[number]), 10, ha="right")
            end -= 0.7
        write_text(axes, end, y, logit_words(tree.logit), 7.5, ha="right", color=theme().soft_ink)
        end -= 0.85
        write_name(axes, MARGIN + 0.28, y, name, 10, end - MARGIN - 0.28)
