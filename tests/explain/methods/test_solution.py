"""Claims about plans: what a budget of forward passes affords."""

from __future__ import annotations

import pytest

from hvit.errors import UserError
from hvit.explain.methods.exchange import Cost
from hvit.explain.methods.solution import count_coalitions, passes, plan


@pytest.mark.parametrize(
    ("limit", "modes"),
    [
        (464, ["exact", "exact"]),
        (463, ["exact", "estimated"]),
        (128, ["exact", "estimated"]),
        (127, ["exact", "along the paths"]),
        (44, ["exact", "along the paths"]),
        (43, ["exact"]),
        (16, ["exact"]),
    ],
)
def test_a_plan_takes_the_most_exact_values_that_fit(limit: float, modes: list[str]) -> None:
    assert plan((4, 4), Cost(), limit) == modes


def test_cheaper_coalitions_allow_more_of_them_and_deeper_trees_are_never_more_exact_than_their_parents() -> None:
    assert plan((4, 4), Cost(0.5), 250) == ["exact", "exact"]
    assert plan((4, 4, 4), Cost(), 700) == ["exact", "exact", "along the paths"]
    assert plan((4, 4, 4), Cost(), 1e6) == ["exact"] * 3
    assert plan((4, 4, 4), Cost(), 1e6, exact=False) == ["exact", "estimated", "estimated"]
    assert count_coalitions((4, 4), 0, "exact") + count_coalitions((4, 4), 1, "exact") + 2 == 464


def test_a_budget_that_does_not_reach_the_quadrants_is_refused() -> None:
    with pytest.raises(UserError, match="too small: the largest blocks alone need 16"):
        plan((4, 4), Cost(), 15.9)


def test_what_is_computed_once_counts_too() -> None:
    assert passes((4, 4), ["exact", "along the paths"], Cost(0.5, 3.0)) == 3 + 0.5 * (14 + 28)
    assert plan((4,), Cost(0.5, 3.0), 10) == ["exact"]
    with pytest.raises(UserError, match="alone need 11"):
        plan((4,), Cost(0.5, 4.0), 10.9)
