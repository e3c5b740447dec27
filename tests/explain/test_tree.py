"""Claims about trees: their best paths, and their tables in notebooks."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import hvit
from hvit.errors import UserError
from hvit.explain import Prediction, Removal, Tree
from hvit.explain.tree import greedy_path

VALUES = (
    np.array([[1.0, -4.0], [2.0, 0.5]]),
    np.array([[0.1, 0.2, 0.0, 0.0], [0.3, 0.4, 0.0, 0.0], [7.0, -8.0, 0.0, 0.0], [5.0, 6.0, 0.0, 0.0]]),
)


TREE = Tree(3, 1.25, (2, 0), VALUES, (32, 32))


def cells(source: str) -> list[tuple[str, str, str]]:
    """Title, style and text of every block."""
    return re.findall(r'<td title="([^"]*)" style="([^"]*)">([^<]*)</td>', source)


def test_a_tree_shows_every_value_at_its_place_and_a_border_along_its_path() -> None:
    source = TREE._repr_html_()
    blocks = cells(source)
    assert [text.replace("\N{MINUS SIGN}", "-") for _, _, text in blocks] == [
        *("1.00", "-4.00", "2.00", "0.50"),
        *("0.10", "0.20", "0.00", "0.00", "0.30", "0.40", "0.00", "0.00"),
        *("7.00", "-8.00", "0.00", "0.00", "5.00", "6.00", "0.00", "0.00"),
    ]
    assert [title.split(":")[0] for title, style, _ in blocks if "2px solid" in style] == [
        "bottom left",
        "bottom left, top left",
    ]
    assert blocks[-4][0] == "bottom left, bottom left: 5 (pixels 0 to 8, 24 to 32)"
    assert source.count("<table") == source.count("</table>") == 2
    assert "class 3 (logit 1.25): bottom left &gt; top left" in source


def test_positive_and_negative_evidence_differ_in_colour_and_strong_and_weak_in_opacity() -> None:
    colours = [re.findall(r"background:(#\w{6})(\w\w)", style)[0] for _, style, _ in cells(TREE._repr_html_())[:4]]
    assert colours[0][0] == colours[2][0] != colours[1][0]
    strengths = [int(strength, 16) for _, strength in colours]
    assert strengths[1] > strengths[2] > strengths[0] > strengths[3] > 0


def test_a_tree_of_a_model_is_shown_at_any_depth_and_the_control_says_so() -> None:
    torch.manual_seed(0)
    model = hvit.create_model("nest_tiny_32", dims=(8,) * 4, heads=(1,) * 4, depths=(1,) * 4, num_classes=3).eval()
    tree = hvit.explain.gradcat(model, torch.rand(3, 32, 32), 1, sign=-1)
    source = tree._repr_html_()
    assert len(cells(source)) == 4 + 16 + 64
    assert "64ths" in source
    assert "the sign is flipped" in source


def test_a_beam_keeps_the_best_nodes_of_every_depth() -> None:
    leaves = np.zeros((4, 4))
    leaves[0, 0], leaves[2, 0], leaves[3, 2], leaves[3, 3] = 9.0, 4.0, 1.0, 3.0
    values = (np.array([[0.0, 1.0], [2.0, 3.0]]), leaves)
    tree = Tree(0, 1.0, greedy_path(values), values, (32, 32))
    assert tree.paths(1) == (tree.path,) == ((3, 3),)
    assert tree.paths(2) == ((2, 0), (3, 3))
    assert tree.paths(4)[:3] == ((0, 0), (2, 0), (3, 3))
    assert len(tree.paths(100)) == 16
    with pytest.raises(UserError, match="one path or more, got 0"):
        tree.paths(0)


def test_a_path_follows_the_children_of_the_chosen_node_even_where_another_leaf_is_larger() -> None:
    leaves = np.zeros((4, 4))
    leaves[0, 0], leaves[3, 2] = 9.0, 1.0
    assert greedy_path([np.array([[0.0, 1.0], [2.0, 3.0]]), leaves]) == (3, 2)


def removed(leads: tuple[float, ...], spreads: tuple[float, ...], least: float = 1.0) -> Tree:
    values = (np.full((2, 2), least), np.arange(16.0).reshape(4, 4))
    values[0][0, 0] = least + 1.0
    nothing = Prediction(0, 0.5, 0.5, 0.0)
    removal = Removal("exact for all blocks", "a plain colour", nothing, (nothing,) * 2, leads, spreads, 464.0, 0.0)
    return Tree(0, 1.0, greedy_path(values), values, (32, 32), removal=removal)


def test_a_path_is_clear_as_far_as_its_blocks_lead_by_more_than_the_spread_of_their_lead() -> None:
    assert removed((1.0, 1.0), (0.5, 0.5)).clear_path == (0, 3)
    assert removed((1.0, 0.4), (0.5, 0.5)).clear_path == (0,)
    assert removed((0.4, 1.0), (0.5, 0.5)).clear_path == ()
    assert removed((0.09, 1.0), (0.0, 0.5)).clear_path == (), "a tenth of a logit is the least lead"
    assert removed((1.0, 1.0), (0.5, 0.5), least=-3.0).clear_path == (), "negative evidence is no path"
    assert "no block stands out" in removed((0.0, 0.0), (0.5, 0.5))._repr_html_()
    assert TREE.clear_path == TREE.path, "without removal all of the path is drawn"


def test_values_that_were_not_computed_are_skipped() -> None:
    values = (np.array([[4.0, 1.0], [2.0, 0.0]]), np.full((4, 4), np.nan))
    values[1][:2, :2] = [[1.0, 3.0], [0.0, 0.0]]
    tree = Tree(0, 1.0, greedy_path(values), values, (32, 32))
    assert tree.path == (0, 1)
    assert tree.paths(8) == ((0, 1), (0, 0), (0, 2), (0, 3))
    assert tree.block_map[:2, :2].tolist() == [[1.0, 3.0], [0.0, 0.0]]
    assert tree.block_map[0, 2:].tolist() == [0.25, 0.25]
    assert tree.block_map.sum() == 7.0
    assert [text for _, _, text in cells(tree._repr_html_())].count("") == 12
    assert greedy_path((values[0][::-1], values[1])) == (2,)
