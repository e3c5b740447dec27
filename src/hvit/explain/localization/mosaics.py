"""Images in which it is known where every class is, to see whether an explanation finds the one it is asked for.

Four digits or four real images side by side ask whether an explanation separates classes; a digit among scraps of
others asks whether it separates the object from what surrounds it. All follow from a seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal, cast

import numpy as np
from PIL import Image, ImageOps

from hvit.data.images.digits import DigitsData, digit_mosaics, open_digits
from hvit.data.sets import ImageSet
from hvit.errors import UserError
from hvit.randomness import derive_seed

_SCRAPS_PER_CANVAS = 8
_SMALLEST_SIDE = 8


@dataclass(frozen=True)
class Scenes:
    """Images with the places of the classes in them.

    images: (count, height, width) grey or (count, height, width, 3) colour, uint8. classes: (count, objects), int64.
    boxes: (count, objects, 4) int64, the left, top, right and bottom of each object in pixels, right and bottom
    exclusive.
    """

    images: np.ndarray
    classes: np.ndarray
    boxes: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


def four_digits(split: Literal["train", "held_out"], seed: int, count: int, data: DigitsData) -> Scenes:
    """Canvases with a different digit inside each quadrant (see `digit_mosaics`), of the scans and size of `data`."""
    mosaics = digit_mosaics(split, seed, count, data.canvas, data.held_out)
    return Scenes(mosaics.images, mosaics.digits, mosaics.boxes)


def digits_on_clutter(
    split: Literal["train", "held_out"], seed: int, count: int, data: DigitsData, side: int | None = None
) -> Scenes:
    """One digit anywhere among scraps of other digits, as bright as itself: quarters of scans, enlarged alike.

    side: of the digit's square in pixels; default: three eighths of the canvas. The canvas and the scans are those of
    `data`. Scraps that the digit covers are covered by its ink only. After the cluttered digits of Mnih et al.,
    "Recurrent Models of Visual Attention", NeurIPS 2014 (arXiv 1406.6247), section 4.
    Raises UserError for a side that does not fit.
    """
    canvas = data.canvas
    side = canvas * 3 // 8 if side is None else side
    if not _SMALLEST_SIDE <= side <= canvas:
        raise UserError(f"a digit's side must be from {_SMALLEST_SIDE} to the canvas's {canvas} pixels, got {side}")
    scans = open_digits(DigitsData(canvas=8, held_out=data.held_out), seed=0, in_channels=1)
    members = scans.train if split == "train" else scans.held_out
    images = np.zeros((count, canvas, canvas), dtype=np.uint8)
    classes = np.zeros((count, 1), dtype=np.int64)
    boxes = np.zeros((count, 1, 4), dtype=np.int64)
    for number in range(count):
        random = Random(derive_seed(seed, f"clutter/{split}", number))
        chosen, *others = random.sample(range(len(members)), _SCRAPS_PER_CANVAS + 1)
        for other in others:
            halves = slice(0, side // 2), slice(side // 2, side)
            rows, columns = random.choice(halves), random.choice(halves)
            _place(images[number], _scan(members, other, side)[rows, columns], random)
        left, top = _place(images[number], _scan(members, chosen, side), random)
        classes[number] = members.labels[chosen]
        boxes[number] = left, top, left + side, top + side
    return Scenes(images, classes, boxes)


def _scan(members: ImageSet, index: int, side: int) -> np.ndarray:
    """A scan, enlarged to side x side pixels."""
    image = cast(Image.Image, members.read(index, 0)[0])
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC))


def _place(pixels: np.ndarray, ink: np.ndarray, random: Random) -> tuple[int, int]:
    """Draws ink anywhere on a canvas, over what is darker than it; returns the left and the top of its place."""
    height, width = ink.shape
    left, top = random.randint(0, pixels.shape[1] - width), random.randint(0, pixels.shape[0] - height)
    place = pixels[top : top + height, left : left + width]
    np.maximum(place, ink, out=place)
    return left, top


def image_mosaics(images: ImageSet, seed: int, count: int, side: int) -> Scenes:
    """Mosaics of four images of four different classes, one in each quadrant, in reading order.

    images: any labelled images of four classes or more, such as the held-out ones of CIFAR-10 or of a photo folder.
    side: of the mosaic in pixels, an even number. Each image is cut to a square in its middle and resized to its
    quadrant. The boxes are the quadrants. Grey images give (count, side, side), others (count, side, side, 3).
    Raises UserError for fewer than four classes and for an odd side.
    """
    if side < 2 or side % 2:
        raise UserError(f"a mosaic's side must be an even number of pixels, got {side}")
    present = np.unique(images.labels).tolist()
    if len(present) < 4:
        raise UserError(f"a mosaic shows four classes; there are images of {len(present)}")
    members = {label: np.flatnonzero(images.labels == label).tolist() for label in present}
    half = side // 2
    pictures, classes = [], np.zeros((count, 4), dtype=np.int64)
    corners = np.array([[0, 0], [half, 0], [0, half], [half, half]])
    for number in range(count):
        random = Random(derive_seed(seed, "image mosaic", number))
        classes[number] = random.sample(present, 4)
        cells = [_square(images, random.choice(members[label]), half) for label in classes[number].tolist()]
        rows = [np.concatenate(cells[start : start + 2], axis=1) for start in (0, 2)]
        pictures.append(np.concatenate(rows, axis=0))
    boxes = np.concatenate([corners, corners + half], 1)
    return Scenes(np.stack(pictures), classes, np.tile(boxes, (count, 1, 1)))


def _square(images: ImageSet, index: int, side: int) -> np.ndarray:
    """An image, cut to a square in its middle, of side x side pixels."""
    image = cast(Image.Image, images.read(index, index)[0])
    return np.asarray(ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC))
