"""Distances between sets of features are the textbook's, and never between features that cannot be compared."""

from __future__ import annotations

import io
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import linalg

from hvit.errors import UserError
from hvit.metrics.frechet import (
    Extractor,
    FeatureSource,
    FeatureStatistics,
    frechet_distance,
    kernel_distance,
    nearest,
    precision_recall,
    spread,
)

SOURCE = FeatureSource("toy", "abc", "none")


def statistics(mean: np.ndarray, covariance: np.ndarray) -> FeatureStatistics:
    return FeatureStatistics(SOURCE, "made", 100, np.asarray(mean, float), np.asarray(covariance, float))


def points(count: int, dim: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(size=(count, dim)) @ random.normal(size=(dim, dim)) + random.normal(size=dim)


def test_the_frechet_distance_of_normal_distributions_is_the_closed_form() -> None:
    # Covariances that commute: |m1 - m2|^2 + sum (sqrt(a) - sqrt(b))^2 over the shared axes.
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    first = statistics(np.array([1.0, 2.0, 3.0]), turn @ np.diag([4.0, 9.0, 0.0]) @ turn.T)
    second = statistics(np.array([1.0, 0.0, 3.0]), turn @ np.diag([1.0, 9.0, 16.0]) @ turn.T)
    assert frechet_distance(first, second) == pytest.approx(4 + 1 + 0 + 16, rel=1e-9)


def test_the_frechet_distance_agrees_with_a_matrix_root() -> None:
    first, second = (FeatureStatistics.of(points(200, 6, seed), SOURCE, "made") for seed in (1, 2))
    root = linalg.sqrtm(first.covariance @ second.covariance).real
    gap = first.mean - second.mean
    expected = gap @ gap + np.trace(first.covariance + second.covariance - 2 * root)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(second, first) == pytest.approx(expected, rel=1e-8)


def test_fewer_images_than_dimensions_give_the_right_distance_too() -> None:
    # The trace of the root is the sum of the singular values of the centred features' product: no root of a matrix.
    sets = [points(5, 40, seed) for seed in (1, 2)]
    first, second = (FeatureStatistics.of(one, SOURCE, "made") for one in sets)
    centred = [one - one.mean(axis=0) for one in sets]
    shared = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum() / 4
    gap = first.mean - second.mean
    expected = gap @ gap + np.trace(first.covariance) + np.trace(second.covariance) - 2 * shared
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("count", [3, 300])
def test_a_set_has_no_distance_from_itself_and_a_shift_counts_squared(count: int) -> None:
    one = points(count, 20)
    same = FeatureStatistics.of(one, SOURCE, "made")
    moved = FeatureStatistics.of(one + 3.0, SOURCE, "made")
    scale = np.trace(same.covariance)
    assert frechet_distance(same, same) == pytest.approx(0, abs=1e-6 * scale)
    assert frechet_distance(same, moved) == pytest.approx(20 * 9, abs=1e-6 * scale)


def test_statistics_are_those_of_numpy() -> None:
    one = points(50, 4)
    found = FeatureStatistics.of(one.astype(np.float32), SOURCE, "held out")
    np.testing.assert_allclose(found.covariance, np.cov(one.T), rtol=1e-5)
    assert found.mean.dtype == found.covariance.dtype == np.float64
    assert (found.count, found.split) == (50, "held out")
    with pytest.raises(UserError, match="two images or more"):
        FeatureStatistics.of(one[:1], SOURCE, "held out")


def test_statistics_come_back_from_their_file(tmp_path: Path) -> None:
    stored = FeatureStatistics.of(points(30, 5), SOURCE, "held out")
    stored.save(tmp_path / "folder" / "statistics.npz")
    found = FeatureStatistics.load(tmp_path / "folder" / "statistics.npz", SOURCE)
    assert (found.source, found.split, found.count) == (SOURCE, "held out", 30)
    assert np.array_equal(found.mean, stored.mean)
    assert np.array_equal(found.covariance, stored.covariance)


@pytest.mark.parametrize("field", ["name", "fingerprint", "resize"])
def test_statistics_of_another_source_are_refused(tmp_path: Path, field: str) -> None:
    stored = FeatureStatistics.of(points(30, 5), SOURCE, "held out")
    stored.save(tmp_path / "statistics.npz")
    other = replace(SOURCE, **{field: "another"})
    with pytest.raises(UserError, match=f"{field} .*'another'"):
        FeatureStatistics.load(tmp_path / "statistics.npz", other)
    with pytest.raises(UserError, match=field):
        frechet_distance(stored, replace(stored, source=other))


def test_damaged_and_hostile_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "statistics.npz"
    with pytest.raises(UserError, match="there is no file"):
        FeatureStatistics.load(path, SOURCE)
    stored = FeatureStatistics.of(points(30, 5), SOURCE, "held out")
    stored.save(path)
    whole = path.read_bytes()
    np.save(tmp_path / "objects.npy", np.array([{"code": 1}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "other.npz", mean=np.zeros(3), covariance=np.zeros((2, 2)), told=np.array("{}"))
    bad = [whole[: len(whole) // 2], b"", b"PK\x03\x04", (tmp_path / "objects.npy").read_bytes()]
    bad.append((tmp_path / "other.npz").read_bytes())
    np.savez_compressed(tmp_path / "bomb.npz", mean=np.zeros(10**7), covariance=np.zeros(1), told=np.array("{}"))
    bad.append((tmp_path / "bomb.npz").read_bytes())
    giant = io.BytesIO()
    np.lib.format.write_array_header_1_0(giant, {"descr": "<f8", "fortran_order": False, "shape": (2**40,)})
    with zipfile.ZipFile(tmp_path / "giant.npz", "w") as archive, zipfile.ZipFile(path) as valid:
        archive.writestr("mean.npy", giant.getvalue() + bytes(80))
        for name in ("covariance.npy", "told.npy"):
            archive.writestr(name, valid.read(name))
    bad.append((tmp_path / "giant.npz").read_bytes())
    nested = np.array("[" * 100_000)
    np.savez(tmp_path / "nested.npz", mean=stored.mean, covariance=stored.covariance, told=nested)
    bad.append((tmp_path / "nested.npz").read_bytes())
    for content in bad:
        path.write_bytes(content)
        with pytest.raises(UserError, match="damaged"):
            FeatureStatistics.load(path, SOURCE)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match="it is a pipe"):
        FeatureStatistics.load(path, SOURCE)
    path.unlink()
    replace(stored, covariance=stored.covariance[:3]).save(path)
    with pytest.raises(UserError, match="damaged"):
        FeatureStatistics.load(path, SOURCE)


def test_only_inception_gives_an_fid() -> None:
    assert FeatureSource("Inception-v3", is_inception=True).measure == "FID"
    assert FeatureSource("nest_micro_32").measure == "Frechet distance in nest_micro_32 features"
    assert "FID" not in FeatureSource("Inception-v3").measure


def test_features_are_double_and_have_to_be_finite() -> None:
    extractor = Extractor(SOURCE, lambda images: images.flatten(1))
    images = torch.rand(2, 1, 2, 2, requires_grad=True)
    assert extractor.features(images).dtype == np.float64
    np.testing.assert_array_equal(extractor.features(images), images.detach().flatten(1).numpy())
    with pytest.raises(UserError, match="diverged"):
        extractor.features(torch.full((1, 1, 2, 2), float("nan")))


def test_precision_and_recall_of_sets_made_by_hand() -> None:
    # On a line, with one neighbour: the real ones at 0, 1, 10 and 11 reach 1 far each.
    real = np.array([[0.0], [1.0], [10.0], [11.0]])
    made = np.array([[0.5], [0.6], [5.0]])  # two near the left pair; reaching 0.1, 0.1 and 4.4
    precision, recall = precision_recall(real, made, neighbours=1)
    assert precision == pytest.approx(2 / 3)
    assert recall == pytest.approx(1 / 4)  # 1 is 4 from 5, which reaches 4.4; 0 and the right pair are in no reach
    assert precision_recall(real, real, 1) == (1.0, 1.0)
    assert precision_recall(real, real + 100, 1) == (0.0, 0.0)
    with pytest.raises(UserError, match="two real"):
        precision_recall(real, made[:1])


def test_precision_and_recall_fall_for_noise_and_for_a_collapse() -> None:
    real = points(300, 4)
    one_mode = real[:1] + 1e-3 * points(300, 4, seed=5)
    precision, recall = precision_recall(real, one_mode)
    assert precision > 0.9
    assert recall < 0.05
    precision, recall = precision_recall(real, 30 * points(300, 4, seed=6))
    assert precision < 0.3


def test_large_sets_are_compared_in_parts_without_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    real, made = points(40, 3), points(30, 3, seed=3)
    whole = precision_recall(real, made), nearest(made, real, 2)[0].tolist(), spread(real)
    monkeypatch.setattr("hvit.metrics.frechet._AT_ONCE", 7)
    assert (precision_recall(real, made), nearest(made, real, 2)[0].tolist()) == whole[:2]
    assert spread(real).mean_distance == pytest.approx(whole[2].mean_distance)


def test_neighbours_come_nearest_first() -> None:
    indices, distances = nearest(np.array([[0.0, 0.0], [9.0, 0.0]]), np.array([[10.0, 0.0], [3.0, 4.0]]), 2)
    assert indices.tolist() == [[1, 0], [0, 1]]
    np.testing.assert_allclose(distances, [[5, 10], [1, 52**0.5]])


def test_spread_tells_alike_images_from_a_few_kinds_of_images() -> None:
    corners = np.array([[0.0, 0.0], [0.0, 4.0], [3.0, 0.0]])
    found = spread(corners)
    assert found.mean_distance == pytest.approx((4 + 3 + 5) / 3)
    assert found.nearest_distance == pytest.approx(3)
    repeated = spread(np.repeat(corners, 20, axis=0))
    assert repeated.mean_distance > 2
    assert repeated.nearest_distance == pytest.approx(0, abs=1e-6)


def test_the_kernel_distance_is_the_mean_over_all_pairs_of_different_points() -> None:
    first, second = points(5, 3, 1), points(4, 3, 2)

    def kernel(one: np.ndarray, other: np.ndarray) -> float:
        return float((one @ other / 3 + 1) ** 3)

    within = [
        np.mean([kernel(one, other) for a, one in enumerate(some) for b, other in enumerate(some) if a != b])
        for some in (first, second)
    ]
    across = np.mean([kernel(one, other) for one in first for other in second])
    assert kernel_distance(first, second) == pytest.approx(sum(within) - 2 * across, rel=1e-10)
    # Blocks of rows change nothing, and of one distribution it is about 0 however few points there are.
    many = points(3000, 3)
    assert abs(kernel_distance(many[:1500], many[1500:])) < 0.05 * kernel_distance(many[:1500], many[1500:] + 1)
    with pytest.raises(UserError, match="two images or more"):
        kernel_distance(first[:1], second)


def test_the_kernel_distance_is_the_kid_of_torch_fidelity() -> None:
    theirs = pytest.importorskip("torch_fidelity.metric_kid")
    first, second = points(60, 8, 1), points(60, 8, 2)
    # One subset of all points is all points, in another order.
    settings = {"kid_subsets": 1, "kid_subset_size": 60, "rng_seed": 0, "verbose": False}
    found = theirs.kid_features_to_metric(torch.from_numpy(first), torch.from_numpy(second), **settings)
    assert kernel_distance(first, second) == pytest.approx(found["kernel_inception_distance_mean"], rel=1e-9)


def test_distances_are_called_what_their_features_allow() -> None:
    inception = FeatureSource("Inception-v3", is_inception=True)
    assert (inception.measure, inception.kernel_measure) == ("FID", "KID")
    other = FeatureSource("EfficientNet-Lite0", short="FD-EfficientNet-Lite0")
    assert other.measure == "FD-EfficientNet-Lite0"
    assert other.kernel_measure == "kernel distance in EfficientNet-Lite0 features"
