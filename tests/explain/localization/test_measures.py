"""Claims about the measures of localisation, on cases small enough to be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hvit.explain.localization.measures import (
    area_under,
    block_hits,
    box_overlaps,
    boxes_from_maps,
    energy_inside,
    highest_points,
    mask_overlaps,
    max_box_accuracy,
    perturbation_curves,
    pointing_hits,
    region_centres,
)
from hvit.metrics.classification import path_hit_rate


def spot(rows: int, columns: int, *cells: tuple[int, int, float]) -> np.ndarray:
    """One map (1, rows, columns) of zeros, but for some cells."""
    one = np.zeros((1, rows, columns), np.float32)
    for row, column, value in cells:
        one[0, row, column] = value
    return one


def test_the_highest_point_is_the_centre_of_the_highest_cell_and_the_first_of_equals() -> None:
    maps = np.concatenate([spot(2, 4, (1, 2, 5.0)), spot(2, 4, (0, 1, 3.0), (1, 1, 3.0)), spot(2, 4)])
    assert highest_points(maps, (20, 80)).tolist() == [[50, 15], [30, 5], [10, 5]]


def test_the_centre_of_a_region_is_its_middle() -> None:
    assert region_centres([(0, 0, 8, 8), (10, 20, 13, 40)]).tolist() == [[4, 4], [11.5, 30]]


def test_a_point_hits_inside_its_box_or_within_the_tolerance() -> None:
    box = np.array([[10, 20, 30, 40]] * 5)
    points = np.array([[15, 25], [10, 40], [33, 44], [33, 44], [34, 44]], float)
    assert pointing_hits(points, box).tolist() == [True, True, False, False, False]
    assert pointing_hits(points, box, tolerance=5).tolist() == [True, True, True, True, False]


def test_a_block_hits_if_it_holds_most_of_the_object_or_lies_mostly_on_it() -> None:
    box = [16, 0, 28, 12]  # of 12 x 12 in the top-right quadrant of 32 x 32
    paths = np.array([[1, 0, 0], [1, 3, 0], [1, 1, 1], [0, 1, 1], [1, 2, 0]])
    hits = block_hits(paths, np.array([box] * 5), (32, 32))
    # The quadrant's right bottom sixteenth shares 4 x 4 of its 8 x 8 pixels, the right top one 4 x 8.
    assert hits[:, 0].tolist() == [True, True, True, False, True]
    assert hits[:, 1].tolist() == [True, False, True, False, True]
    assert hits[:, 2].tolist() == [True, False, False, False, True]


def test_once_off_its_object_a_path_stays_off_as_in_the_hit_rate_of_known_paths() -> None:
    hits = block_hits(np.array([[0, 3], [3, 0]]), np.array([[16, 16, 24, 24]] * 2), (32, 32))
    assert hits.mean(0).tolist() == path_hit_rate([[0, 3], [3, 0]], [[3, 0], [3, 0]]) == [0.5, 0.5]


def test_energy_is_the_share_of_the_positive_part_inside_the_box() -> None:
    maps = np.concatenate([np.ones((1, 4, 4)), spot(4, 4, (0, 0, 2.0), (3, 3, -9.0)), spot(4, 4, (0, 0, -1.0))])
    boxes = np.array([[0, 0, 2, 1], [0, 0, 2, 2], [0, 0, 4, 4]])
    assert energy_inside(maps, boxes, (4, 4)) == pytest.approx([2 / 16, 1.0, 0.0])
    wide = energy_inside(np.array([[[1.0, 3.0]]]), np.array([[20, 0, 40, 20]]), (20, 40))
    assert wide == pytest.approx([11 / 16], abs=0.01), "the map is enlarged to the image"


def test_overlap_is_intersection_over_union() -> None:
    boxes = np.array([[0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 4, 4], [2, 2, 2, 2]])
    others = np.array([[2, 0, 6, 4], [0, 0, 4, 4], [4, 0, 8, 4], [5, 5, 5, 5]])
    assert box_overlaps(boxes, others) == pytest.approx([8 / 24, 1.0, 0.0, 0.0])


def test_the_box_of_a_map_is_that_of_its_largest_part_at_every_threshold() -> None:
    one = np.zeros((1, 8, 8))
    one[0, 1:3, 1:4] = 0.6
    one[0, 3, 4] = 0.6  # touches along a corner
    one[0, 6, 6] = 1.0
    one[0, 0, 7] = -1.0
    found = boxes_from_maps(one, (8, 8), [0.0, 0.7, 0.9])
    assert found.tolist() == [[[0, 0, 8, 8], [1, 1, 5, 4], [6, 6, 7, 7]]]


def test_boxes_are_found_in_pixels_of_the_image_whatever_the_scale_and_shift_of_the_map() -> None:
    one = spot(4, 4, (1, 2, 1.0))
    box = boxes_from_maps(one, (40, 80), [0.99])[0, 0]
    assert box.tolist() == boxes_from_maps(5 - 3 * -one, (40, 80), [0.99])[0, 0].tolist()
    assert box_overlaps(box[None], np.array([[49, 14, 51, 16]]))[0] > 0.4
    assert boxes_from_maps(np.ones((1, 4, 4)), (8, 8), [0.0, 0.5]).tolist() == [[[0, 0, 8, 8], [0, 0, 0, 0]]]


def test_box_accuracy_is_that_of_the_one_threshold_that_is_best_for_all() -> None:
    one = np.zeros((2, 10, 10))
    one[:, 2:8, 2:8] = 0.5
    one[:, 4:6, 4:6] = 1.0
    boxes = np.array([[2, 2, 8, 8], [4, 4, 6, 6]])
    best = max_box_accuracy(one, boxes, (10, 10), [0.0, 0.4, 0.9])
    assert (best.accuracy, best.threshold) == (0.5, 0.4)
    assert best.overlap == pytest.approx((1 + 4 / 36) / 2)
    assert max_box_accuracy(one, boxes, (10, 10), [0.0, 0.9], enough=0.05).accuracy == 0.5 + 0.5
    assert max_box_accuracy(one[:1], boxes[:1], (10, 10)).accuracy == 1.0


def brightness(images: np.ndarray) -> np.ndarray:
    return images.sum((1, 2, 3))


def test_deletion_takes_the_highest_pixels_first_and_insertion_brings_them_first() -> None:
    images = np.arange(8, dtype=np.float32).reshape(2, 1, 2, 2)
    maps = np.array([[[4.0, 3.0], [2.0, 1.0]], [[1.0, 2.0], [3.0, 4.0]]])
    deleted = perturbation_curves(images, maps, brightness, "deletion", steps=4)
    assert deleted.tolist() == [[6, 6, 5, 3, 0], [22, 15, 9, 4, 0]]
    inserted = perturbation_curves(images, maps, brightness, "insertion", steps=4)
    assert inserted.tolist() == [[0, 0, 1, 3, 6], [0, 7, 13, 18, 22]]
    halves = perturbation_curves(images, maps, brightness, "deletion", baseline=1.0, steps=2)
    assert halves.tolist() == [[6, 7, 4], [22, 11, 4]]


def test_all_channels_of_a_pixel_go_together_and_the_map_is_enlarged() -> None:
    images = np.ones((1, 3, 4, 4), np.float32)
    seen: list[np.ndarray] = []
    maps = spot(2, 2, (0, 0, 1.0))
    perturbation_curves(images, maps, lambda batch: seen.append(batch) or brightness(batch), "deletion", steps=4)
    assert np.array_equal(seen[1][0, 0], seen[1][0, 2])
    assert seen[1][0, 0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]


def test_the_area_under_a_curve_is_that_of_its_trapezoids() -> None:
    curves = np.array([[1.0, 1.0, 1.0], [1.0, 0.5, 0.0], [1.0, 0.0, 0.0]])
    assert area_under(curves).tolist() == [1.0, 0.5, 0.25]


def test_the_overlap_with_a_mask_is_that_of_the_best_threshold_for_all() -> None:
    masks = np.zeros((2, 8, 8), dtype=bool)
    masks[0, :4, :4] = masks[1, 4:, 4:] = True
    maps = np.zeros((2, 2, 2), dtype=np.float32)
    maps[0, 0, 0], maps[0, 0, 1] = 1.0, 0.4
    maps[1, 1, 1] = 3.0
    upright = maps.repeat(4, 1).repeat(4, 2)
    np.testing.assert_allclose(mask_overlaps(upright, masks), [1, 1])
    np.testing.assert_allclose(mask_overlaps(upright, masks, thresholds=(0.2,)), [0.5, 1])
    assert mask_overlaps(np.zeros((2, 2, 2), dtype=np.float32), ~masks, thresholds=(0.5,)).tolist() == [0, 0]
