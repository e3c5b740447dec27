"""The tree of a page: every block is named in words, in two layouts, with the values of all classes."""

from __future__ import annotations

import re

import numpy as np

from hvit.explain.page.content import ExplainedClass, ExplainedImage
from hvit.explain.page.stage import Stage
from hvit.explain.page.tree import draw_tree, factors, words
from hvit.explain.tree import Tree, greedy_path


def stage(depth: int, scale: float = 1.0) -> Stage:
    values = tuple(scale * np.random.default_rng(step).normal(size=(2**step, 2**step)) for step in range(1, depth + 1))
    tree = Tree(0, 1.0, greedy_path(values), values, (64, 64))
    image = ExplainedImage("photo", np.zeros((64, 64, 3), np.uint8), [ExplainedClass("<b>cat", 0.5, tree)])
    return Stage(0, image, image.checked())


def test_a_block_is_its_path_in_words_the_largest_first() -> None:
    assert words(()) == "whole image"
    assert words((0, 3)) == "top left, bottom right"


def test_every_block_is_an_item_of_its_depth_and_only_the_first_is_reached_by_tab() -> None:
    drawn = str(draw_tree(stage(2)))
    levels = re.findall(r'aria-level="(\d)"', drawn)
    assert [levels.count(str(level)) for level in (1, 2, 3)] == [1, 4, 16]
    assert drawn.count('tabindex="0"') == 1
    assert len(set(re.findall(r'data-box="([^"]*)"', drawn))) == 21
    assert "<b>cat" not in drawn
    assert drawn.count("way wide of-0") == 2, "the path has a line for each step"


def test_factors_of_tiny_values_are_named_and_usual_ones_have_none() -> None:
    assert factors(stage(1)) == ""
    assert factors(stage(1, 1e-6)) != ""
