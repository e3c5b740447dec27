"""Real handwriting that needs no download: scikit-learn's 1,797 scanned digits, alone or on larger canvases.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Literal

import numpy as np
from PIL import Image

from hvit.data.sets import ImageSet, Splits, Stored, Target
from hvit.errors import UserError, check_choices
from hvit.randomness import derive_seed

CLASSES = tuple("0123456789")
SCAN_SIDE = 8
SMALLEST_CANVAS = 16
LARGEST_CANVAS = 256
"""The enlarged scans are kept in memory: about 110 MB for this canvas, growing with its square."""


@dataclass(frozen=True)
class DigitsData:
    """Scanned digits, embedded in scikit-learn: as the 8x8 scans, or enlarged anywhere on a larger canvas."""

    kind: Literal["digits"] = "digits"
    """Which data set: the scanned digits."""
    canvas: int = 32
    """Side of an image in pixels: 8 for the scans as they are, or an even number from 16 to 256."""
    digits_per_canvas: tuple[int, int] = (1, 4)
    """Fewest and most digits on a training canvas (1 to 4); its target is shared equally among them. Held-out canvases
    show one digit, and so do the 8x8 scans."""
    held_out: float = 0.25
    """Share of the scans that are never trained on; always the same scans, whatever the seed."""

    def __post_init__(self) -> None:
        check_choices(self)
        if self.canvas != SCAN_SIDE and not _is_canvas(self.canvas):
            raise UserError(
                f"canvas must be 8 (the scans) or an even number from {SMALLEST_CANVAS} to {LARGEST_CANVAS}, "
                f"not {self.canvas}."
            )
        fewest, most = self.digits_per_canvas
        if not 1 <= fewest <= most <= 4:
            raise UserError(f"digits_per_canvas must be two numbers from 1 to 4 in order, not {fewest} and {most}.")
        if not 0 < self.held_out < 1:
            raise UserError(f"held_out must be a share between 0 and 1, not {self.held_out}.")


@dataclass(frozen=True)
class Mosaics:
    """Canvases with four different digits, one in each quadrant, and where they are.

    The quadrants are in reading order: top left, top right, bottom left, bottom right.
    images: (count, canvas, canvas) uint8. digits: (count, 4). boxes: (count, 4, 4), the x0, y0, x1, y1 of each digit in
    pixels, x1 and y1 exclusive.
    """

    images: np.ndarray
    digits: np.ndarray
    boxes: np.ndarray


class DigitScans(ImageSet):
    """The scans as they are, 8x8 pixels."""

    def __init__(self, members: np.ndarray, mode: str) -> None:
        self.members, self.mode = members, mode
        self.labels = _scans()[1][members]

    def stored(self) -> Iterator[tuple[str, Stored]]:
        """The scans of this split."""
        yield "scans", _scans()[0][self.members]

    def read(self, index: int, draw: int) -> tuple[Image.Image, int]:
        image = Image.fromarray(_scans()[0][self.members[index]])
        return image.convert(self.mode), int(self.labels[index])


class DigitCanvases(ImageSet):
    """Enlarged scans on black canvases; those for training are new at every draw.

    fresh: whether the draw number decides what a canvas shows (training), or the index alone (held out).
    """

    def __init__(
        self, members: np.ndarray, canvas: int, digits_per_canvas: tuple[int, int], fresh: bool, seed: int, mode: str
    ) -> None:
        self.members, self.canvas, self.digits_per_canvas = members, canvas, digits_per_canvas
        self.fresh, self.seed, self.mode = fresh, seed, mode
        self.labels = _scans()[1][members]

    def stored(self) -> Iterator[tuple[str, Stored]]:
        """The scans that the canvases of this split are made of."""
        yield "scans", _scans()[0][self.members]

    def read(self, index: int, draw: int) -> tuple[Image.Image, Target]:
        # Two purposes, so that no held-out canvas is laid out like a training canvas of the same number and seed.
        random = _random(self.seed, "canvas", draw) if self.fresh else _random(self.seed, "held-out canvas", index)
        count = random.randint(*self.digits_per_canvas)
        pixels = np.zeros((self.canvas, self.canvas), dtype=np.uint8)
        scans = [self.members[index], *random.choices(self.members, k=count - 1)]
        if count == 1:
            _place(pixels, scans[0], random, _glyphs(self.canvas), (0, 0), self.canvas)
        else:
            for scan, quadrant in zip(scans, random.sample(range(4), count), strict=True):
                _place_in_quadrant(pixels, scan, random, quadrant)
        image = Image.fromarray(pixels).convert(self.mode)
        if self.digits_per_canvas == (1, 1):
            return image, int(self.labels[index])
        return image, np.bincount(_scans()[1][scans], minlength=10).astype(np.float32) / count


def open_digits(config: DigitsData, seed: int, in_channels: int) -> Splits:
    """Opens the scanned digits; the training canvases follow from the seed, the held-out ones are always the same."""
    mode = "L" if in_channels == 1 else "RGB"
    train, held_out = _split(config.held_out)
    if config.canvas == SCAN_SIDE:
        train_set, held_out_set, mean, std = DigitScans(train, mode), DigitScans(held_out, mode), 0.3053, 0.3760
    else:
        train_set = DigitCanvases(train, config.canvas, config.digits_per_canvas, True, seed, mode)
        held_out_set = DigitCanvases(held_out, config.canvas, (1, 1), False, 0, mode)
        mean, std = 0.1288, 0.2719
    return Splits(train_set, held_out_set, CLASSES, (mean,) * in_channels, (std,) * in_channels)


def digit_mosaics(
    split: Literal["train", "held_out"], seed: int, count: int, canvas: int = 32, held_out: float = 0.25
) -> Mosaics:
    """Canvases with a different digit inside each quadrant, to see whether an explanation finds the one asked for.

    split: which scans they are made of; the same ones, for the same `held_out`, as `open_digits` trains on or holds
    out, whatever the seed. Raises UserError if the canvas is too small for four digits or too large.
    """
    if not _is_canvas(canvas):
        raise UserError(
            f"a mosaic's canvas must be an even number from {SMALLEST_CANVAS} to {LARGEST_CANVAS}, not {canvas}."
        )
    members = _split(held_out)[0 if split == "train" else 1]
    by_digit = [members[_scans()[1][members] == digit] for digit in range(10)]
    images = np.zeros((count, canvas, canvas), dtype=np.uint8)
    digits = np.zeros((count, 4), dtype=np.int64)
    boxes = np.zeros((count, 4, 4), dtype=np.int64)
    for number in range(count):
        random = _random(seed, f"mosaic/{split}", number)
        digits[number] = random.sample(range(10), 4)
        for quadrant, digit in enumerate(digits[number]):
            scan = random.choice(by_digit[digit])
            boxes[number, quadrant] = _place_in_quadrant(images[number], scan, random, quadrant)
    return Mosaics(images, digits, boxes)


def _is_canvas(side: int) -> bool:
    return side in range(SMALLEST_CANVAS, LARGEST_CANVAS + 1, 2)


@cache
def _scans() -> tuple[np.ndarray, np.ndarray]:
    """The scans (1797, 8, 8) uint8 from 0 to 255, and their digits (1797,)."""
    # Imported here because scikit-learn takes a second to import, and only the digits need it.
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    scans = np.rint(np.asarray(pixels) * (255 / 16)).astype(np.uint8)
    return scans.reshape(-1, SCAN_SIDE, SCAN_SIDE), np.asarray(digits, dtype=np.int64)


@cache
def _split(held_out: float) -> tuple[np.ndarray, np.ndarray]:
    """The training scans and the held-out ones, the same share of every digit.

    The order of the scans hangs on their pixels, so that two identical scans cannot come to different sides.
    """
    scans, labels = _scans()
    keys = np.array([derive_seed(0, "digits split", *scan.ravel().tolist()) for scan in scans])
    is_held_out = np.zeros(len(scans), dtype=bool)
    for digit in range(10):
        members = np.flatnonzero(labels == digit)
        count = min(max(1, round(len(members) * held_out)), len(members) - 1)
        threshold = np.sort(keys[members])[count]
        is_held_out[members] = keys[members] < threshold
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)


@cache
def _glyphs(canvas: int) -> dict[int, np.ndarray]:
    """Every scan enlarged smoothly to five sizes, from 3/8 to 1/2 of the canvas: side -> (1797, side, side)."""
    sides = np.unique(np.linspace(canvas * 3 / 8, canvas / 2, 5).round().astype(int))
    return {
        int(side): np.stack(
            [np.asarray(Image.fromarray(scan).resize((side, side), Image.Resampling.BICUBIC)) for scan in _scans()[0]]
        )
        for side in sides
    }


@cache
def _quadrant_glyphs(canvas: int) -> dict[int, np.ndarray]:
    """The sizes that leave a margin of a pixel around a digit in a quadrant."""
    return {side: glyphs for side, glyphs in _glyphs(canvas).items() if side <= canvas // 2 - 2}


def _place_in_quadrant(pixels: np.ndarray, scan: int, random: Random, quadrant: int) -> list[int]:
    """Draws a scan somewhere inside a quadrant of a canvas, never touching its border; returns its box."""
    canvas = len(pixels)
    half = canvas // 2
    corner = (quadrant % 2 * half + 1, quadrant // 2 * half + 1)
    return _place(pixels, scan, random, _quadrant_glyphs(canvas), corner, half - 2)


def _place(
    pixels: np.ndarray,
    scan: int,
    random: Random,
    glyphs: dict[int, np.ndarray],
    corner: tuple[int, int],
    room: int,
) -> list[int]:
    """Draws a scan, in one of the sizes, anywhere in the square of side `room` at (x, y); returns x0, y0, x1, y1."""
    side = random.choice(list(glyphs))
    x, y = (start + random.randrange(room - side + 1) for start in corner)
    pixels[y : y + side, x : x + side] = glyphs[side][scan]
    return [x, y, x + side, y + side]


def _random(seed: int, purpose: str, number: int) -> Random:
    # Python's own generator: NumPy's take ten times as long to seed and to draw single numbers from.
    return Random(derive_seed(seed, f"digits/{purpose}", number))
