"""Draws explanations: the image with the decisive blocks beside the tree of blocks, and activation maps over the image.

The tree picture follows the figures of the NesT authors (arXiv 2105.12723; Google AI blog, 2022-02-09): one colour per
class, a path of nested squares on the image, and a tree with a value in every node.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import copysign
from statistics import mean

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch, Rectangle
from matplotlib.path import Path as Curve

from hvit.errors import UserError
from hvit.explain.cam import normalise, upsample
from hvit.explain.canvas import (
    INK,
    LINE,
    MINUS,
    MUTED,
    PALETTE,
    TIMES,
    Box,
    Picture,
    blend,
    disc,
    enlarge,
    number_writer,
    page,
    picture_pixels,
    readable_on,
    show,
    striped,
    write_name,
    write_text,
)
from hvit.explain.gradcat import Tree, region_of

MARGIN, GUTTER = 0.18, 0.42
PITCH, FAMILY_GAP = 0.415, 0.14
QUARTER = 4 * PITCH + FAMILY_GAP
TREE_WIDTH = 4 * QUARTER - FAMILY_GAP
THUMBNAILS, CELLS = (0.9, 0.7, 0.37), (0.6, 0.5, 0.375)
FONT_SIZES, ROW_HEIGHTS = (8.5, 8.0, 6.6), (0.19, 0.18, 0.15)
EDGE_HEIGHT, LEGEND_ROW = 0.45, 0.27
MEANING = (
    f"Evidence for the class in each block: feature {TIMES}",
    "gradient of the logit, summed. The quadrants add up",
    "to the root: the logit without its bias. Thick lines",
    "follow the largest child down to the decisive block.",
)
AGAINST = ("Control with the sign flipped: values and thick", "lines show what speaks against the class.")

Block = tuple[int, ...]


def draw_trees(
    image: Picture,
    trees: Sequence[Tree],
    class_names: Sequence[str] | None = None,
    probabilities: Sequence[float] | None = None,
    *,
    dpi: int = 200,
) -> Figure:
    """Draws why a model chose up to four classes: their blocks on the image, and beside it the tree with all values.

    image: what the model saw, before normalisation: a PIL image, or an array (height, width) or (height, width,
    channels) of bytes or of numbers from 0 to 1; any resolution of the same proportions. trees: of this image, one per
    class. class_names, probabilities (0 to 1): one per tree; without names the class index is written. dpi: pixels per
    inch of the saved picture, which is about 11 inches wide.
    The tree shows all quadrants and all sixteenths; deeper, the children of the blocks on a path.
    Raises UserError for no or more than four trees, trees of unlike models, or lists of other lengths.
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
    top = MARGIN + (height - image_height - legend_height) / 2
    draw_paths(axes, pixels, trees, (MARGIN, top, width, image_height))
    draw_legend(axes, trees, names, probabilities, top + image_height + 0.14, max(width, 2.6))
    top = MARGIN + (height - tree_height) / 2
    draw_tree(axes, pixels, trees, left, top, cards, shape)
    return figure


def draw_cam(
    image: Picture,
    activation_map: np.ndarray,
    class_name: str | None = None,
    probability: float | None = None,
    *,
    dpi: int = 200,
) -> Figure:
    """Draws a class activation map over the image it explains, with the image beside it.

    image: as in `draw_trees`. activation_map: (rows, columns), as `class_activation_map` gives it; the brighter, the
    more a place adds to the class's logit. class_name, probability (0 to 1): written below. dpi: pixels per inch.
    """
    pixels = picture_pixels(image)
    rows, columns = pixels.shape[:2]
    width, height = 3.4 * min(1.0, columns / rows), 3.4 * min(1.0, rows / columns)
    right = MARGIN + width + 0.15
    bar, bottom = right + width + 0.12, MARGIN + height
    figure, axes = page(bar + 0.8, bottom + 0.4, dpi)
    show(axes, pixels, (MARGIN, MARGIN, width, height))

    grey = enlarge(pixels @ np.array([[0.299], [0.587], [0.114]]), 256)
    heat = np.clip(normalise(upsample(activation_map, grey.shape[:2])), 0.0, 1.0)
    colours, strength = colormaps["inferno"](heat)[..., :3], 0.35 + 0.4 * heat[..., None]
    show(axes, grey * (1 - strength) + colours * strength, (right, MARGIN, width, height))

    scale = colormaps["inferno"](np.linspace(1.0, 0.0, 256)[:, None])[..., :3]
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
    kinds = {(tree.depth, tree.image_size, tree.sign) for tree in trees}
    if len(kinds) > 1:
        raise UserError("the trees of one picture must explain the same image with the same model and sign")
    (height, width), (rows, columns) = trees[0].image_size, pixels.shape[:2]
    if abs(rows * width - columns * height) > 0.02 * columns * height:
        raise UserError(
            f"the picture is {columns} x {rows} but the model saw {width} x {height} pixels: give the image as resized "
            "and cropped for the model"
        )
    return [f"class {tree.class_index}" for tree in trees] if class_names is None else list(class_names)


def percent(probability: float) -> str:
    """A probability from 0 to 1 as it is written beside a class."""
    return "< 0.1 %" if 0 < probability < 0.0005 else f"{100 * probability:.1f} %"


def by_depth(values: Sequence[float], depth: int) -> float:
    """A size that shrinks with depth; the last one holds for everything deeper."""
    return values[min(depth, len(values) - 1)]


def classes_along(trees: Sequence[Tree], depth: int) -> dict[Block, list[int]]:
    """Blocks on a path at this depth (0: the whole image), each with the numbers of the trees whose path it is on."""
    groups: dict[Block, list[int]] = {}
    for number, tree in enumerate(trees):
        groups.setdefault(tree.path[:depth], []).append(number)
    return groups


def draw_paths(axes: Axes, pixels: np.ndarray, trees: Sequence[Tree], box: Box) -> None:
    """Draws the image at box (left, top, width, height), every class's nested squares, and its line to the leaf."""
    show(axes, pixels, box)
    height, width = trees[0].image_size

    def square(path: Block) -> Box:
        left, top, right, bottom = region_of((height, width), path)
        across, down = box[2] / width, box[3] / height
        return box[0] + left * across, box[1] + top * down, (right - left) * across, (bottom - top) * down

    def centre(path: Block) -> tuple[float, float]:
        left, top, across, down = square(path)
        return left + across / 2, top + down / 2

    depth, halo = trees[0].depth, 0.8
    blocks = {path: group for step in range(depth) for path, group in classes_along(trees, step + 1).items()}
    for path, group in blocks.items():
        thickness = 0.9 + 0.8 * len(path)
        draw_frame(axes, square(path), (thickness / 2 + halo) / 72, group, thickness, halo)
    for path, group in blocks.items():
        if len(path) == depth:
            draw_leaf_marks(axes, centre(path[:-1]), centre(path), group, label=len(trees) > 1)
        else:
            draw_line(axes, centre(path[:-1]), centre(path), group)
            disc(axes, *centre(path), PALETTE[group[0]] if len(group) == 1 else INK, 0.055)
    disc(axes, *centre(()), "white", 0.05, rim=INK)


def draw_leaf_marks(
    axes: Axes, corner: tuple[float, float], centre: tuple[float, float], group: Sequence[int], label: bool
) -> None:
    """Draws one disc per class into a leaf of the path, close to the corner where the path enters it."""
    right, down = centre[0] - corner[0], centre[1] - corner[1]
    radius = min(0.1, 0.42 * abs(right), 0.42 * abs(down))
    for place, number in reversed(list(enumerate(group))):
        x = corner[0] + copysign(radius * (1.7 + 2 * (place % 2)), right)
        y = corner[1] + copysign(radius * (1.7 + 2 * (place // 2)), down)
        if place == 0:
            draw_line(axes, corner, (x, y), group)
        disc(axes, x, y, PALETTE[number], radius, str(number + 1) if label else "")


def draw_line(axes: Axes, start: tuple[float, float], end: tuple[float, float], group: Sequence[int]) -> None:
    """Draws a straight line in the colours of a group of classes."""
    colours = [PALETTE[number] for number in group]
    striped(axes, lambda **style: PathPatch(Curve([start, end]), **style), colours, 1.7, 0.9)


def draw_frame(axes: Axes, box: Box, inset: float, group: Sequence[int], thickness: float, halo: float) -> None:
    """Draws a frame `inset` inches inside a box, in the colours of a group of classes; thickness, halo: points."""
    left, top, width, height = box
    corner, across, down = (left + inset, top + inset), width - 2 * inset, height - 2 * inset
    colours = [PALETTE[number] for number in group]
    striped(axes, lambda **style: Rectangle(corner, across, down, **style), colours, thickness, halo)


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
        logit = f"logit {tree.logit:#.3g}".rstrip(".").replace("-", MINUS)
        write_text(axes, end, y, logit, 7.5, ha="right", color=MUTED)
        end -= 0.85
        write_name(axes, MARGIN + 0.28, y, name, 10, end - MARGIN - 0.28)


def place_blocks(trees: Sequence[Tree], left: float) -> dict[Block, float]:
    """Blocks to show, depth by depth, each with the horizontal centre of its card in inches.

    All blocks of depth 1 and 2 are shown; of deeper ones, the four children of every block on a path, as near below
    their parent as their neighbours allow.
    """
    middle = left + TREE_WIDTH / 2
    places: dict[Block, float] = {(): middle}
    places |= {(first,): middle + (first - 1.5) * QUARTER for first in range(4)}
    for depth in range(2, trees[0].depth + 1):
        parents = sorted(classes_along(trees, depth - 1)) if depth > 2 else [(first,) for first in range(4)]
        centres = [places[parent] for parent in parents]
        centres[0] = max(centres[0], middle - 1.5 * QUARTER)
        for before, after in pairwise(range(len(centres))):
            centres[after] = max(centres[after], centres[before] + QUARTER)
        centres[-1] = min(centres[-1], middle + 1.5 * QUARTER)
        for after, before in pairwise(reversed(range(len(centres)))):
            centres[before] = min(centres[before], centres[after] - QUARTER)
        for parent, centre in zip(parents, centres, strict=True):
            places |= {(*parent, child): centre + (child - 1.5) * PITCH for child in range(4)}
    return places


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
        write_text(axes, left, top + 0.27 + 0.15 * number, line, 7.2, color=MUTED, va="top")
    places = place_blocks(trees, left)
    values = {path: [block_value(tree, path) for tree in trees] for path in places}
    write, factor = number_writer(value for row in values.values() for value in row)
    if factor:
        write_text(axes, left + TREE_WIDTH, top, f"values {factor}", 7.2, color=MUTED, ha="right", va="top")
    tops = [top + sum(cards[:depth]) + EDGE_HEIGHT * depth for depth in range(len(cards))]
    groups = [classes_along(trees, depth) for depth in range(len(cards))]
    for path, x in places.items():
        depth, y = len(path), tops[len(path)]
        group = groups[depth].get(path, [])
        if path:
            draw_edge(axes, places[path[:-1]], tops[depth - 1] + cards[depth - 1] + 0.03, x, y - 0.03, group)
        width, height = by_depth(THUMBNAILS, depth) * shape[0], by_depth(THUMBNAILS, depth) * shape[1]
        draw_thumbnail(axes, pixels, path, (x - width / 2, y, width, height), group)
        for number, tree in enumerate(trees):
            value, row = values[path][number], by_depth(ROW_HEIGHTS, depth)
            strength = 1.0 if number in group else 0.07 + 0.3 * share_of_peak(tree, depth, value)
            bold = number in group
            box = (x, y + height + 0.06 + row * number, by_depth(CELLS, depth), row - 0.02)
            draw_value(axes, box, write(value), by_depth(FONT_SIZES, depth), blend(PALETTE[number], strength), bold)


def block_value(tree: Tree, path: Block) -> float:
    """Value of a block; of the whole image, the sum over its quadrants."""
    return tree.value(path) if path else float(tree.values[0].sum())


def share_of_peak(tree: Tree, depth: int, value: float) -> float:
    """A value as a share, 0 to 1, of the largest of its depth; values that speak against the path's direction are 0."""
    peak = float(tree.values[max(depth, 1) - 1].max())
    return min(max(value / peak, 0.0), 1.0) if peak > 0 else 0.0


def draw_edge(axes: Axes, x0: float, y0: float, x1: float, y1: float, group: Sequence[int]) -> None:
    """Draws a curved line from a block down to its child: thin and grey, or thick in the colours of its classes."""
    middle = mean((y0, y1))
    curve = Curve([(x0, y0), (x0, middle), (x1, middle), (x1, y1)], [Curve.MOVETO] + 3 * [Curve.CURVE4])
    if group:
        striped(axes, lambda **style: PathPatch(curve, **style), [PALETTE[n] for n in group], 2.6, 0.9, zorder=3)
    else:
        axes.add_artist(PathPatch(curve, fill=False, edgecolor=LINE, linewidth=0.8, zorder=2))


def draw_thumbnail(axes: Axes, pixels: np.ndarray, path: Block, box: Box, group: Sequence[int]) -> None:
    """Draws a block's part of the image: faded, or framed in the colours of the classes whose path it is on."""
    left, top, right, bottom = region_of((pixels.shape[0], pixels.shape[1]), path)
    part = pixels[top : max(bottom, top + 1), left : max(right, left + 1)]
    show(axes, part if group else 0.6 + 0.4 * part, box, zorder=4)
    if group and path:
        draw_frame(axes, box, 0.0, group, 2.2, 0.0)


def draw_value(axes: Axes, box: Box, text: str, size: float, fill: tuple[float, float, float], bold: bool) -> None:
    """Writes a number in a rounded, filled cell; box: (horizontal centre, top, width, height)."""
    x, top, width, height = box
    rounded = "round,pad=0,rounding_size=0.03"
    corner = (x - width / 2, top)
    cell = FancyBboxPatch(corner, width, height, boxstyle=rounded, facecolor=fill, edgecolor="none", zorder=4)
    axes.add_artist(cell)
    weight = "bold" if bold else "normal"
    write_text(axes, x, top + height / 2, text, size, ha="center", color=readable_on(fill), weight=weight)
