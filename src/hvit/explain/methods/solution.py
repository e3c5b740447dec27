"""Which blocks of a tree are divided within a budget of forward passes, and how: the values of every depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Literal

import numpy as np

from hvit.errors import UserError
from hvit.explain.methods.coalitions import (
    Division,
    Path,
    coalitions,
    contexts,
    divide,
    nodes_above,
)
from hvit.explain.methods.exchange import Cost, Worths

Mode = Literal["exact", "estimated", "along the paths"]
"""How the blocks of a depth are divided: all of them with Owen's weights; all of them with nothing or everything else
present; or, so too, the blocks of the paths only."""
MODES: list[Mode] = ["exact", "estimated", "along the paths"]


def count_coalitions(arities: Sequence[int], step: int, mode: Mode) -> int:
    """How many coalitions the nodes of a depth need (of a path: one node), without those of whole nodes only."""
    nodes = 1 if mode == "along the paths" else prod(arities[:step])
    around = prod(2 ** (arity - 1) for arity in arities[:step]) if mode == "exact" else min(2, 1 + step)
    return nodes * around * (2 ** arities[step] - 2)


def plan(arities: Sequence[int], cost: Cost, limit: float, exact: bool = True) -> list[Mode]:
    """How each depth is divided within a budget, the first depth first; depths that it does not reach are missing.

    limit: forward passes for one image. exact: False estimates all depths but the first. Raises UserError for a budget
    that does not reach the first depth.
    """
    modes: list[Mode] = ["exact"]
    spent = passes(arities, modes, cost)
    if spent > limit:
        raise UserError(f"a budget of {limit:g} forward passes is too small: the largest blocks alone need {spent:.3g}")
    for step in range(1, len(arities)):
        first = max(MODES.index(modes[-1]), 0 if exact else 1)
        fitting: list[Mode] = [
            mode for mode in MODES[first:] if spent + count_coalitions(arities, step, mode) * cost.each <= limit
        ]
        if not fitting:
            break
        modes.append(fitting[0])
        spent += count_coalitions(arities, step, fitting[0]) * cost.each
    return modes


def passes(arities: Sequence[int], modes: Sequence[Mode], cost: Cost) -> float:
    """The forward passes that a plan takes for one image; of paths for one, as several may share theirs."""
    return cost.fixed + cost.each * sum(count_coalitions(arities, step, mode) for step, mode in enumerate(modes))


FORMS: dict[Mode, str] = {
    "exact": "exact for all blocks",
    "estimated": "exact for the largest blocks, estimated for smaller ones",
    "along the paths": "exact for the largest blocks, estimated for smaller ones along the paths",
}


@dataclass
class Solution:
    """The values of one image's blocks."""

    image: int
    """Its number among the images whose worths are known."""
    arities: tuple[int, ...]
    classes: list[int]
    worths: Worths
    modes: list[Mode]
    divisions: dict[Path, Division] = field(default_factory=dict)
    """How every divided node is divided among its children, for each class: values (children, classes)."""
    shifts: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """For each class, the most that was added to a value so that children add up to their parent."""
    passes: float = 0.0
    """What was spent, in forward passes."""

    def logits(self, coalition: int) -> np.ndarray:
        """The logits (all classes,) of a coalition."""
        return self.worths.known[self.image, coalition]

    def value(self, node: Path) -> np.ndarray:
        """The value of a node for each class."""
        return self.divisions[node[:-1]].values[node[-1]]

    def path(self, rank: int) -> Path:
        """The path of largest values of a class, as far as blocks are divided."""
        path: Path = ()
        while path in self.divisions:
            path += (int(self.divisions[path].values[:, rank].argmax()),)
        return path

    @property
    def form(self) -> str:
        """Which values are exact, in words."""
        return FORMS[self.modes[-1]]

    def questions(self, node: Path) -> list[tuple[int, int]]:
        """What has to be known to divide a node."""
        around = contexts(node, self.arities, self.modes[len(node)] == "exact")
        return [(self.image, one) for row in coalitions(node, self.arities, around) for one in row]

    def divide(self, node: Path) -> None:
        """Divides a node whose questions are known."""
        around = contexts(node, self.arities, self.modes[len(node)] == "exact")
        rows = coalitions(node, self.arities, around)
        worth = np.array([[self.logits(one)[self.classes] for one in row] for row in rows])
        division = divide(worth, [one.weight for one in around])
        if node:
            missing = (self.value(node) - division.values.sum(0)) / len(division.values)
            self.shifts = np.maximum(self.shifts, np.abs(missing))
            division = division._replace(values=division.values + missing)
        self.divisions[node] = division


def solve(
    worths: Worths, arities: tuple[int, ...], modes: list[Mode], classes: Sequence[list[int]], limit: float
) -> list[Solution]:
    """Divides the blocks of every image as planned.

    classes: those to explain of each image. limit: of forward passes, for one image.
    """
    cost = worths.cost
    solutions = [
        Solution(image, arities, own, worths, modes, shifts=np.zeros(len(own)), passes=cost.fixed)
        for image, own in enumerate(classes)
    ]
    for step, mode in enumerate(modes):
        if mode == "along the paths":
            for solution in solutions:
                _along_paths(solution, step, cost.each, limit)
            continue
        nodes = list(nodes_above(arities, step))
        asked = [{question for node in nodes for question in one.questions(node)} for one in solutions]
        for solution, questions in zip(solutions, asked, strict=True):
            solution.passes += cost.each * sum(one not in worths.known for one in questions)
        worths.ask(sorted(question for questions in asked for question in questions))
        for solution in solutions:
            for node in nodes:
                solution.divide(node)
    return solutions


def _along_paths(solution: Solution, step: int, cost: float, limit: float) -> None:
    """Divides the last block of each class's path, while the budget lasts; cost: of a coalition."""
    for rank in range(len(solution.classes)):
        node = solution.path(rank)
        if len(node) != step or node in solution.divisions:
            continue
        asked = dict.fromkeys(solution.questions(node))
        if solution.passes + cost * sum(one not in solution.worths.known for one in asked) > limit:
            return
        solution.passes += cost * solution.worths.ask(asked)
        solution.divide(node)
