"""Distances to the nearest training features: right, ranked among held-out ones, and stored with a checksum."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hvit.errors import UserError
from hvit.metrics.outliers import MOST_KEPT, NearestTraining


def near(count: int, seed: int, centre: int = 0) -> np.ndarray:
    points = np.random.default_rng(seed).normal(0, 0.1, (count, 16)).astype(np.float32)
    points[:, centre] += 1
    return points


def test_what_lies_elsewhere_is_farther_than_every_held_out_sample() -> None:
    found = NearestTraining.of(near(200, 0), near(100, 1))
    assert (found.shares_nearer(found.distances(near(50, 2, centre=3))) == 1).all()
    shares = found.shares_nearer(found.distances(near(400, 3)))
    assert 0.4 < shares.mean() < 0.6, "others of the same kind lie like the held-out ones"
    assert np.allclose(found.distances(7 * near(5, 4)), found.distances(near(5, 4)), atol=1e-6), "only directions count"


def test_distances_are_those_of_the_five_nearest() -> None:
    training, asked = near(30, 0), near(4, 1)
    found = NearestTraining.of(training, asked)
    units = [points / np.linalg.norm(points, axis=1, keepdims=True) for points in (training, asked)]
    expected = np.sort(1 - units[1] @ units[0].T, axis=1)[:, :5].mean(axis=1)
    assert np.allclose(found.distances(asked), expected, atol=1e-3)  # kept in half precision
    few = NearestTraining.of(training[:2], asked)
    assert np.isfinite(few.distances(asked)).all()


def test_at_most_a_thousand_are_kept_and_come_back(tmp_path: Path) -> None:
    found = NearestTraining.of(near(3 * MOST_KEPT, 0), near(10, 1))
    assert len(found.training) == MOST_KEPT
    checksum = found.save(tmp_path / "outliers.safetensors")
    again = NearestTraining.load(tmp_path / "outliers.safetensors", checksum)
    assert np.array_equal(again.training, found.training)
    assert np.array_equal(again.held_out, found.held_out)
    assert (tmp_path / "outliers.safetensors").stat().st_size < 40_000


def test_files_of_other_weights_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "outliers.safetensors"
    checksum = NearestTraining.of(near(10, 0), near(5, 1)).save(path)
    with pytest.raises(UserError, match="does not belong to the weights next to it"):
        NearestTraining.load(path, "0" * 64)
    import hashlib

    for content in (b"", b"PK no archive", path.read_bytes()[:-30]):
        path.write_bytes(content)
        with pytest.raises(UserError, match="is damaged"):
            NearestTraining.load(path, hashlib.sha256(content).hexdigest())
    assert checksum
