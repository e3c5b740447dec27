"""Nearest neighbours by the angle between features, and pairs of images that are nearly the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

_AT_ONCE = 1024
"""Rows of a table of distances that are in memory together."""
Kind = Literal["same file", "same picture", "mirrored", "similar"]


def directions(points: np.ndarray) -> np.ndarray:
    """Vectors (points, dim) of length 1, float32."""
    points = np.asarray(points, dtype=np.float32)
    return points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)


def nearest(
    queries: np.ndarray, points: np.ndarray, count: int, are_the_same: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest points of every query: distances and indices, both (queries, count), the nearest first.

    queries, points: (number, dim). The distance is 1 - cosine of the angle, from 0 to 2. are_the_same: queries are the
    points, and none is its own neighbour. Ties go to the point that comes first. Memory is that of 1,024 x points.
    """
    count = min(count, len(points) - are_the_same)
    if count < 1:
        return np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
    asked, known = directions(queries), directions(points)
    distances, indices = np.empty((len(asked), count), np.float32), np.empty((len(asked), count), np.int64)
    for start in range(0, len(asked), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        table = 1 - asked[part] @ known.T
        rows = np.arange(len(table))
        if are_the_same:
            table[rows, start + rows] = np.inf
        if count < table.shape[1]:
            chosen = np.sort(np.argpartition(table, count - 1, axis=1)[:, :count], axis=1)
        else:
            chosen = np.tile(np.arange(count), (len(table), 1))
        near = np.take_along_axis(table, chosen, axis=1)
        order = np.argsort(near, axis=1, kind="stable")
        distances[part] = np.take_along_axis(near, order, axis=1).clip(0)
        indices[part] = np.take_along_axis(chosen, order, axis=1)
    return distances, indices


@dataclass(frozen=True)
class Pair:
    """Two images that are nearly the same.

    first, second: their indices. kind: "same file", "same picture" (resized, or compressed again), "mirrored", or
    "similar" by features only. distance: between their features, 1 - cosine.
    """

    first: int
    second: int
    kind: Kind
    distance: float


_MOST_PARTNERS = 10
"""Copies that are looked for of each image; of more of them, every one is still in some pair."""
SAME_PICTURE = 0.05
"""Distance of two perceptual hashes, 1 - cosine, up to which they are of the same picture."""


def near_duplicates(
    features: np.ndarray,
    hashes: list[str],
    pictures: np.ndarray,
    mirrored: Callable[[np.ndarray], np.ndarray],
    distance: float,
    same_picture: float = SAME_PICTURE,
) -> list[Pair]:
    """Pairs of images that are nearly the same, the surest first.

    features: (images, dim). hashes: of the content of each file. pictures: (images, numbers), perceptual hashes.
    mirrored: turns these into those of the mirrored images. distance, same_picture: up to which features count as
    similar, and perceptual hashes as those of the same picture.
    """
    found: dict[tuple[int, int], Kind] = {}

    def add(queries: np.ndarray, points: np.ndarray, most: float, kind: Kind) -> None:
        # An image may be its own mirror image, which is no pair.
        distances, indices = nearest(queries, points, _MOST_PARTNERS + 1)
        for first, place in zip(*np.nonzero(distances <= most), strict=True):
            second = int(indices[first, place])
            if first != second:
                found.setdefault((min(int(first), second), max(int(first), second)), kind)

    first_of: dict[str, int] = {}
    for index, content in enumerate(hashes):
        before = first_of.setdefault(content, index)
        if before != index:
            found[before, index] = "same file"
    add(pictures, pictures, same_picture, "same picture")
    add(mirrored(pictures), pictures, same_picture, "mirrored")
    add(features, features, distance, "similar")
    points = directions(features)
    kinds: tuple[Kind, ...] = ("same file", "same picture", "mirrored", "similar")
    pairs = [
        Pair(first, second, kind, max(0.0, float(1 - points[first] @ points[second])))
        for (first, second), kind in found.items()
    ]
    return sorted(pairs, key=lambda pair: (kinds.index(pair.kind), pair.distance, pair.first, pair.second))
