"""How well an explanation finds what it explains: measures of localisation, as pure functions on arrays.

Maps are (samples, rows, columns) of any size, larger where there is more evidence for the class. Boxes are
(samples, 4): left, top, right, bottom in pixels of the image, right and bottom exclusive. Sizes are (height, width) in
pixels.
`measures.path_hit_rate` compares paths with known ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, cast

import numpy as np

from hvit.explain.methods.cam import upsample
from hvit.explain.tree import Region, region_of

Size = tuple[int, int]
Scores = Callable[[np.ndarray], np.ndarray]

# The shares of a map's range at which boxes are tried: 0.00, 0.05, ... 0.95.
THRESHOLDS = tuple(np.arange(20) / 20)


def highest_points(maps: np.ndarray, size: Size) -> np.ndarray:
    """The centre of the highest cell of each map (the first of equals), as x and y in pixels: (samples, 2)."""
    rows, columns = maps.shape[1:]
    row, column = np.divmod(maps.reshape(len(maps), -1).argmax(1), columns)
    return np.stack([(column + 0.5) * size[1] / columns, (row + 0.5) * size[0] / rows], 1)


def region_centres(regions: Sequence[Region] | np.ndarray) -> np.ndarray:
    """The centres of regions (samples, 4), such as the last of each tree's path, as x and y in pixels: (samples, 2)."""
    corners = np.asarray(regions, dtype=np.float64)
    return (corners[:, :2] + corners[:, 2:]) / 2


def pointing_hits(points: np.ndarray, boxes: np.ndarray, tolerance: float = 0.0) -> np.ndarray:
    """Whether each point is inside its box or no farther from it than `tolerance` pixels: (samples,) bool.

    points: (samples, 2), x and y. The pointing game of Zhang et al., "Top-down Neural Attention by Excitation
    Backprop", ECCV 2016 (arXiv 1608.00507), which allows 15 pixels.
    """
    outside = np.maximum(boxes[:, :2] - points, points - boxes[:, 2:]).clip(0)
    return np.hypot(*outside.T) <= tolerance


def block_hits(paths: np.ndarray, boxes: np.ndarray, size: Size) -> np.ndarray:
    """Whether the block at every step of a path is on its object: (samples, steps) bool.

    paths: (samples, steps), quadrants. A block is on an object when they share at least half of the smaller of the two:
    a large block has to hold most of the object, a small one has to lie mostly on it. A step hits only where all steps
    before it do, as in `measures.path_hit_rate`.
    """
    on = np.zeros(paths.shape, dtype=bool)
    for sample, path in enumerate(paths.tolist()):
        regions = np.array([region_of(size, path[:step]) for step in range(1, len(path) + 1)])
        shared = intersections(regions, boxes[sample][None])
        on[sample] = shared >= np.minimum(areas(regions), areas(boxes[sample][None])) / 2
    return np.logical_and.accumulate(on, axis=1)


def energy_inside(maps: np.ndarray, boxes: np.ndarray, size: Size) -> np.ndarray:
    """The share of each map's positive part that lies inside its box: (samples,); 0 for a map with none.

    The map is enlarged to the image first. Wang et al., "Score-CAM", CVPR workshops 2020 (arXiv 1910.01279), 4.3.
    """
    positive = upsample(maps, size).clip(0).astype(np.float64)
    pairs = zip(positive, boxes.tolist(), strict=True)
    inside = np.array([one[top:bottom, left:right].sum() for one, (left, top, right, bottom) in pairs])
    total = positive.sum((1, 2))
    return np.divide(inside, total, out=np.zeros(len(maps)), where=total > 0)


def areas(boxes: np.ndarray) -> np.ndarray:
    """Pixels in each box (samples, 4); 0 for an empty one."""
    return (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(1)


def intersections(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Pixels that boxes (samples, 4) share with others (samples, 4) or with one (1, 4): (samples,)."""
    left_top, right_bottom = np.maximum(boxes[:, :2], others[:, :2]), np.minimum(boxes[:, 2:], others[:, 2:])
    return (right_bottom - left_top).clip(0).prod(1)


def box_overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes and others, both (samples, 4): (samples,), from 0 to 1; 0 for two empty ones."""
    shared = intersections(boxes, others)
    union = areas(boxes) + areas(others) - shared
    return np.divide(shared, union, out=np.zeros(len(boxes)), where=union > 0)


def boxes_from_maps(maps: np.ndarray, size: Size, thresholds: Sequence[float] = THRESHOLDS) -> np.ndarray:
    """The box around the largest part of every map that is above a threshold: (samples, thresholds, 4).

    Each map is enlarged to the image and stretched to the range 0 to 1; the pixels at or above the threshold form parts
    that touch along sides or corners; the part of most pixels gives the box. Choe et al., "Evaluating Weakly Supervised
    Object Localization Methods Right", CVPR 2020 (arXiv 2001.07437), section 3.2.
    """
    from scipy import ndimage  # comes with scikit-learn; only this needs it

    large = upsample(maps, size)
    low, high = large.min((1, 2), keepdims=True), large.max((1, 2), keepdims=True)
    stretched = (large - low) / np.maximum(high - low, np.finfo(np.float32).tiny)
    found = np.zeros((len(maps), len(thresholds), 4), dtype=np.int64)
    for sample, picture in enumerate(stretched):
        for number, threshold in enumerate(thresholds):
            labelled = ndimage.label(picture >= threshold, structure=np.ones((3, 3)))
            parts, count = cast(tuple[np.ndarray, int], labelled)
            if count:
                largest = int(np.bincount(parts.ravel())[1:].argmax()) + 1
                rows, columns = ndimage.find_objects(parts, max_label=largest)[-1]
                found[sample, number] = columns.start, rows.start, columns.stop, rows.stop
    return found


class BoxAccuracy(NamedTuple):
    """How many boxes are right at the best threshold."""

    accuracy: float
    """Share of samples whose box overlaps the true one enough."""
    threshold: float
    """The threshold, the same for all samples, at which that is."""
    overlap: float
    """Mean intersection over union at that threshold."""


def max_box_accuracy(
    maps: np.ndarray, boxes: np.ndarray, size: Size, thresholds: Sequence[float] = THRESHOLDS, enough: float = 0.5
) -> BoxAccuracy:
    """MaxBoxAcc: the share of boxes with an intersection over union of at least `enough`, at the best threshold.

    maps: (samples, rows, columns). boxes: (samples, 4), the true ones. Of equal thresholds the one of larger mean
    overlap counts. Choe et al. 2020, as for `boxes_from_maps`.
    """
    found = boxes_from_maps(maps, size, thresholds)
    overlaps = np.stack([box_overlaps(found[:, number], boxes) for number in range(len(thresholds))], 1)
    right, mean = (overlaps >= enough).mean(0), overlaps.mean(0)
    best = max(range(len(thresholds)), key=lambda number: (right[number], mean[number]))
    return BoxAccuracy(float(right[best]), float(thresholds[best]), float(mean[best]))


def mask_overlaps(maps: np.ndarray, masks: np.ndarray, thresholds: Sequence[float] = THRESHOLDS) -> np.ndarray:
    """Intersection over union of each map above a threshold with its object's mask: (samples,), from 0 to 1.

    Each map is enlarged to the mask and stretched to the range 0 to 1. The threshold is the same for all samples, the
    one of largest mean overlap. maps: (samples, rows, columns). masks: (samples, height, width), bool.
    """
    large = upsample(maps, (masks.shape[1], masks.shape[2]))
    low, high = large.min((1, 2), keepdims=True), large.max((1, 2), keepdims=True)
    stretched = (large - low) / np.maximum(high - low, np.finfo(np.float32).tiny)
    best = np.full(len(maps), -1.0)
    for threshold in thresholds:
        found = stretched >= threshold
        shared, union = (found & masks).sum((1, 2)), (found | masks).sum((1, 2))
        overlaps = np.divide(shared, union, out=np.zeros(len(maps)), where=union > 0)
        best = max(best, overlaps, key=lambda values: values.mean())
    return best


def perturbation_curves(
    images: np.ndarray,
    maps: np.ndarray,
    scores: Scores,
    kind: Literal["deletion", "insertion"],
    baseline: np.ndarray | float = 0.0,
    steps: int = 16,
) -> np.ndarray:
    """The score of every image while its pixels go, or come, the highest on its map first: (samples, steps + 1).

    images: (samples, channels, height, width). maps: (samples, rows, columns). scores: from images like those to one
    number each, (samples,), such as the probability of the explained class; called once per step for all samples.
    kind: deletion replaces pixels of the image by those of the baseline, insertion pixels of the baseline by those of
    the image. baseline: an array like images, or a number. A good map gives a low area under the deletion curve and a
    high one under the insertion curve. Petsiuk et al., "RISE", BMVC 2018 (arXiv 1806.07421), section 4.2.
    """
    count, _, height, width = images.shape
    order = np.argsort(-upsample(maps, (height, width)).reshape(count, -1), axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(height * width)[None], axis=1)
    rank = rank.reshape(count, 1, height, width)
    empty = np.broadcast_to(np.asarray(baseline, dtype=images.dtype), images.shape)
    first, then = (empty, images) if kind == "deletion" else (images, empty)
    limits = np.linspace(0, height * width, steps + 1).round()
    return np.stack([scores(np.where(rank < limit, first, then)) for limit in limits], 1)


def area_under(curves: np.ndarray) -> np.ndarray:
    """The area under curves (samples, points) whose points are equally far apart on a line of length 1: (samples,)."""
    return ((curves[:, 1:] + curves[:, :-1]) / 2).mean(1)
