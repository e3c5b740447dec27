"""Images and clips that say their numbers, and their batches."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import numpy as np
import torch
from PIL import Image

from hvit.data import batches
from hvit.data.augment_settings import AugmentConfig, no_augment
from hvit.data.batches import train_batches
from hvit.data.loader import Batch
from hvit.data.preprocess import Preprocess
from hvit.data.sets import ImageSet
from hvit.errors import UserError

PLAIN = Preprocess((8, 8), (0.0,), (1.0,), crop=1.0)


class Numbered(ImageSet):
    """Image number n is of grey level n."""

    def __init__(self, count: int) -> None:
        self.labels = np.arange(count) % 10

    def read(self, index: int, draw: int) -> tuple[Image.Image, int]:
        return Image.new("L", (8, 8), index), int(self.labels[index])


class Asked(ImageSet):
    """The class of every image is what a function says where the image is read."""

    def __init__(self, count: int, question: Callable[[], int]) -> None:
        self.labels, self.question = np.zeros(count, dtype=np.int64), question

    def read(self, index: int, draw: int) -> tuple[Image.Image, int]:
        return Image.new("L", (8, 8)), self.question()


class Spoiled(Numbered):
    """Image 7 cannot be read."""

    def read(self, index: int, draw: int) -> tuple[Image.Image, int]:
        if index == 7:
            raise UserError("cannot read 7.png:\nthe file is empty.")
        return super().read(index, draw)


def train(images: ImageSet, augment: AugmentConfig | None = None, **fields: int) -> Iterable[Batch]:
    settings = {"seed": 0, "batch_size": 12, "total_steps": 6} | fields
    return train_batches(images, num_classes=10, preprocess=PLAIN, augment=augment or no_augment(), **settings)


def seen_in_testing(images: ImageSet, **fields: int) -> list[Batch]:
    return list(batches.evaluation_batches(images, preprocess=PLAIN, **fields))


def numbers(*several: Batch) -> list[int]:
    return [round(value) for batch in several for value in (batch["images"][:, 0, 0, 0] * 255).tolist()]


def are_equal(some: Iterable[Batch], others: Iterable[Batch]) -> bool:
    pairs = list(itertools.zip_longest(some, others))
    return all(
        torch.equal(one["images"], other["images"]) and torch.equal(one["targets"], other["targets"])
        for one, other in pairs
    )
