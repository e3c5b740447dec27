"""Claims about the pictures with known places: the classes are where the boxes say, and all follows from the seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hvit.data.images.cifar import CifarData, open_cifar
from hvit.data.images.digits import DigitsData, open_digits
from hvit.data.sets import ImageSet
from hvit.errors import UserError
from hvit.explain.localization.mosaics import Scenes, digits_on_clutter, four_digits, image_mosaics


class Flat(ImageSet):
    """Images of one colour each, the class's, of any shape."""

    def __init__(self, classes: int, mode: str = "RGB") -> None:
        self.labels = np.repeat(np.arange(classes), 3)
        self.mode = mode

    def read(self, index: int, draw: int) -> tuple[Image.Image, int]:
        label = int(self.labels[index])
        return Image.new(self.mode, (20 + index, 40), 20 * label if self.mode == "L" else (20 * label, 5, 7)), label


def equal(one: Scenes, other: Scenes) -> bool:
    pairs = ((one.images, other.images), (one.classes, other.classes), (one.boxes, other.boxes))
    return all(np.array_equal(*pair) for pair in pairs)


def test_every_scene_follows_from_its_seed_and_number() -> None:
    data = DigitsData()
    makers = [
        lambda seed, count: four_digits("held_out", seed, count, data),
        lambda seed, count: digits_on_clutter("held_out", seed, count, data),
        lambda seed, count: image_mosaics(Flat(6), seed, count, 32),
    ]
    for make in makers:
        many, few = make(1, 6), make(1, 3)
        assert equal(Scenes(many.images[:3], many.classes[:3], many.boxes[:3]), few)
        assert not equal(make(2, 6), many)
        assert len(many) == 6
        assert many.images.dtype == np.uint8


def test_every_quadrant_of_a_mosaic_shows_its_class_cut_to_a_square() -> None:
    scenes = image_mosaics(Flat(7), 0, 20, 32)
    assert scenes.images.shape == (20, 32, 32, 3)
    for image, classes, boxes in zip(scenes.images, scenes.classes, scenes.boxes, strict=True):
        assert len(set(classes.tolist())) == 4
        for label, (left, top, right, bottom) in zip(classes.tolist(), boxes.tolist(), strict=True):
            assert (image[top:bottom, left:right] == (20 * label, 5, 7)).all()
    assert scenes.boxes[0].tolist() == [[0, 0, 16, 16], [16, 0, 32, 16], [0, 16, 16, 32], [16, 16, 32, 32]]
    assert len(np.unique(scenes.classes)) == 7


def test_a_mosaic_of_grey_images_is_grey() -> None:
    assert image_mosaics(Flat(4, "L"), 0, 2, 10).images.shape == (2, 10, 10)


def test_mosaics_of_cifar_hold_its_own_images(shared_data: Path) -> None:
    held_out = open_cifar(CifarData(root=str(shared_data / "cifar10")), 0, 3).held_out
    scenes = image_mosaics(held_out, 0, 2, 64)
    corner, label = scenes.images[0, :32, :32], scenes.classes[0, 0]
    own = [
        index for index in np.flatnonzero(held_out.labels == label) if np.array_equal(_pixels(held_out, index), corner)
    ]
    assert len(own) == 1


def _pixels(images: ImageSet, index: int) -> np.ndarray:
    return np.asarray(images.read(int(index), 0)[0])


def test_a_mosaic_needs_four_classes_and_an_even_side() -> None:
    with pytest.raises(UserError, match="there are images of 3"):
        image_mosaics(Flat(3), 0, 1, 32)
    with pytest.raises(UserError, match="even number of pixels, got 33"):
        image_mosaics(Flat(4), 0, 1, 33)


@pytest.mark.parametrize("side", [8, 12, 20])
def test_in_clutter_the_digit_is_in_its_box_and_scraps_are_all_over(side: int) -> None:
    data = DigitsData()
    scenes = digits_on_clutter("held_out", 0, 60, data, side)
    scans = open_digits(DigitsData(canvas=8), 0, 1).held_out
    assert scenes.classes.shape == (60, 1)
    assert len(np.unique(scenes.classes)) == 10
    outside = 0
    for image, (label,), ((left, top, right, bottom),) in zip(
        scenes.images, scenes.classes, scenes.boxes.tolist(), strict=True
    ):
        assert (right - left, bottom - top) == (side, side)
        assert 0 <= left <= right <= 32
        assert 0 <= top <= bottom <= 32
        own = np.stack([_enlarged(scans, index, side) for index in np.flatnonzero(scans.labels == label)])
        # Ink is only ever added, so the digit's own is there in full.
        assert (image[top:bottom, left:right] >= own).all((1, 2)).any()
        image = image.copy()
        image[top:bottom, left:right] = 0
        outside += int(image.any())
    assert outside > 50


def _enlarged(scans: ImageSet, index: int, side: int) -> np.ndarray:
    return np.asarray(scans.read(int(index), 0)[0].resize((side, side), Image.Resampling.BICUBIC))


def test_in_clutter_training_and_held_out_digits_come_from_different_scans() -> None:
    data = DigitsData(canvas=64)
    train, held_out = (digits_on_clutter(split, 0, 5, data) for split in ("train", "held_out"))
    assert train.images.shape == (5, 64, 64)
    assert not np.array_equal(train.images, held_out.images)
    assert (train.boxes[:, 0, 2] - train.boxes[:, 0, 0] == 24).all()


def test_a_digit_that_does_not_fit_is_refused() -> None:
    for side in (7, 33):
        with pytest.raises(UserError, match=f"from 8 to the canvas's 32 pixels, got {side}"):
            digits_on_clutter("held_out", 0, 1, DigitsData(), side)


def test_four_digits_are_those_of_the_digit_mosaics() -> None:
    scenes = four_digits("held_out", 0, 4, DigitsData())
    assert scenes.images.shape == (4, 32, 32)
    for image, boxes in zip(scenes.images, scenes.boxes.tolist(), strict=True):
        for quadrant, (left, top, right, bottom) in enumerate(boxes):
            assert (left // 16, top // 16) == (quadrant % 2, quadrant // 2)
            assert image[top:bottom, left:right].max() > 100
