"""Where the tiles of an image are that is much larger than a model's input."""

from __future__ import annotations

from itertools import product

from hvit.errors import UserError

MOST_TILES = 100_000
"""Tiles of one image."""


def tile_boxes(width: int, height: int, size: int, overlap: int) -> list[tuple[int, int, int, int]]:
    """Where the tiles of an image are: (left, top, right, bottom) in pixels, row by row.

    size: side of a tile. overlap: pixels that neighbouring tiles share at least. Tiles cover the image and lie inside
    it; the last ones of a row and of a column are moved back to its edge. A side shorter than a tile is one tile long.
    Raises UserError for more than 100,000 tiles.
    """
    starts = [_starts(side, size, overlap) for side in (height, width)]
    count = len(starts[0]) * len(starts[1])
    if count > MOST_TILES:
        raise UserError(f"{count:,} tiles of {size} pixels are more than {MOST_TILES:,}: choose larger --tiles")
    return [(left, top, min(left + size, width), min(top + size, height)) for top, left in product(*starts)]


def _starts(side: int, size: int, overlap: int) -> list[int]:
    if side <= size:
        return [0]
    step = size - overlap
    return [*range(0, side - size, step), side - size]


def check_tiles(size: int, overlap: int) -> None:
    """Refuses (UserError) a size of tiles, and pixels that they share, which cannot be."""
    if not 0 <= overlap < size:
        raise UserError(f"--tiles must be 1 or more, and --overlap from 0 to less than that; got {size} and {overlap}")
