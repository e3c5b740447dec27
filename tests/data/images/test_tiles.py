"""Tiles cover an image, lie inside it and overlap as asked."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from hvit.data.images.tiles import check_tiles, tile_boxes
from hvit.errors import UserError


@pytest.mark.parametrize(("width", "height", "size", "overlap"), [(100, 60, 32, 8), (64, 64, 32, 0), (33, 10, 32, 31)])
def test_tiles_cover_the_image_and_overlap(width: int, height: int, size: int, overlap: int) -> None:
    boxes = tile_boxes(width, height, size, overlap)
    covered = np.zeros((height, width), int)
    for left, top, right, bottom in boxes:
        assert (right - left, bottom - top) == (min(size, width), min(size, height))
        assert left >= 0
        assert top >= 0
        covered[top:bottom, left:right] += 1
    assert covered.shape == (height, width)
    assert covered.min() == 1
    starts = sorted({box[0] for box in boxes})
    assert all(later - earlier <= size - overlap for earlier, later in pairwise(starts))


def test_too_many_tiles_are_refused() -> None:
    with pytest.raises(UserError, match="choose larger --tiles"):
        tile_boxes(10_000, 10_000, 8, 0)


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (-1, 0), (8, 8), (8, -1)])
def test_impossible_tiles_are_refused(size: int, overlap: int) -> None:
    with pytest.raises(UserError, match="--tiles must be 1 or more, and --overlap from 0 to less than that"):
        check_tiles(size, overlap)
