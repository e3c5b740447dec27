"""An image is drawn at one size whatever its own, and every class's path lies over it."""

from __future__ import annotations

import re

import numpy as np
import pytest

from hvit.explain.page.content import ExplainedClass, ExplainedImage
from hvit.explain.page.stage import SIDE, Stage, draw_paths, draw_squares, short
from hvit.explain.tree import Tree, greedy_path


def stage(height: int, width: int, *quadrants: int) -> Stage:
    """A stage whose classes have the path of one quadrant each."""
    classes = []
    for number, quadrant in enumerate(quadrants):
        values = (np.eye(4)[quadrant].reshape(2, 2),)
        tree = Tree(number, 1.0, greedy_path(values), values, (height, width))
        classes.append(ExplainedClass(f"class {number}", 0.5, tree))
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    image = ExplainedImage("photo", picture, classes)
    return Stage(0, image, image.checked())


@pytest.mark.parametrize(("height", "width"), [(32, 32), (300, 150), (10, 2000)])
def test_the_longer_side_is_always_the_same_and_blocks_are_shares_of_it(height: int, width: int) -> None:
    one = stage(height, width, 3)
    assert max(one.size) == SIDE
    assert one.size[0] / one.size[1] == pytest.approx(width / height)
    left, top, wide, high = one.boxes[(3,)]
    assert (left + wide, top + high) == pytest.approx(one.size)
    assert (wide, high) == pytest.approx((one.size[0] / 2, one.size[1] / 2))


def test_classes_on_the_same_path_share_it_and_each_is_drawn_as_its_own() -> None:
    two = stage(32, 32, 1, 1)
    assert two.groups[(1,)] == [0, 1]
    assert [two.label(number) for number in (0, 1)] == ["1", "2"]
    drawn = str(draw_paths(two))
    assert drawn.count("line of-0") == drawn.count("line of-1") > 0
    assert "of-1" not in str(draw_squares(two, 0))


def test_the_only_class_has_no_number() -> None:
    one = stage(32, 32, 2)
    assert not one.several
    assert one.label(0) == ""
    assert re.search(r"<text[^>]*>\d", str(draw_paths(one))) is None


def test_lengths_are_written_in_few_characters() -> None:
    assert [short(number) for number in (3.0, 2.25, 1 / 3, 400.04)] == ["3", "2.2", "0.3", "400"]
