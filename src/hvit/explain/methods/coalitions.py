"""Coalitions of blocks on a tree, and the Shapley and Owen values of what they are worth: pure arithmetic.

A tree divides the whole into `arities[0]` blocks, each of these into `arities[1]`, and so on; a node is the path of
child numbers from the whole to it, and the leaves are in the order of their paths. A coalition is a whole number: bit i
says whether leaf i is present.

- Shapley values (Shapley 1953) divide what the whole is worth among its children: the mean of what a child adds to
  every union of the others, over all orders in which they may come.
- Owen values (Owen, "Values of games with a priori unions", 1977) divide a node among its children while everything
  outside is present or absent in whole blocks: the weights of the unions around it multiply.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product
from math import factorial, prod
from typing import NamedTuple

import numpy as np

Path = tuple[int, ...]


class Context(NamedTuple):
    """What is present outside of a node while the node is divided."""

    present: int
    """The coalition of the leaves outside."""
    weight: float
    """Of this context among all contexts of the node; they add up to 1."""


class Division(NamedTuple):
    """The values of a node's children, and how far each of them leads."""

    values: np.ndarray
    """(children, ...): they add up to what the whole node is worth, averaged over its contexts."""
    leads: np.ndarray
    """(children, children, ...): the value of the first minus that of the second."""
    spreads: np.ndarray
    """(children, children, ...): standard deviation of that lead over what else may be present."""


def everything(arities: Sequence[int]) -> int:
    """The coalition of all leaves."""
    return (1 << prod(arities)) - 1


def leaves_of(node: Path, arities: Sequence[int]) -> int:
    """The coalition of the leaves of a node."""
    size, first = prod(arities[len(node) :]), 0
    for child, arity in zip(node, arities, strict=False):
        first = first * arity + child
    return ((1 << size) - 1) << (first * size)


def contexts(node: Path, arities: Sequence[int], exact: bool = True) -> list[Context]:
    """Everything that may be present outside of a node, with the weights of Owen's value.

    exact: False takes two contexts only, nothing else present and everything else present, of equal weight.
    """
    if not exact and node:
        return [Context(0, 0.5), Context(everything(arities) & ~leaves_of(node, arities), 0.5)]
    found = [Context(0, 1.0)]
    for step, own in enumerate(node):
        siblings = [leaves_of((*node[:step], other), arities) for other in range(arities[step]) if other != own]
        unions = [
            (
                sum(one for one, taken in zip(siblings, chosen, strict=True) if taken),
                _weight(sum(chosen), len(siblings)),
            )
            for chosen in product((False, True), repeat=len(siblings))
        ]
        found = [Context(outer.present | union, outer.weight * weight) for outer in found for union, weight in unions]
    return found


def coalitions(node: Path, arities: Sequence[int], around: Sequence[Context]) -> list[list[int]]:
    """The coalitions that divide a node: a row for each context, with every union of the node's children.

    Union number m has the children whose bits are set in m.
    """
    children = [leaves_of((*node, child), arities) for child in range(arities[len(node)])]
    unions = [
        sum(leaves for child, leaves in enumerate(children) if number >> child & 1)
        for number in range(2 ** len(children))
    ]
    return [[context.present | union for union in unions] for context in around]


def divide(worth: np.ndarray, weights: Sequence[float]) -> Division:
    """The values of a node's children.

    worth: (contexts, 2^children, ...), what the coalitions of `coalitions` are worth. weights: of the contexts.
    """
    children = int(worth.shape[1]).bit_length() - 1
    mean = np.tensordot(np.asarray(weights, dtype=np.float64), worth.astype(np.float64), 1)
    values = np.tensordot(_shapley_matrix(children), mean, 1)
    leads = values[:, None] - values[None]
    spreads = np.zeros_like(leads)
    for one in range(children):
        for other in range(one + 1, children):
            rest = [number for number in range(2**children) if not number >> one & 1 and not number >> other & 1]
            shares = [_weight(number.bit_count(), children - 2) for number in rest] if children > 1 else []
            both = np.multiply.outer(np.asarray(weights), shares)
            gaps = worth[:, [number | 1 << one for number in rest]] - worth[:, [number | 1 << other for number in rest]]
            squares = np.tensordot(both, (gaps.astype(np.float64) - leads[one, other]) ** 2, 2)
            spreads[one, other] = spreads[other, one] = np.sqrt(squares)
    return Division(values, leads, spreads)


def nodes_above(arities: Sequence[int], depth: int) -> Iterator[Path]:
    """All nodes of a depth, in the order of their paths; the whole is the only one of depth 0."""
    return product(*(range(arity) for arity in arities[:depth]))


def _weight(present: int, others: int) -> float:
    """The share of all orders of `others` + 1 children in which exactly the `present` ones come before one of them."""
    return factorial(present) * factorial(others - present) / factorial(others + 1)


@cache
def _shapley_matrix(children: int) -> np.ndarray:
    """(children, 2^children): by which the worths of all unions are multiplied to give Shapley values."""
    matrix = np.zeros((children, 2**children))
    for child in range(children):
        for union in range(2**children):
            inside = union >> child & 1
            before = union.bit_count() - inside
            matrix[child, union] = _weight(before, children - 1) * (1 if inside else -1)
    return matrix
