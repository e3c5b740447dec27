"""An image of the page at the size it is drawn in, and the paths of its classes over it.

Everything that belongs to one class carries `of-<number>`, so that the page's style shows one class or all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hvit.explain.drawing.canvas import TINT
from hvit.explain.drawing.layout import Block, Box, Point, beside, boxes_of, centre_of, classes_along, inside, leaf_mark
from hvit.explain.page.content import ExplainedImage
from hvit.explain.tree import Tree
from hvit.markup import Html, element

SIDE = 400  # units of a picture's longer side, which are about pixels
HALO = 1.4  # of white, on both sides of a line
LINE = 2.4


@dataclass(frozen=True)
class Stage:
    """One image as its drawings need it."""

    number: int
    """Its place in the page."""
    image: ExplainedImage
    pixels: np.ndarray
    """Its colours (height, width, 3)."""

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in units; the longer is `SIDE`."""
        height, width = self.pixels.shape[:2]
        return SIDE * width / max(height, width), SIDE * height / max(height, width)

    @property
    def shape(self) -> tuple[float, float]:
        """Width and height relative to the longer side."""
        return self.size[0] / SIDE, self.size[1] / SIDE

    @cached_property
    def trees(self) -> Sequence[Tree]:
        """The trees of its classes; empty if they have none."""
        return self.image.trees

    @cached_property
    def boxes(self) -> dict[Block, Box]:
        """Every block's (left, top, width, height) in units."""
        return boxes_of(self.trees[0], (0.0, 0.0, *self.size))

    @cached_property
    def groups(self) -> dict[Block, list[int]]:
        """Blocks on a path, the whole image first, with the numbers of the classes whose path it is."""
        depths = range(self.trees[0].depth + 1)
        return {block: group for depth in depths for block, group in classes_along(self.trees, depth).items()}

    @property
    def several(self) -> bool:
        """Whether it has more than one class."""
        return len(self.image.classes) > 1

    def label(self, number: int) -> str:
        """What is written into the discs of a class; nothing for the only one."""
        return str(number + 1) if self.several else ""

    @property
    def use(self) -> Html:
        """The picture, which is in the page once."""
        return element("use", href=f"#picture-{self.number}")

    @property
    def view(self) -> str:
        """The attribute `viewBox` of a drawing of the whole image."""
        return "0 0 " + " ".join(map(short, self.size))

    def small(self, *over: Html) -> Html:
        """The picture at any size, with drawings over it."""
        return element("svg", self.use, *over, viewBox=self.view, aria_hidden="true")


def draw_paths(stage: Stage) -> Html:
    """Every class's nested squares, the line through their centres, and a numbered disc in the last block."""
    frames: list[Html] = []
    lines: list[Html] = []
    marks: list[Html] = []
    middle = centre_of(stage.boxes[()])
    for block, group in stage.groups.items():
        if not block:
            continue
        start, end = centre_of(stage.boxes[block[:-1]]), centre_of(stage.boxes[block])
        for rank, number in enumerate(group):
            frames += _frame(stage.boxes[block], 1.5 + 1.1 * len(block), rank, number)
            if block != stage.trees[number].clear_path:
                lines += _line(start, end, (LINE + 1) * (rank - (len(group) - 1) / 2), number)
                marks.append(_joint(end, 5 - len(block), number))
            else:
                x, y, radius = leaf_mark(start, end, rank, 7.0, 11.0)
                lines += _line(start, (x, y), 0.0, number)
                marks.append(_disc(x, y, radius, number, stage.label(number)))
    whole = element("circle", cx=short(middle[0]), cy=short(middle[1]), r=4.5, class_="joint")
    return element("g", *frames, *lines, *reversed(marks), whole, class_="paths")


def draw_tints(stage: Stage, number: int) -> Html:
    """The smallest blocks of one class in the colours of their evidence."""
    tree = stage.trees[number]
    values = tree.block_map
    peak = max(float(np.abs(values).max()), np.finfo(float).tiny)
    (width, height), (rows, columns) = stage.size, values.shape
    rects = [
        element(
            "rect",
            class_="for" if values[row, column] > 0 else "against",
            fill_opacity=f"{TINT * abs(values[row, column]) / peak:.2f}",
            x=short(width * column / columns),
            y=short(height * row / rows),
            width=short(width / columns),
            height=short(height / rows),
        )
        for row, column in np.ndindex(rows, columns)
    ]
    return element("g", *rects, class_=f"tints of-{number}")


def draw_squares(stage: Stage, number: int) -> Html:
    """The nested squares of one class alone, bold enough for small pictures."""
    path = stage.trees[number].clear_path
    steps = [path[:step] for step in range(1, len(path) + 1)]
    pieces = [piece for block in steps for piece in _frame(stage.boxes[block], 7 + len(block), 0, number)]
    return element("g", *pieces, class_="squares")


def short(number: float) -> str:
    """A length in units, in few characters."""
    return f"{round(number, 1):g}"


def _frame(box: Box, thickness: float, rank: int, number: int) -> list[Html]:
    thickness = min(thickness, 0.1 * min(box[2:]))
    sides = zip(("x", "y", "width", "height"), inside(box, thickness, HALO, rank), strict=True)
    return _on_halo("rect", thickness, number, dict(sides))


def _line(start: Point, end: Point, aside: float, number: int) -> list[Html]:
    ends = beside(start, end, aside)
    return _on_halo("line", LINE, number, {"x1": ends[0][0], "y1": ends[0][1], "x2": ends[1][0], "y2": ends[1][1]})


def _on_halo(tag: str, thickness: float, number: int, numbers: dict[str, float]) -> list[Html]:
    place = {key: short(value) for key, value in numbers.items()}
    return [
        element(tag, class_=f"halo of-{number}", stroke_width=short(thickness + 2 * HALO), **place),
        element(tag, class_=f"line of-{number}", stroke_width=short(thickness), **place),
    ]


def _disc(x: float, y: float, radius: float, number: int, label: str) -> Html:
    circle = element("circle", cx=short(x), cy=short(y), r=short(radius), class_="disc")
    place = {"x": short(x), "y": short(y + 0.44 * radius), "font_size": short(1.25 * radius)}
    return element("g", circle, element("text", label, **place) if label else Html(), class_=f"mark of-{number}")


def _joint(centre: Point, radius: float, number: int) -> Html:
    size = max(radius, 2.5)
    return element("circle", cx=short(centre[0]), cy=short(centre[1]), r=size, class_=f"joint of-{number}")
