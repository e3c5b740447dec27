"""Claims about the drawn tree of blocks: its values, their factors, and its lines."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import PathPatch

from hvit.explain import Tree, draw_trees
from hvit.explain.drawing.canvas import PALETTE
from hvit.explain.words import TIMES
from tests.explain.drawing.trees import DIGIT, PHOTO, assert_nothing_overlaps, grow, texts


def test_every_shown_block_carries_its_value() -> None:
    tree = grow(2)
    written = {text.get_text() for text in texts(draw_trees(PHOTO, [tree]))}
    values = [float(tree.values[0].sum()), *(node.value for node in tree.nodes())]
    assert len(values) == 21
    assert {f"{value:z.2f}".replace("-", "\N{MINUS SIGN}") for value in values} <= written


def test_every_depth_is_written_with_its_own_factor() -> None:
    values = np.full((2, 2), 3.0), np.full((4, 4), 4e-5), np.full((8, 8), 5e-7)
    figure = draw_trees(PHOTO, [Tree(0, 12.0, (0, 0, 0), values, (224, 224))])
    assert_nothing_overlaps(figure)
    written = [text.get_text() for text in texts(figure)]
    assert {f"sixteenths {TIMES} 10⁻⁵", f"64ths {TIMES} 10⁻⁷"} <= set(written)
    assert [written.count(one) for one in ("12.0", "3.0", "4.00", "5.00")] == [1, 4, 16, 4]


def test_deeper_than_sixteenths_the_children_of_the_path_are_shown() -> None:
    pictures = [len(draw_trees(DIGIT, [grow(depth, size=(32, 32))]).axes[0].images) for depth in (1, 2, 3, 4)]
    image_and_root = 2
    assert pictures == [image_and_root + 4, image_and_root + 20, image_and_root + 24, image_and_root + 28]


def test_lines_of_a_path_are_as_thick_as_the_values_are_large() -> None:
    def thickness(value: float) -> float:
        values = np.array([[value, 4.0], [0.0, 0.0]]), np.zeros((4, 4))
        axes = draw_trees(DIGIT, [Tree(0, 1.0, (0, 0), values, (32, 32))]).axes[0]
        lines = [one for one in axes.patches if isinstance(one, PathPatch) and one.get_zorder() == 3]
        assert [to_hex(one.get_edgecolor()).upper() for one in lines] == [PALETTE[0].upper()] * 2
        return lines[0].get_linewidth()

    thin, middle, thick = (thickness(value) for value in (-1.0, 2.0, 4.0))
    assert thin > 0.8, "a line can always be seen"
    assert thick - middle == pytest.approx(middle - thin)
    assert thick > 4 * thin


def test_the_control_with_the_flipped_sign_says_so() -> None:
    plain, flipped = (" ".join(t.get_text() for t in texts(draw_trees(PHOTO, [grow(2, sign=s)]))) for s in (1, -1))
    assert "flipped" in flipped
    assert "flipped" not in plain
