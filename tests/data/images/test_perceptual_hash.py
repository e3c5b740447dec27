"""Perceptual hashes: nearly the same for copies of an image, far apart for others, and mirrored exactly."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps

from hvit.data.images.perceptual_hash import DIGITS, mirrored, perceptual_hash, pictures_of
from hvit.metrics.nearest import directions


def scene(seed: int) -> Image.Image:
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    return small.resize((200, 150), Image.Resampling.BICUBIC)


def apart(first: Image.Image, second: Image.Image) -> float:
    one, two = directions(pictures_of([perceptual_hash(first), perceptual_hash(second)]))
    return float(1 - one @ two)


def test_copies_are_near_and_other_images_are_far() -> None:
    image = scene(0)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=40)
    for copy in (image.resize((90, 71)), Image.open(file), image.convert("L")):
        assert apart(image, copy) < 0.02
    assert all(apart(image, scene(seed)) > 0.4 for seed in range(1, 8))


def test_the_hash_of_a_mirrored_image_follows_from_that_of_the_image() -> None:
    turned = mirrored(pictures_of([perceptual_hash(scene(3))]))
    wanted = pictures_of([perceptual_hash(ImageOps.mirror(scene(3)))])
    assert np.abs(turned - wanted).max() <= 6  # of 127


def test_images_without_a_pattern_are_like_each_other_only() -> None:
    plain = [Image.new("RGB", (5, 9), colour) for colour in ("black", "white", "red")]
    assert {perceptual_hash(image) for image in plain} == {"0" * DIGITS}
    assert apart(plain[0], plain[1]) < 1e-6
    assert apart(plain[0], scene(0)) > 0.99
    np.testing.assert_array_equal(mirrored(pictures_of(["0" * DIGITS])), pictures_of(["0" * DIGITS]))
