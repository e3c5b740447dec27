"""How far generated images are from real ones: pure functions on features, in float64, and what the features come from.

The name rule: the Frechet distance is called FID in the features of Inception alone, as those who publish FIDs use it
(torch-fidelity, with a local weights file). In any other features it is the "Frechet distance in <name> features", or
has a name of its own (FD-DINOv2, FD-EfficientNet-Lite0), and compares runs with the same features and nothing else. The
kernel distance is called KID in the same case alone.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hvit.errors import UserError
from hvit.files import read_whole, replacing

_LARGEST = 400_000_000  # bytes of a file of statistics: those of 7,000 features
_AT_ONCE = 1024
"""Rows of a table of distances that are in memory together."""


@dataclass(frozen=True)
class FeatureSource:
    """What features were computed with, so that only features of one source are ever compared."""

    name: str
    """What computed them, in a few words: they are <name> features."""
    fingerprint: str = ""
    """Checksum of the weights that they were computed with; empty where there are none."""
    resize: str = "none"
    """How images were brought to the size that it takes."""
    is_inception: bool = False
    """Whether it is the Inception of published FIDs."""
    short: str = ""
    """What the Frechet distance in these features is called, where it has a name of its own, such as FD-DINOv2."""

    @property
    def measure(self) -> str:
        """What the Frechet distance in these features is called."""
        return "FID" if self.is_inception else self.short or f"Frechet distance in {self.name} features"

    @property
    def kernel_measure(self) -> str:
        """What the kernel distance in these features is called."""
        return "KID" if self.is_inception else f"kernel distance in {self.name} features"


@dataclass(frozen=True)
class Extractor:
    """Turns images into features."""

    source: FeatureSource
    """What is recorded of it."""
    extract: Callable[[Tensor], Tensor]
    """Features (batch, dim) of images (batch, channels, height, width) from 0 to 1, of any device."""
    classes: tuple[str, ...] = ()
    """Names of the classes of what computes them; empty where it does not classify."""
    recognise: Callable[[Tensor], Tensor] | None = None
    """Class numbers (batch,) of such images, of a classifier."""

    def features(self, images: Tensor) -> np.ndarray:
        """Features (batch, dim) float64 of images (batch, channels, height, width) from 0 to 1.

        Raises UserError for features that are no finite numbers, as images of a diverged run give.
        """
        with torch.no_grad():
            features = self.extract(images.float()).double().cpu().numpy()
        if not np.isfinite(features).all():
            raise UserError("images have features that are no finite numbers: what made them has diverged")
        return features


@dataclass(frozen=True)
class FeatureStatistics:
    """Mean and covariance of features, and what they are of: all that the Frechet distance needs."""

    source: FeatureSource
    """What computed the features."""
    split: str
    """Which images they are of, such as "held out"."""
    count: int
    """How many images."""
    mean: np.ndarray
    """(dim,) float64."""
    covariance: np.ndarray
    """(dim, dim) float64, divided by count - 1."""

    @staticmethod
    def of(features: np.ndarray, source: FeatureSource, split: str) -> FeatureStatistics:
        """The statistics of features (images, dim). Raises UserError for fewer than two images."""
        points = np.asarray(features, dtype=np.float64)
        if len(points) < 2:
            raise UserError(f"statistics of features need two images or more; {split} has {len(points)}")
        mean = points.mean(axis=0)
        centred = points - mean
        return FeatureStatistics(source, split, len(points), mean, centred.T @ centred / (len(points) - 1))

    def save(self, path: str | Path) -> None:
        """Writes them as an .npz file, with what they are of; the file appears whole or not at all."""
        facts = json.dumps({"source": asdict(self.source), "split": self.split, "count": self.count})
        content = io.BytesIO()
        np.savez(content, mean=self.mean, covariance=self.covariance, told=np.array(facts))
        with replacing(path) as file:
            file.write(content.getbuffer())

    @staticmethod
    def load(path: str | Path, source: FeatureSource) -> FeatureStatistics:
        """Reads statistics of features of a source; nothing in the file is ever executed.

        Raises UserError where the file cannot be read, is damaged, or is of features of another source.
        """
        try:
            content = read_whole(Path(path), _LARGEST)
        except UserError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise UserError(f"there is no file {path} of feature statistics") from error
            raise
        try:
            facts = json.loads(str(_array(content, "told")))
            mean, covariance = (np.asarray(_array(content, name), dtype=np.float64) for name in ("mean", "covariance"))
            read = FeatureStatistics(
                FeatureSource(**facts["source"]), str(facts["split"]), int(facts["count"]), mean, covariance
            )
            if not all(isinstance(value, str | bool) for value in asdict(read.source).values()):
                raise ValueError("no source of features")
        except Exception as error:  # whatever a reader of untrusted bytes may raise
            raise UserError(f"{path} is damaged, or no file of feature statistics of ours") from error
        whole = mean.ndim == 1 and covariance.shape == (len(mean), len(mean)) and read.count > 1
        if not (whole and np.isfinite(mean).all() and np.isfinite(covariance).all()):
            raise UserError(f"{path} is damaged: its mean and covariance are not those of features")
        refuse_other_source(read.source, source, str(path))
        return read


def _array(content: bytes, name: str) -> np.ndarray:
    """One array of an .npz file, which takes no more memory than it has in the file. Raises ValueError and others."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        part = archive.getinfo(f"{name}.npy")
        if part.compress_type != zipfile.ZIP_STORED or part.file_size > len(content):
            raise ValueError("compressed, or larger than its file")
        stream = io.BytesIO(archive.read(part))
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("an array of another version")
    shape, in_columns, kind = np.lib.format.read_array_header_1_0(stream)
    return np.frombuffer(stream.read(), kind).reshape(shape, order="F" if in_columns else "C")


def refuse_other_source(found: FeatureSource, wanted: FeatureSource, where: str) -> None:
    """Raises UserError where features are not of the source wanted, and says in what they differ."""
    for field, value in asdict(found).items():
        other: object = getattr(wanted, field)
        if value != other:
            raise UserError(
                f"{where} holds statistics of features with {field} {value!r}, and those to compare have {other!r}: "
                f"distances between them mean nothing; compute the statistics anew"
            )


def frechet_distance(first: FeatureStatistics, second: FeatureStatistics) -> float:
    """The Frechet distance between normal distributions with these means and covariances (arXiv 1706.08500, eq. 6).

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)). The trace of the root is that of the symmetric (A C2 A)^(1/2) with
    A = C1^(1/2), by eigenvalues: real and stable for covariances of few images, which have no full rank. It is too
    large for few images, the more so the more dimensions there are: compare equal counts only.
    Raises UserError for features of different sources.
    """
    refuse_other_source(second.source, first.source, second.split)
    assert first.mean.shape == second.mean.shape, f"{first.mean.shape} features and {second.mean.shape}"
    values, vectors = np.linalg.eigh(first.covariance)
    root = (vectors * _roots(values)) @ vectors.T
    middle = root @ second.covariance @ root
    shared = _roots(np.linalg.eigvalsh((middle + middle.T) / 2)).sum()
    difference = first.mean - second.mean
    total = difference @ difference + np.trace(first.covariance) + np.trace(second.covariance) - 2 * shared
    return max(float(total), 0.0)


def kernel_distance(first: np.ndarray, second: np.ndarray) -> float:
    """The squared maximum mean discrepancy between two sets of features (images, dim), in float64.

    The unbiased estimate with the kernel (x y / dim + 1)^3 of KID (Binkowski et al., arXiv 1801.01401, equation 4 and
    section 4). Unlike the Frechet distance it is right for few images, too, on average: so it may be a little below 0
    for sets of the same distribution. Published KIDs are means over subsets, which estimate the same number.
    Raises UserError for sets of fewer than two.
    """
    first, second = (np.asarray(points, dtype=np.float64) for points in (first, second))
    if min(len(first), len(second)) < 2:
        raise UserError(f"a kernel distance needs two images or more of each; there are {len(first)} and {len(second)}")
    within = sum(
        _kernel_sum(points, points, itself=True) / (len(points) * (len(points) - 1)) for points in (first, second)
    )
    return float(within - 2 * _kernel_sum(first, second) / (len(first) * len(second)))


def _kernel_sum(first: np.ndarray, second: np.ndarray, itself: bool = False) -> float:
    """The sum of the kernel over all pairs; of a set with itself without the pairs of a point with itself."""
    dim, total = first.shape[1], 0.0
    for start in range(0, len(first), _AT_ONCE):
        total += float(((first[start : start + _AT_ONCE] @ second.T / dim + 1) ** 3).sum())
    return total - float((((first * first).sum(1) / dim + 1) ** 3).sum()) if itself else total


def _roots(eigenvalues: np.ndarray) -> np.ndarray:
    """Square roots of eigenvalues, where those that rounding alone has made are 0: their roots would be large."""
    rounding = len(eigenvalues) * np.finfo(np.float64).eps * np.abs(eigenvalues).max()
    return np.sqrt(np.where(eigenvalues > rounding, eigenvalues, 0.0))


def precision_recall(real: np.ndarray, generated: np.ndarray, neighbours: int = 3) -> tuple[float, float]:
    """Share of generated images that lie among the real ones, and of real ones that lie among the generated ones.

    real, generated: features (images, dim). A point lies among a set if it is as near to one of its points as that
    one's k-th nearest other point of the set (Kynkaanniemi et al., arXiv 1904.06991, equations 1 to 3). neighbours:
    that k, less where a set has not so many. Raises UserError for sets of fewer than two.
    """
    return _share_among(generated, real, neighbours), _share_among(real, generated, neighbours)


def _share_among(points: np.ndarray, others: np.ndarray, neighbours: int) -> float:
    if len(others) < 2 or len(points) < 1:
        raise UserError("precision and recall need two real and two generated images or more")
    centre = np.mean(others, axis=0, dtype=np.float64)
    points, others = points - centre, others - centre
    rank = min(neighbours, len(others) - 1)
    # The nearest point of a set to one of its own is itself.
    radii = np.concatenate([np.partition(rows, rank, axis=1)[:, rank] for rows in _squared_distances(others, others)])
    hits = sum(int((rows <= radii).any(axis=1).sum()) for rows in _squared_distances(points, others))
    return hits / len(points)


def nearest(points: np.ndarray, others: np.ndarray, count: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The nearest of other points to each point: indices and distances, (points, count) each, nearest first."""
    centre = np.mean(others, axis=0, dtype=np.float64)
    indices, distances = [], []
    for rows in _squared_distances(points - centre, others - centre):
        order = np.argsort(rows, axis=1, kind="stable")[:, :count]
        indices.append(order)
        distances.append(np.sqrt(np.take_along_axis(rows, order, axis=1)))
    return np.concatenate(indices), np.concatenate(distances)


@dataclass(frozen=True)
class Spread:
    """How different the images of a set are from each other."""

    mean_distance: float
    """The mean distance between two images."""
    nearest_distance: float
    """The median distance of an image to the nearest other one."""


def spread(features: np.ndarray, most: int = 1000) -> Spread:
    """How different images are, by their features (images, dim): two or more, of which the first `most` are taken."""
    points = features[:most] - np.mean(features[:most], axis=0, dtype=np.float64)
    assert len(points) > 1, "one image has no spread"
    distances = np.sqrt(np.concatenate(list(_squared_distances(points, points))))
    np.fill_diagonal(distances, 0)
    mean = distances.sum() / (len(points) * (len(points) - 1))
    np.fill_diagonal(distances, np.inf)
    return Spread(float(mean), float(np.median(distances.min(axis=1))))


def _squared_distances(points: np.ndarray, others: np.ndarray) -> Iterator[np.ndarray]:
    """Tables (some points, others) of squared distances, one after the other."""
    squares = np.square(others).sum(axis=1)
    for start in range(0, len(points), _AT_ONCE):
        rows = points[start : start + _AT_ONCE]
        yield (np.square(rows).sum(axis=1)[:, None] + squares - 2 * rows @ others.T).clip(0)
