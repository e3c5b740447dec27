"""Claims about Shapley and Owen values: they are the averages over all orders, and nothing is lost."""

from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
import pytest

from hvit.explain.methods.coalitions import coalitions, contexts, divide, everything, leaves_of, nodes_above


def random_game(leaves: int, seed: int = 0) -> np.ndarray:
    """What every coalition of a game without any structure is worth."""
    return np.random.default_rng(seed).normal(size=2**leaves)


def owen_by_orders(worth: np.ndarray, arities: tuple[int, ...]) -> np.ndarray:
    """The value of every leaf: the mean of what it adds, over all orders in which blocks stay together."""

    def orders(node: tuple[int, ...]) -> list[list[int]]:
        if len(node) == len(arities):
            return [[leaves_of(node, arities).bit_length() - 1]]
        below = [orders((*node, child)) for child in range(arities[len(node)])]
        found = []
        for order in permutations(range(len(below))):
            lines: list[list[int]] = [[]]
            for child in order:
                lines = [line + more for line in lines for more in below[child]]
            found += lines
        return found

    total, every = np.zeros(int(np.prod(arities))), orders(())
    for order in every:
        present = 0
        for leaf in order:
            total[leaf] += worth[present | 1 << leaf] - worth[present]
            present |= 1 << leaf
    return total / len(every)


def values_of(worth: np.ndarray, arities: tuple[int, ...], exact: bool = True) -> list[np.ndarray]:
    """The values of every depth, in the order of the nodes' paths."""
    found = []
    for depth in range(len(arities)):
        parts = []
        for node in nodes_above(arities, depth):
            around = contexts(node, arities, exact)
            asked = np.array(coalitions(node, arities, around))
            parts.append(divide(worth[asked], [one.weight for one in around]).values)
        found.append(np.concatenate(parts))
    return found


@pytest.mark.parametrize("arities", [(4,), (2, 2), (2, 2, 2), (3, 2), (2, 3), (4, 2)])
def test_values_are_the_mean_over_all_orders_in_which_blocks_stay_together(arities: tuple[int, ...]) -> None:
    worth = random_game(int(np.prod(arities)))
    assert values_of(worth, arities)[-1] == pytest.approx(owen_by_orders(worth, arities), abs=1e-12)


@pytest.mark.parametrize("arities", [(4,), (4, 4), (2, 3, 2)])
def test_children_add_up_to_their_parent_and_the_whole_to_its_worth(arities: tuple[int, ...]) -> None:
    worth = random_game(int(np.prod(arities)))
    depths = values_of(worth, arities)
    assert depths[0].sum() == pytest.approx(worth[-1] - worth[0], abs=1e-12)
    for above, below in pairwise(depths):
        assert below.reshape(len(above), -1).sum(1) == pytest.approx(above, abs=1e-12)


def test_all_sixteen_blocks_need_464_different_coalitions() -> None:
    arities = (4, 4)
    asked = {
        one
        for depth in (0, 1)
        for node in nodes_above(arities, depth)
        for row in coalitions(node, arities, contexts(node, arities))
        for one in row
    }
    assert len(asked) == 464
    assert {0, everything(arities)} <= asked


def test_a_leaf_that_adds_nothing_is_worth_nothing_and_equal_leaves_are_worth_the_same() -> None:
    present = np.arange(2**4)[:, None] >> np.arange(4) & 1
    worth = np.maximum(present[:, 0], present[:, 1]) * 3.0 + present[:, 2]
    assert values_of(worth, (4,))[0] == pytest.approx([1.5, 1.5, 1.0, 0.0], abs=1e-12)


def test_a_lead_is_the_mean_and_its_spread_the_deviation_over_what_else_is_present() -> None:
    worth = random_game(4)
    division = divide(worth[None], [1.0])
    gaps = [worth[rest | 1] - worth[rest | 2] for rest in (0, 4, 8, 12)]
    shares = [1 / 3, 1 / 6, 1 / 6, 1 / 3]
    mean = np.dot(shares, gaps)
    assert division.leads[0, 1] == pytest.approx(mean)
    assert division.spreads[0, 1] == pytest.approx(np.sqrt(np.dot(shares, (np.array(gaps) - mean) ** 2)))
    assert division.spreads[1, 0] == division.spreads[0, 1]


def test_two_contexts_are_exact_where_blocks_do_not_interact() -> None:
    worth = (np.arange(2**16)[:, None] >> np.arange(16) & 1) @ np.arange(16.0)
    assert values_of(worth, (4, 4), exact=False)[-1] == pytest.approx(np.arange(16.0), abs=1e-9)
