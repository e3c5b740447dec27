"""What a page shows has to fit together, and methods are in the order in which they are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hvit.errors import UserError
from hvit.explain.page.content import ExplainedClass, ExplainedImage
from hvit.explain.tree import Tree, greedy_path

PICTURE = np.zeros((32, 32, 3), dtype=np.uint8)
VALUES = (np.array([[1.0, 2.0], [3.0, 4.0]]),)
TREE = Tree(0, 1.0, greedy_path(VALUES), VALUES, (32, 32))


def image(*classes: ExplainedClass) -> ExplainedImage:
    return ExplainedImage("photo.jpg", PICTURE, classes)


def test_known_methods_come_first_and_unknown_ones_last() -> None:
    one = ExplainedClass(
        "cat", 0.5, TREE, {"mine": np.ones((2, 2)), "rollout": np.ones((2, 2)), "cam": np.ones((2, 2))}
    )
    assert image(one).methods[1:] == ["cam", "rollout", "mine"]
    assert image(one).trees == [TREE]
    assert image(one).checked().shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ([], "1 to 4 classes, got 0"),
        ([ExplainedClass("a")] * 5, "1 to 4 classes, got 5"),
        ([ExplainedClass("a", tree=TREE), ExplainedClass("b")], "a tree for all of its classes or for none"),
        ([ExplainedClass("a", 1.5)], "from 0 to 1, got 1.5"),
        ([ExplainedClass("a", maps={"cam": np.array([[np.nan]])})], "the map cam of class a must hold finite numbers"),
        ([ExplainedClass("a", maps={"cam": np.ones(3)})], r"shape \(3,\)"),
        ([ExplainedClass("a", maps={"cam": np.ones((0, 3))})], r"shape \(0, 3\)"),
    ],
)
def test_what_does_not_fit_together_is_refused_with_the_name_of_the_image(classes: Any, words: str) -> None:
    with pytest.raises(UserError, match=f"photo.jpg: .*{words}"):
        image(*classes).checked()
