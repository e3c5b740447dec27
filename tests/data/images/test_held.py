"""Images in memory are read like files, whatever library holds them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hvit.data.images.held import HeldImage, Rows, picture_of
from hvit.data.images.reading import read_image
from hvit.errors import UserError

PIXELS = np.arange(5 * 6 * 3, dtype=np.uint8).reshape(5, 6, 3)


class One(Rows):
    def __init__(self, value: object) -> None:
        self.held = value

    def __len__(self) -> int:
        return 1

    def value(self, number: int) -> object:
        return self.held

    def name(self, number: int) -> str:
        return f"image {number}"


@pytest.mark.parametrize(
    "value",
    [
        PIXELS,
        PIXELS / 255,
        PIXELS.transpose(2, 0, 1),
        torch.from_numpy(PIXELS).permute(2, 0, 1),
        torch.from_numpy(PIXELS / 255).permute(2, 0, 1),
        Image.fromarray(PIXELS),
    ],
)
def test_all_ways_to_hold_an_image_give_the_same_pixels(value: Any) -> None:
    assert np.array_equal(np.asarray(picture_of(value)), PIXELS)
    assert np.array_equal(np.asarray(read_image(HeldImage(One(value), 0))), PIXELS)


def test_16_bits_of_grey_follow_the_grey_range() -> None:
    pixels = np.array([[0, 1000], [2000, 4000]], np.uint16)
    image = read_image(HeldImage(One(pixels), 0), 1, (0.0, 4000.0))
    assert np.asarray(image).tolist() == [[0, 64], [128, 255]]


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("nowhere.png", "cannot read image 0"),
        (b"no image", "it is not a"),
        (PIXELS.astype(np.float32), "must be from 0 to 1"),
        (PIXELS.astype(np.int64), "uint8, or real numbers"),
        (np.zeros((5, 6, 7), np.uint8), "1, 3 or 4 channels at one end"),
        (object(), "it must be a picture, the path or the bytes of one"),
    ],
)
def test_what_is_no_image_is_one_sentence(value: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        read_image(HeldImage(One(value), 0))
