"""The page's tree of blocks: small pictures with a value for each class, joined by lines of the values' widths.

Every block has two places, one for wide screens (the whole image on top, its blocks in rows below) and one for narrow
ones (an indented list). The page's style chooses between them; lengths are in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hvit.explain.drawing.block_tree import depth_writers, factor_words
from hvit.explain.drawing.layout import Block, block_value, curve, families, place_blocks, share_of_peak
from hvit.explain.page.stage import Stage, short
from hvit.explain.tree import QUADRANTS
from hvit.markup import SPACE, Html, element

PITCH, GAP = 43, 12  # of the wide tree: from block to block, and more than that between families
WIDTH = 16 * PITCH + 3 * GAP
THUMBNAILS, EDGE, ROW = (100, 76, 38), 58, 20  # pictures by depth, the space for lines, a value
INDENT, BETWEEN, COLUMN, ZOOM = 20, 9, 46, 0.72  # of the narrow tree; ZOOM makes its pictures smaller
THINNEST, THICKEST = 0.6, 6.0
TRUNK = 3.2  # from class to class in the narrow tree's lines


@dataclass(frozen=True)
class Place:
    """Where a block stands: its picture's size, and its places in the wide and in the narrow tree."""

    width: float
    height: float
    x: float
    """Horizontal centre in the wide tree."""
    y: float
    bottom: float
    """Below the values."""
    u: float
    """Left side in the narrow tree."""
    v: float


def draw_tree(stage: Stage) -> Html:
    """The tree of a stage's classes.

    A block carries its box in the stage as `data-box`, and itself in words as `aria-label`.
    """
    trees = stage.trees
    places = _places(stage)
    writers = depth_writers(trees, places)
    edges = [piece for block in places if block for piece in _edges(stage, places, block)]
    ways = [piece for block in places if block for piece in _ways(stage, places, block)]
    siblings = {block: family for shown in families(trees) for family in shown.values() for block in family}
    nodes = [_node(stage, places, block, siblings.get(block, [block]), *writers[len(block)]) for block in places]
    last = max(places.values(), key=lambda place: place.v)
    deepest = max(places.values(), key=lambda place: place.u)
    sizes = {
        "width": WIDTH,
        "height": max(place.bottom for place in places.values()) + 4,
        "lines": last.v + ZOOM * last.height + BETWEEN,
        "start": deepest.u + ZOOM * deepest.width + 12,
        "column": COLUMN,
        "zoom": ZOOM,
        "count": len(trees),
    }
    return element(
        "svg",
        element("g", *edges, *ways, role="none"),
        *nodes,
        class_="tree",
        style=_variables(sizes),
        role="tree",
        aria_orientation="horizontal",
        aria_label="Blocks of the image",
    )


def factors(stage: Stage) -> str:
    """What to say about the factors of the tree's values; nothing if there are none."""
    lines = factor_words(depth_writers(stage.trees, place_blocks(stage.trees, PITCH, GAP)))
    return ", ".join(line.replace(" ", SPACE) for line in lines)


def words(block: Block) -> str:
    """A block's path in words, the largest first."""
    return ", ".join(QUADRANTS[quadrant] for quadrant in block) or "whole image"


def _places(stage: Stage) -> dict[Block, Place]:
    """The blocks to show, each before its children."""
    count = len(stage.trees)
    sizes = [THUMBNAILS[min(depth, len(THUMBNAILS) - 1)] for depth in range(stage.trees[0].depth + 1)]
    heights = [size * stage.shape[1] + 6 + ROW * count for size in sizes]
    places, line = {}, 12.0 if stage.several else 0.0
    for block, x in sorted(place_blocks(stage.trees, PITCH, GAP).items()):
        depth = len(block)
        width, height = sizes[depth] * stage.shape[0], sizes[depth] * stage.shape[1]
        top = sum(heights[:depth]) + EDGE * depth
        places[block] = Place(width, height, WIDTH / 2 + x, top, top + heights[depth], INDENT * depth, line)
        line += ZOOM * height + BETWEEN
    return places


def _edges(stage: Stage, places: dict[Block, Place], block: Block) -> list[Html]:
    """The lines from a block's parent to it, for both trees, with the width that each class's value gives it."""
    shares = [share_of_peak(tree, block) for tree in stage.trees]
    widths = {f"w{number}": THINNEST + (THICKEST - THINNEST) * share for number, share in enumerate(shares)}
    above, below = places[block[:-1]], places[block]
    return [
        element("path", d=_curve(above, below), class_="edge wide", style=_variables(widths)),
        element("path", d=_elbow(above, below), class_="edge narrow"),
    ]


def _ways(stage: Stage, places: dict[Block, Place], block: Block) -> list[Html]:
    """The lines of the classes whose path leads to a block, side by side."""
    above, below = places[block[:-1]], places[block]
    group = stage.groups.get(block, [])
    widths = [2 * THINNEST + (THICKEST - THINNEST) * share_of_peak(stage.trees[number], block) for number in group]
    lines = []
    for rank, (number, width) in enumerate(zip(group, widths, strict=True)):
        line = _curve(above, below, sum(widths[:rank]) + width / 2 - sum(widths) / 2)
        elbow = _elbow(above, below, TRUNK * number, TRUNK * (rank - (len(group) - 1) / 2))
        lines.append(element("path", d=line, class_=f"way wide of-{number}", stroke_width=short(width)))
        lines.append(element("path", d=elbow, class_=f"way narrow of-{number}"))
    return lines


def _node(
    stage: Stage,
    places: dict[Block, Place],
    block: Block,
    siblings: Sequence[Block],
    write: Callable[[float], str],
    factor: str,
) -> Html:
    place, group = places[block], stage.groups.get(block, [])
    names = [one.name for one in stage.image.classes]
    written = [write(block_value(tree, block)) for tree in stage.trees]
    values = ", ".join(f"{name} {value}" for name, value in zip(names, written, strict=True))
    on_path = f"; on the path of {', '.join(names[number] for number in group)}" if group and block else ""
    position = {"x": place.x, "y": place.y, "u": place.u, "v": place.v, "s": place.width, "t": place.height}
    return element(
        "g",
        element("rect", class_="hit"),
        _thumbnail(stage, place, block, group),
        *(_cell(stage, block, number, value, number in group) for number, value in enumerate(written)),
        class_=" ".join(["node", *(["on"] if group else []), *(f"on-{number}" for number in group)]),
        style=_variables(position),
        data_box=" ".join(map(short, stage.boxes[block])),
        data_place=words(block),
        role="treeitem",
        tabindex=-1 if block else 0,
        aria_level=len(block) + 1,
        aria_setsize=len(siblings),
        aria_posinset=siblings.index(block) + 1,
        aria_label=f"{words(block)}: {values}{f' ({factor})' if factor else ''}{on_path}",
    )


def _thumbnail(stage: Stage, place: Place, block: Block, group: Sequence[int]) -> Html:
    """A block's part of the image, in frames of the classes whose path it is on."""
    part = element(
        "svg",
        stage.use,
        viewBox=" ".join(map(short, stage.boxes[block])),
        width=short(place.width),
        height=short(place.height),
        preserveAspectRatio="none",
    )

    def around(space: float, name: str) -> Html:
        sides = {"x": -space, "y": -space, "width": place.width + 2 * space, "height": place.height + 2 * space}
        return element("rect", class_=name, **{key: short(side) for key, side in sides.items()})

    frames = [around(1 + 2.5 * rank, f"frame of-{number}") for rank, number in enumerate(group if block else ())]
    return element("g", part, *frames, around(4, "ring"), class_="thumbnail")


def _cell(stage: Stage, block: Block, number: int, value: str, own: bool) -> Html:
    """A class's value of a block, the more coloured the larger; on its path in full colour."""
    strength = 1.0 if own else 0.08 + 0.32 * share_of_peak(stage.trees[number], block)
    head = Html()
    if not block and stage.several:
        head = element("g", element("circle", r=8), element("text", stage.label(number), y=3.6), class_="head")
    return element(
        "g",
        head,
        element("rect", rx=4),
        element("text", value, x=20, y=13),
        class_=f"cell of-{number}{' own' * own}",
        style=f"--r:{number};--f:{strength:.2f}",
    )


def _curve(above: Place, below: Place, aside: float = 0.0) -> str:
    """A line down and over to a child."""
    first, *others = curve((above.x, above.bottom + 2), (below.x, below.y - 3), aside)
    return f"M{short(first[0])} {short(first[1])}C{' '.join(short(number) for point in others for number in point)}"


def _elbow(above: Place, below: Place, aside: float = 0.0, lower: float = 0.0) -> str:
    """A line down, `aside` to the right, and then right to a child, `lower` than its middle."""
    x, y = above.u + 6 + aside, above.v + ZOOM * above.height + 1
    return f"M{short(x)} {short(y)}V{short(below.v + ZOOM * below.height / 2 + lower)}H{short(below.u - 2)}"


def _variables(numbers: dict[str, float]) -> str:
    """Numbers for the page's style."""
    return ";".join(f"--{name}:{number:.4g}" for name, number in numbers.items())
