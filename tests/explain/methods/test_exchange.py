"""Claims about exchanged blocks: they are the squares of the tree."""

from __future__ import annotations

import pytest
import torch

from hvit.explain.methods.coalitions import leaves_of, nodes_above
from hvit.explain.methods.exchange import ExchangedPixels, image_leaves, line_parts, presence
from hvit.explain.tree import region_of


@pytest.mark.parametrize("size", [(8, 8), (14, 14), (15, 22)])
@pytest.mark.parametrize("depth", [1, 2])
def test_the_leaves_of_a_node_are_the_pixels_of_its_region(size: tuple[int, int], depth: int) -> None:
    leaves = image_leaves(size, depth)
    arities = (4,) * depth
    for node in nodes_above(arities, depth):
        (inside,) = presence([(0, leaves_of(node, arities))], leaves)
        left, top, right, bottom = region_of(size, node)
        expected = torch.zeros(size, dtype=torch.bool)
        expected[top:bottom, left:right] = True
        assert torch.equal(inside, expected), node


def test_what_is_absent_is_the_baselines() -> None:
    images, blanks = torch.ones(2, 1, 4, 4) * torch.tensor([2.0, 3.0])[:, None, None, None], torch.zeros(2, 1, 4, 4)
    exchange = ExchangedPixels(lambda batch: batch.flatten(1), image_leaves((4, 4), 1), images, blanks)
    found = exchange.logits([(1, 0b0001), (0, 0b1010)]).view(2, 4, 4)
    assert found[0].sum() == 4 * 3
    assert found[0, :2, :2].sum() == 4 * 3
    assert found[1].sum() == 8 * 2
    assert found[1, :, :2].sum() == 0


def test_equal_parts_of_a_line_differ_by_one_at_most() -> None:
    assert line_parts(7, 2).tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert line_parts(8, 4).bincount().tolist() == [2, 2, 2, 2]
    assert line_parts(5, 1).tolist() == [0] * 5
