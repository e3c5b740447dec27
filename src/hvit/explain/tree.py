"""The tree of image regions that hierarchical explanations return, and its table for notebooks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from hvit.errors import UserError
from hvit.explain.words import logit_words, method_of, number_writer
from hvit.markup import Html, element
from hvit.pictures import BLUE

Region = tuple[int, int, int, int]


class Node(NamedTuple):
    """One square of the image in the tree of blocks, with its evidence for the class.

    Attributes:
        depth: 1 for the quadrants of the image, 2 for their quadrants, and so on.
        row: Row among the 2^depth x 2^depth squares of its depth.
        column: Column among them.
        path: Quadrants from the whole image to this square (0 top left, 1 top right, 2 bottom left, 3 bottom right).
        region: (left, top, right, bottom) in pixels of the model's input.
        value: Evidence for the class; negative values are negative evidence.
    """

    depth: int
    row: int
    column: int
    path: tuple[int, ...]
    value: float
    region: Region


Absent = Literal["exchanged", "removed"]
"""What happens to the blocks that are removed: the baseline takes their place, or the model does not compute them."""


Gradient = Literal["usual", "libra"]
"""The gradients that GradCAT takes: those of autograd, or of LibraGrad's backward rule (`methods.libra`)."""
GRADCATS: dict[str, Gradient] = {"gradcat": "usual", "gradcat_libra": "libra"}
"""GradCAT's keys, and the gradients of each."""


class Prediction(NamedTuple):
    """What the model predicts for an image with blocks removed."""

    class_index: int
    """The most probable class."""
    probability: float
    """Its probability, 0 to 1."""
    explained: float
    """The probability of the explained class."""
    logit: float
    """The logit of the explained class."""
    words: str = ""
    """What the explained output says, where classes do not exclude each other or it is a number; empty elsewhere."""


@dataclass(frozen=True)
class Removal:
    """How a tree was computed by removing blocks of the image, and what the model predicts without them."""

    form: str
    """Which values are exact, in words."""
    baseline: str
    """What stands in the place of removed blocks, in words."""
    before: Prediction
    """With all blocks removed: what the model predicts before it sees the image."""
    without: tuple[Prediction, ...]
    """With one block of the path removed, for each of its steps."""
    leads: tuple[float, ...]
    """For each step of the path, how far the chosen block's value is above that of the second best of the four."""
    spreads: tuple[float, ...]
    """The standard deviation of that lead, over what else of the image may be present."""
    passes: float
    """The cost of all coalitions, in forward passes of the whole model."""
    shift: float
    """The most that was added to a value so that children add up to their parent; 0 where that follows by itself."""
    absent: Absent = "exchanged"
    """Whether the baseline stood in the place of removed blocks, or the model did not compute them."""

    @property
    def clear_steps(self) -> int:
        """How many steps of the path, from the first on, are clear.

        A step is clear if its block leads the second best of the four by more than the standard deviation of that lead
        over what else of the image may be present, and by at least a tenth of a logit.
        """
        clear = [lead > max(spread, LEAST_LEAD) for lead, spread in zip(self.leads, self.spreads, strict=True)]
        return clear.index(False) if False in clear else len(clear)


@dataclass(frozen=True, eq=False)
class Tree:
    """The explanation of one class: the evidence in every block, and the path of the largest values.

    Made by `block_shapley` and `gradcat`. A value that was not computed is not a number (NaN).
    """

    class_index: int
    """The explained class."""
    logit: float
    """The model's logit of that class, before any softmax."""
    path: tuple[int, ...]
    """Quadrant chosen at each step, whole image first: 0 top-left, 1 top-right, 2 bottom-left, 3 bottom-right."""
    values: tuple[np.ndarray, ...]
    """Value of every node: depth k is `values[k - 1]`, an array (2^k rows, 2^k columns)."""
    image_size: tuple[int, int]
    """Height and width of the model's input in pixels."""
    sign: int = 1
    """1: positive values are positive evidence for the class; -1: the sign is flipped (the control)."""
    removal: Removal | None = None
    """How the values were computed, if by `block_shapley`; None: by `gradcat`."""
    gradient: Gradient = "usual"
    """The gradients that `gradcat` took."""

    @property
    def method(self) -> str:
        """The key of the method that made it: "block_shapley", "gradcat", or "gradcat_libra" for other gradients."""
        if self.removal is not None:
            return "block_shapley"
        return next(key for key, gradient in GRADCATS.items() if gradient == self.gradient)

    @property
    def clear_path(self) -> tuple[int, ...]:
        """The path as far as it is drawn.

        With `removal`, as far as its blocks stand out from their siblings (`Removal.clear_steps`) and are positive
        evidence; otherwise all of it.
        """
        if self.removal is None:
            return self.path
        steps = 0
        for value in self.path_values[: self.removal.clear_steps]:
            if value <= 0:
                break
            steps += 1
        return self.path[:steps]

    @property
    def depth(self) -> int:
        """The number of steps from the whole image to a leaf."""
        return len(self.values)

    @property
    def block_map(self) -> np.ndarray:
        """The values (rows, columns) of the smallest blocks; where they were not computed, of those around them.

        A larger block's value is divided equally among its blocks, so that the map adds up to the quadrants.
        """
        found = self.values[0]
        for below in self.values[1:]:
            spread = found.repeat(2, axis=0).repeat(2, axis=1) / 4
            found = np.where(np.isnan(below), spread, below)
        return found

    @property
    def regions(self) -> tuple[Region, ...]:
        """The square of each step of the path, (left, top, right, bottom) in pixels of the model's input."""
        return tuple(region_of(self.image_size, self.path[:step]) for step in range(1, len(self.path) + 1))

    @property
    def path_values(self) -> tuple[float, ...]:
        """The value of each node on the path."""
        return tuple(self.value(self.path[:step]) for step in range(1, len(self.path) + 1))

    def value(self, path: Sequence[int]) -> float:
        """The value of the node at the end of a path of one or more quadrants."""
        return float(self.values[len(path) - 1][place_of(path)])

    def paths(self, beam: int) -> tuple[tuple[int, ...], ...]:
        """Returns at most `beam` paths to leaves, best leaf first, for classes that appear in several places.

        At every depth the `beam` nodes with the largest values among the children of those before are followed. A beam
        of 1 gives `path` alone.

        Raises:
            UserError: For a beam below 1.
        """
        if beam < 1:
            raise UserError(f"a beam has one path or more, got {beam}")
        followed: list[tuple[int, ...]] = [()]
        for _ in self.values:
            children = [(*path, quadrant) for path in followed for quadrant in range(4)]
            known = [child for child in children if not np.isnan(self.value(child))]
            if not known:
                break
            followed = sorted(known, key=self.value, reverse=True)[:beam]
        return tuple(followed)

    def nodes(self) -> Iterator[Node]:
        """Iterates over all nodes below the whole image, depth by depth, and row by row within a depth."""
        for depth, values in enumerate(self.values, start=1):
            for row, column in np.ndindex(*values.shape):
                path = tuple((row >> shift & 1) * 2 + (column >> shift & 1) for shift in reversed(range(depth)))
                region = region_of(self.image_size, path)
                yield Node(depth, row, column, path, float(values[row, column]), region)

    def _repr_html_(self) -> str:
        """The values of all nodes as tables, for notebooks."""
        return tree_html(self)


@dataclass(frozen=True, eq=False)
class ClipTree:
    """The explanation of one class of a clip: the evidence in every segment of time, and in its quadrants."""

    class_index: int
    """The explained class."""
    logit: float
    """The model's logit of that class, before any softmax."""
    path: tuple[int, ...]
    """The segment of largest value, and its quadrant of largest value."""
    times: np.ndarray
    """Value of every segment, (segments,): they add up to the logit minus that of the baseline."""
    values: np.ndarray
    """Value of every quadrant of every segment, (segments, 2 rows, 2 columns); NaN where it was not computed."""
    removal: Removal
    """How the values were computed."""

    @property
    def block_map(self) -> np.ndarray:
        """As `values`, with a quarter of the segment's value where quadrants were not computed."""
        return np.where(np.isnan(self.values), self.times[:, None, None] / 4, self.values)


def place_of(path: Sequence[int]) -> tuple[int, int]:
    """Row and column, among the 2^k x 2^k squares of its depth k, of the node at the end of a path of quadrants."""
    row = column = 0
    for quadrant in path:
        row, column = 2 * row + quadrant // 2, 2 * column + quadrant % 2
    return row, column


def greedy_path(values: Sequence[np.ndarray]) -> tuple[int, ...]:
    """Quadrants from the whole image to a leaf, each the child of largest value (the first of equals).

    The path ends above children whose values were not computed.
    """
    path: tuple[int, ...] = ()
    for nodes in values:
        children = [float(nodes[place_of((*path, quadrant))]) for quadrant in range(4)]
        if any(np.isnan(children)):
            break
        path += (max(range(4), key=children.__getitem__),)
    return path


def region_of(image_size: tuple[int, int], path: Sequence[int]) -> Region:
    """Square of the image at the end of a path of quadrants, as (left, top, right, bottom) in pixels.

    image_size: (height, width). An empty path is the whole image.
    """
    height, width = image_size
    (row, column), parts = place_of(path), 2 ** len(path)
    left, right = width * column // parts, width * (column + 1) // parts
    return left, height * row // parts, right, height * (row + 1) // parts


LEAST_LEAD = 0.1  # logits
POSITIVE, NEGATIVE = BLUE, "#CC3311"  # colours of evidence

QUADRANTS = ("top left", "top right", "bottom left", "bottom right")
"""The quadrants 0 to 3 of a path in words."""


DEPTHS = {1: "quadrants", 2: "sixteenths"}


MOST_WRITTEN = 8  # blocks side by side whose values are written; more of them are coloured only


CELLS = {2: 4.2, 4: 3.6, 8: 3.0}  # widths in em


STRONGEST = 0.55  # colour of the largest value; text of any theme is read on it


def tree_html(tree: Tree) -> Html:
    """A tree as a table for each depth, as the blocks lie in the image: blue is positive evidence, red negative.

    The blocks of the path, as far as it is clear, have a border. Pointing at a block shows its place, its
    value and its pixels.
    """
    way = " > ".join(QUADRANTS[quadrant] for quadrant in tree.clear_path) or "no block stands out"
    control = "" if tree.sign == 1 else ", a control: the sign is flipped"
    text = f" for class {tree.class_index} ({logit_words(tree.logit)}{control}): {way}"
    by_depth: list[list[Node]] = [[] for _ in tree.values]
    for node in tree.nodes():
        by_depth[node.depth - 1].append(node)
    tables = [_table(tree, nodes) for nodes in by_depth]
    style = "display:flex;flex-wrap:wrap;gap:1.5em;align-items:flex-start"
    return element(
        "div", element("p", element("b", method_of(tree.method).title), text), element("div", *tables, style=style)
    )


def _table(tree: Tree, nodes: list[Node]) -> Html:
    """The values of one depth."""
    depth, count = nodes[0].depth, 2 ** nodes[0].depth
    values = [node.value for node in nodes]
    peak = max(float(np.nanmax(np.abs(values))), np.finfo(float).tiny)
    write, factor = number_writer(values)

    def cell(node: Node) -> Html:
        strength = STRONGEST * float(np.nan_to_num(abs(node.value) / peak))
        colour = POSITIVE if node.value > 0 else NEGATIVE
        on_path = node.path == tree.clear_path[:depth]
        border = "2px solid" if on_path else "1px solid rgba(128,128,128,0.3)"
        left, top, right, bottom = node.region
        place = f"{', '.join(QUADRANTS[quadrant] for quadrant in node.path)}: {node.value:.4g}"
        return element(
            "td",
            write(node.value) if count <= MOST_WRITTEN else "",
            title=f"{place} (pixels {left} to {right}, {top} to {bottom})",
            style=f"background:{colour}{round(255 * strength):02x};border:{border};width:{CELLS.get(count, 1.0)}em;"
            f"height:{1.9 if count <= MOST_WRITTEN else 1.0}em;text-align:center;padding:0",
        )

    rows = [element("tr", *map(cell, nodes[start : start + count])) for start in range(0, len(nodes), count)]
    name = f"{DEPTHS.get(depth, f'{4**depth}ths')} {factor}".strip()
    style = "border-collapse:collapse;font-size:0.85em;margin:0"
    return element("table", element("caption", name), element("tbody", *rows), style=style)
