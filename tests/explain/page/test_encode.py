"""Pictures and heat are addresses that hold the picture itself, and stay small."""

from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from hvit.explain.page.encode import LARGEST_PICTURE, MAP_SIDE, heat_address, picture_address


def opened(address: str) -> Image.Image:
    head, _, content = address.partition(",")
    assert head.startswith("data:image/")
    return Image.open(BytesIO(base64.b64decode(content)))


def test_small_pictures_are_exact_and_large_ones_are_made_smaller() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3)) / 255
    assert np.array_equal(np.asarray(opened(picture_address(pixels))), (pixels * 255).round())
    large = opened(picture_address(np.zeros((600, 1200, 3))))
    assert (large.format, large.size) == ("JPEG", (LARGEST_PICTURE, LARGEST_PICTURE // 2))


@pytest.mark.parametrize("shape", [(1.0, 1.0), (1.0, 0.5)])
def test_heat_is_the_more_opaque_the_more_there_is(shape: tuple[float, float]) -> None:
    heat = np.tile(np.linspace(0.0, 1.0, 7), (7, 1))
    picture = opened(heat_address(heat, shape))
    assert picture.size == (MAP_SIDE, round(MAP_SIDE * shape[1]))
    opacity = np.asarray(picture.convert("RGBA"))[:, :, 3].astype(int)
    assert (np.diff(opacity, axis=1) >= 0).all()
    assert opacity[0, -1] > opacity[0, 0] + 100


def test_no_evidence_anywhere_is_no_heat_anywhere() -> None:
    opacity = np.asarray(opened(heat_address(np.zeros((3, 3)), (1.0, 1.0))).convert("RGBA"))[:, :, 3]
    assert len(np.unique(opacity)) == 1
