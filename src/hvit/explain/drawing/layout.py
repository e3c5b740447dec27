"""Where the blocks of trees and the lines between them go when they are drawn: for still pictures and for the page.

All blocks of depth 1 and 2 are shown; of deeper ones, the children of every block on a path. Lengths are in any unit,
rightwards and downwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import copysign, hypot

import numpy as np

from hvit.errors import UserError
from hvit.explain.tree import Region, Tree

Block = tuple[int, ...]
"""A block by its path of quadrants; () is the whole image."""
Point = tuple[float, float]
Box = tuple[float, float, float, float]
"""(left, top, width, height)."""


def check_trees(size: tuple[int, int], trees: Sequence[Tree]) -> None:
    """Raises UserError if trees do not explain the same image, or not a picture of this size (height, width)."""
    kinds = {(tree.depth, tree.image_size, tree.sign, tree.method) for tree in trees}
    if len(kinds) > 1:
        raise UserError("the trees of one picture must explain the same image with the same model, method and sign")
    (height, width), (rows, columns) = trees[0].image_size, size
    if abs(rows * width - columns * height) > 0.02 * columns * height:
        raise UserError(
            f"the picture is {columns} x {rows} but the model saw {width} x {height} pixels: give the image as resized "
            "and cropped for the model"
        )


def classes_along(trees: Sequence[Tree], depth: int) -> dict[Block, list[int]]:
    """Blocks on a clear path at this depth (0: the whole image), each with the numbers of its trees."""
    groups: dict[Block, list[int]] = {}
    for number, tree in enumerate(trees):
        if len(tree.clear_path) >= depth:
            groups.setdefault(tree.clear_path[:depth], []).append(number)
    return groups


def regions_of(tree: Tree) -> dict[Block, Region]:
    """Every block's (left, top, right, bottom) in pixels of the model's input."""
    height, width = tree.image_size
    return {(): (0, 0, width, height)} | {node.path: node.region for node in tree.nodes()}


def boxes_of(tree: Tree, box: Box) -> dict[Block, Box]:
    """Every block's place in a picture that stands at a box."""
    (height, width), (left, top, across, down) = tree.image_size, box
    scale_x, scale_y = across / width, down / height
    return {
        block: (left + x0 * scale_x, top + y0 * scale_y, (x1 - x0) * scale_x, (y1 - y0) * scale_y)
        for block, (x0, y0, x1, y1) in regions_of(tree).items()
    }


def centre_of(box: Box) -> Point:
    """The middle of a box."""
    return box[0] + box[2] / 2, box[1] + box[3] / 2


def families(trees: Sequence[Tree]) -> list[dict[Block, list[Block]]]:
    """Blocks to show, depth by depth from 1: the children of each parent, both from left to right.

    Quadrants and sixteenths are all shown, smaller blocks only below a path that is clear that far.
    """
    children: dict[Block, list[Block]] = {}
    for node in trees[0].nodes():
        children.setdefault(node.path[:-1], []).append(node.path)
    shown = []
    for depth in range(trees[0].depth):
        parents = classes_along(trees, depth) if depth > 1 else [one for one in children if len(one) == depth]
        if not parents:
            break
        shown.append({parent: sorted(children[parent]) for parent in sorted(parents)})
    return shown


def place_blocks(trees: Sequence[Tree], pitch: float, gap: float) -> dict[Block, float]:
    """Blocks to show, depth by depth, each with its horizontal centre relative to the middle of the tree.

    pitch: from one block to the next of a family. gap: more than that between families. Children stand as near below
    their parent as their neighbours allow.
    """
    quarter = 4 * pitch + gap
    places: dict[Block, float] = {(): 0.0}
    for depth, shown in enumerate(families(trees)):
        centres, step = [places[parent] for parent in shown], pitch if depth else quarter
        if depth:
            centres = spread(centres, quarter, 1.5 * quarter)
        for siblings, centre in zip(shown.values(), centres, strict=True):
            first = centre - (len(siblings) - 1) / 2 * step
            places |= {block: first + number * step for number, block in enumerate(siblings)}
    return places


def spread(centres: Sequence[float], distance: float, limit: float) -> list[float]:
    """Moves centres, ascending, apart to at least `distance`, inside -limit to limit, and otherwise little."""
    moved = list(centres)
    moved[0] = max(moved[0], -limit)
    for before, after in pairwise(range(len(moved))):
        moved[after] = max(moved[after], moved[before] + distance)
    moved[-1] = min(moved[-1], limit)
    for after, before in pairwise(reversed(range(len(moved)))):
        moved[before] = min(moved[before], moved[after] - distance)
    return moved


def block_value(tree: Tree, block: Block) -> float:
    """Value of a block; of the whole image, the sum over its quadrants."""
    return tree.value(block) if block else float(tree.values[0].sum())


def share_of_peak(tree: Tree, block: Block) -> float:
    """A block's value as a share, 0 to 1, of the largest of its depth; 0 for values below zero."""
    if not block:
        return 1.0
    peak, value = float(np.nan_to_num(tree.values[len(block) - 1]).max()), float(np.nan_to_num(tree.value(block)))
    return min(max(value / peak, 0.0), 1.0) if peak > 0 else 0.0


def curve(start: Point, end: Point, aside: float = 0.0) -> list[Point]:
    """The four control points of a line down from a block and over to its child (a cubic Bezier curve).

    aside: how far to the right of the child's own line; along the bend, as far above or below it, so that lines with
    different `aside` run side by side.
    """
    (x0, y0), (x1, y1) = start, end
    # At its middle a cubic goes three quarters of the way to its inner control points.
    bend = copysign(aside * 4 / 3, aside * (x0 - x1)) if abs(x1 - x0) > abs(aside) else 0.0
    middle = (y0 + y1) / 2 + bend
    return [(x0 + aside, y0), (x0 + aside, middle), (x1 + aside, middle), (x1 + aside, y1)]


def beside(start: Point, end: Point, aside: float) -> tuple[Point, Point]:
    """The ends of a straight line, moved `aside` to its right."""
    across, down = end[0] - start[0], end[1] - start[1]
    length = hypot(across, down)
    right, below = -aside * down / length, aside * across / length
    return (start[0] + right, start[1] + below), (end[0] + right, end[1] + below)


def inside(box: Box, thickness: float, halo: float, rank: int) -> Box:
    """The middle line of a frame of some thickness inside a box, and inside the frames of lower rank; halo: between."""
    left, top, width, height = box
    inset = thickness / 2 + halo + rank * (thickness + halo)
    return left + inset, top + inset, max(width - 2 * inset, 0.0), max(height - 2 * inset, 0.0)


def leaf_mark(corner: Point, centre: Point, rank: int, least: float, most: float) -> tuple[float, float, float]:
    """Centre and radius, from `least` to `most`, of the disc of a leaf's rank-th class.

    Discs stand in the leaf around its centre, close to the corner where the path enters it.
    """
    right, down = centre[0] - corner[0], centre[1] - corner[1]
    radius = max(min(most, 0.42 * abs(right), 0.42 * abs(down)), least)
    x = corner[0] + copysign(radius * (1.7 + 2 * (rank % 2)), right)
    return x, corner[1] + copysign(radius * (1.7 + 2 * (rank // 2)), down), radius
