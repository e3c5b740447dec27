"""Scores of levels count what they say."""

from __future__ import annotations

import numpy as np
import pytest

from hvit.labels import LabelLevel, finest, level_probabilities
from hvit.metrics.hierarchy import hierarchy_scores

SPECIES = ("cat", "fox", "jackal", "wolf")
LEVELS = (
    LabelLevel("family", ("cats", "dogs"), (0, 1, 1, 1)),
    LabelLevel("genus", ("canis", "felis", "vulpes"), (1, 2, 0, 0)),
    finest("species", SPECIES),
)


def test_the_probability_of_a_genus_is_the_sum_of_its_species() -> None:
    found = level_probabilities(np.array([[0.1, 0.2, 0.3, 0.4]]), LEVELS[1])
    assert found == pytest.approx(np.array([[0.7, 0.1, 0.2]]))


def test_mistakes_weigh_by_the_levels_to_the_common_ancestor() -> None:
    wolf = np.full(4, 3)
    shares = np.eye(4)[[3, 2, 1, 0]]  # right, same genus, same family, nothing in common
    scores = hierarchy_scores(shares, wolf, LEVELS)
    assert scores["hierarchical_distance"] == (0 + 1 + 2 + 3) / 4
    assert scores["mistake_severity"] == 2.0
    assert [row["top1"] for row in scores["levels"]] == [0.75, 0.5, 0.25]
    assert hierarchy_scores(shares[:1], wolf[:1], LEVELS)["mistake_severity"] is None


def test_a_genus_can_be_right_where_the_most_probable_species_is_not() -> None:
    scores = hierarchy_scores(np.array([[0.0, 0.4, 0.3, 0.3]]), np.array([3]), LEVELS)
    assert [row["top1"] for row in scores["levels"]] == [1.0, 1.0, 0.0]
