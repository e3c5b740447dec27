"""Moving digits: real scanned digits on a round course, and only the order of the frames shows how they move.

A clip of T frames shows one digit at T places, evenly apart, on an ellipse. From one frame to the next it goes on by a
fixed number of places, clockwise or anticlockwise, and this step is the class. As every step has no divisor in common
with T, the digit is at each of the T places exactly once whatever its class: the classes show the same frames in
different orders. So no frame, and no set of frames without their order, says anything about the class.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Literal

import numpy as np
from PIL import Image

from hvit.data.images.digits import LARGEST_CANVAS, SMALLEST_CANVAS, DigitsData, open_digits
from hvit.data.sampling import Sampling
from hvit.data.sets import ImageSet, Splits, Stored
from hvit.errors import UserError, check_choices
from hvit.randomness import derive_seed

MEAN, STD = 0.0597, 0.1958
"""Of 4,000 training clips of 8 frames on a canvas of 32 pixels."""


@dataclass(frozen=True)
class MovingDigitsData:
    """Scanned digits that move on a round course: classes that only the order of the frames distinguishes."""

    kind: Literal["moving_digits"] = "moving_digits"
    """Which data set: moving digits."""
    canvas: int = 32
    """Side of a frame in pixels, from 16 to 256."""
    speeds: tuple[int, ...] = (1, 3)
    """Places from one frame to the next; each makes two classes, clockwise and anticlockwise. A clip has as many places
    as frames, so each speed is below half their number and without a common divisor with it."""
    num_train: int = 4000
    """Clips in a pass over the training set; they are new in every pass."""
    num_held_out: int = 400
    """Held-out clips; always the same ones, of scans that are never trained on."""
    held_out: float = 0.25
    """Share of the scans that are never trained on; always the same scans, whatever the seed."""

    def __post_init__(self) -> None:
        check_choices(self)
        if not SMALLEST_CANVAS <= self.canvas <= LARGEST_CANVAS:
            raise UserError(f"canvas must be from {SMALLEST_CANVAS} to {LARGEST_CANVAS}, not {self.canvas}.")
        if not self.speeds or min(self.speeds) < 1 or len(set(self.speeds)) < len(self.speeds):
            raise UserError(f"speeds must be different numbers of places from 1, not {self.speeds}.")
        for name in ("num_train", "num_held_out"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if not 0 < self.held_out < 1:
            raise UserError(f"held_out must be a share between 0 and 1, not {self.held_out}.")

    @property
    def steps(self) -> tuple[int, ...]:
        """Places from one frame to the next for each class, positive for clockwise."""
        return tuple(sign * speed for speed in self.speeds for sign in (1, -1))

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, such as "clockwise" and "anticlockwise 3x"."""
        names = {1: "clockwise", -1: "anticlockwise"}
        return tuple(names[step // abs(step)] + (f" {abs(step)}x" if abs(step) > 1 else "") for step in self.steps)


class MovingDigits(ImageSet):
    """Moving digits, made when they are asked for.

    scans: (number of scans, 8, 8) uint8. fresh: whether the draw number decides what a clip shows besides its class
    (training), or the index alone (held out).
    """

    def __init__(
        self, config: MovingDigitsData, count: int, num_frames: int, scans: np.ndarray, fresh: bool, seed: int
    ) -> None:
        self.config, self.num_frames, self.scans, self.fresh, self.seed = config, num_frames, scans, fresh, seed
        self.labels = np.arange(count) % len(config.steps)
        self.sampling = Sampling(num_frames, stride=1)

    def stored(self) -> Iterator[tuple[str, Stored]]:
        """The scans that the clips are made of."""
        yield "scans", self.scans

    def read(self, index: int, draw: int) -> tuple[np.ndarray, int]:
        """A clip (frames, canvas, canvas, 1) uint8 and its class."""
        purpose, number = ("moving digits", draw) if self.fresh else ("held-out moving digits", index)
        random = Random(derive_seed(self.seed, purpose, number))
        label = int(self.labels[index])
        return draw_moving_digit(
            random, self.scans, self.num_frames, self.config.canvas, self.config.steps[label]
        ), label


def draw_moving_digit(random: Random, scans: np.ndarray, num_frames: int, canvas: int, step: int) -> np.ndarray:
    """A digit that goes on by `step` places of its course a frame: (frames, canvas, canvas, 1) uint8.

    random: decides the scan, its size, the course and where the digit starts, and is asked for the same numbers
    whatever the step.
    """
    side = round(canvas * random.uniform(3 / 8, 1 / 2))
    glyph = Image.fromarray(scans[random.randrange(len(scans))]).resize((side, side), Image.Resampling.BICUBIC)
    pixels = np.asarray(glyph)
    room = canvas - side
    radii = [random.uniform(room / 4, room / 2) for _ in range(2)]
    centres = [random.uniform(radius, room - radius) for radius in radii]
    start = random.random()
    places = [(start + place) / num_frames * 2 * math.pi for place in range(num_frames)]
    clip = np.zeros((num_frames, canvas, canvas, 1), dtype=np.uint8)
    for frame in range(num_frames):
        angle = places[frame * step % num_frames]
        left, top = round(centres[0] + radii[0] * math.cos(angle)), round(centres[1] + radii[1] * math.sin(angle))
        clip[frame, top : top + side, left : left + side, 0] = pixels
    return clip


def open_moving_digits(config: MovingDigitsData, seed: int, in_channels: int, num_frames: int) -> Splits:
    """Opens moving digits; the training clips follow from the seed, the held-out ones are always the same.

    num_frames: how many frames the model sees, all that a clip has. Raises UserError if the speeds do not fit them.
    """
    for speed in config.speeds:
        if 2 * speed >= num_frames or math.gcd(speed, num_frames) > 1:
            fitting = [other for other in range(1, (num_frames + 1) // 2) if math.gcd(other, num_frames) == 1]
            raise UserError(
                f"speed {speed} does not lead once through all {num_frames} places of a clip: choose speeds from "
                f"{', '.join(map(str, fitting)) or 'a model of more frames'}."
            )
    train_scans, held_out_scans = _scans(config.held_out)
    return Splits(
        MovingDigits(config, config.num_train, num_frames, train_scans, True, seed),
        MovingDigits(config, config.num_held_out, num_frames, held_out_scans, False, 0),
        config.classes,
        (MEAN,) * in_channels,
        (STD,) * in_channels,
    )


@cache
def _scans(held_out: float) -> tuple[np.ndarray, np.ndarray]:
    """The training scans and the held-out ones, the same as those of `DigitsData`: (count, 8, 8) uint8 each."""
    splits = open_digits(DigitsData(canvas=8, held_out=held_out), 0, 1)
    train, other = (
        np.stack([np.asarray(digits.read(index, 0)[0]) for index in range(len(digits))])
        for digits in (splits.train, splits.held_out)
    )
    return train, other
