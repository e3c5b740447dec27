"""Claims about where blocks stand when a tree is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from hvit.explain.drawing.layout import curve, place_blocks
from tests.explain.drawing.trees import grow


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_blocks_stand_below_their_parents_and_next_to_each_other(depth: int) -> None:
    for seed in range(20):
        trees = [grow(depth, 4 * seed + number) for number in range(4)]
        places = place_blocks(trees, 1.0, 0.5)
        for step in range(1, depth + 1):
            row = sorted(x for block, x in places.items() if len(block) == step)
            assert min(np.diff(row)) >= 1 - 1e-9
            assert max(np.abs(row)) <= 1.5 * 4.5 + 1.5 + 1e-9
        if depth > 1:
            middles = [np.mean([places[first, second] for second in range(4)]) for first in range(4)]
            assert middles == pytest.approx([places[first,] for first in range(4)])


def test_lines_of_classes_that_share_a_path_run_side_by_side() -> None:
    place = np.linspace(0, 1, 200)[:, None]

    def points(aside: float, end: tuple[float, float]) -> np.ndarray:
        a, b, c, d = map(np.array, curve((0.0, 0.0), end, aside))
        return (1 - place) ** 3 * a + 3 * place * (1 - place) ** 2 * b + 3 * place**2 * (1 - place) * c + place**3 * d

    for end in ((-260.0, 58.0), (-64.0, 58.0), (0.0, 58.0), (30.0, 58.0), (260.0, 58.0)):
        left, right = points(-3, end), points(3, end)
        distances = np.linalg.norm(left[:, None] - right[None], axis=-1).min(axis=1)[20:-20]
        assert distances.min() > 4
        assert distances.max() < 8.5
