"""How explanations show themselves in notebooks: trees as tables, explained images as the page in a frame."""

from __future__ import annotations

import numpy as np

from hvit.explain.canvas import logit_words, number_writer
from hvit.explain.gradcat import Node, Tree
from hvit.markup import Html, element
from hvit.pictures import BLUE, ORANGE

QUADRANTS = ("top left", "top right", "bottom left", "bottom right")
DEPTHS = {1: "quadrants", 2: "sixteenths"}
MOST_WRITTEN = 8  # blocks side by side whose values are written; more of them are coloured only
CELLS = {2: 4.2, 4: 3.6, 8: 3.0}  # widths in em
STRONGEST = 0.55  # colour of the largest value; text of any theme is read on it
FRAME_HEIGHT = 760


def tree_html(tree: Tree) -> Html:
    """A tree as a table for each depth, as the blocks lie in the image: blue speaks for the class, orange against it.

    The blocks of the path have a border. Pointing at a block tells its place, its value and its pixels.
    """
    way = " > ".join(QUADRANTS[quadrant] for quadrant in tree.path)
    control = "" if tree.sign == 1 else ", a control: the sign is flipped"
    text = f" for class {tree.class_index} ({logit_words(tree.logit)}{control}): {way}"
    grids: list[list[Node]] = [[] for _ in tree.values]
    for node in tree.nodes():
        grids[node.depth - 1].append(node)
    tables = [_table(tree, nodes) for nodes in grids]
    style = "display:flex;flex-wrap:wrap;gap:1.5em;align-items:flex-start"
    return element("div", element("p", element("b", "GradCAT"), text), element("div", *tables, style=style))


def _table(tree: Tree, nodes: list[Node]) -> Html:
    """The values of one depth."""
    depth, count = nodes[0].depth, 2 ** nodes[0].depth
    values = [node.value for node in nodes]
    peak = max(float(np.max(np.abs(values))), np.finfo(float).tiny)
    write, factor = number_writer(values)

    def cell(node: Node) -> Html:
        strength = STRONGEST * abs(node.value) / peak
        colour = BLUE if node.value > 0 else ORANGE
        border = "2px solid" if node.path == tree.path[:depth] else "1px solid rgba(128,128,128,0.3)"
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


def page_frame(page: str, title: str) -> Html:
    """A whole page of HTML as a frame inside another page: its script runs, and reaches nothing outside of the frame.

    page: as HTML text. title: what the frame is, for those who do not see it.
    """
    style = f"width:100%;height:{FRAME_HEIGHT}px;border:0"
    # An attribute is escaped as a whole, so that nothing in the page can end it.
    return element("iframe", srcdoc=Html(page), sandbox="allow-scripts", title=title, style=style)
