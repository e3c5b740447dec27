"""Nearest neighbours equal those of all distances, and copies are found, each with its kind."""

from __future__ import annotations

import numpy as np
import pytest

from hvit.metrics import nearest as module
from hvit.metrics.nearest import near_duplicates, nearest


def test_neighbours_are_those_of_the_whole_table_of_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 7)
    points = np.random.default_rng(0).normal(size=(40, 5))
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    table = 1 - unit @ unit.T
    np.fill_diagonal(table, np.inf)
    distances, indices = nearest(points, points, 3, are_the_same=True)
    np.testing.assert_array_equal(indices, table.argsort(axis=1)[:, :3])
    np.testing.assert_allclose(distances, np.sort(table, axis=1)[:, :3], atol=1e-6)


def test_ties_go_to_the_first_and_there_are_no_more_neighbours_than_points() -> None:
    points = np.ones((4, 2))
    assert nearest(points[:1], points, 9)[1].tolist() == [[0, 1, 2, 3]]
    assert nearest(points, points, 9, are_the_same=True)[1].tolist() == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]
    assert nearest(points[:1], points[:1], 3, are_the_same=True)[1].shape == (1, 0)


def test_each_kind_of_copy_is_found_once_the_surest_first() -> None:
    random = np.random.default_rng(1)
    features, pictures = random.normal(size=(8, 64)), np.sign(random.normal(size=(8, 256)))
    hashes = [f"{number}" for number in range(8)]
    hashes[5] = hashes[0]  # the same file
    pictures[6] = np.where(np.arange(256) < 5, -pictures[1], pictures[1])  # compressed again
    pictures[7] = -pictures[2]  # "mirrored", for the function below
    features[4] = features[3] + 0.01
    pairs = near_duplicates(features, hashes, pictures, np.negative, distance=0.01)
    assert [(pair.first, pair.second, pair.kind) for pair in pairs] == [
        (0, 5, "same file"), (1, 6, "same picture"), (2, 7, "mirrored"), (3, 4, "similar"),
    ]  # fmt: skip
