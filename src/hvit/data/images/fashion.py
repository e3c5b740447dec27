"""Fashion-MNIST as its authors distribute it (arXiv 1708.07747): 28x28 grey pictures of clothes in four IDX files."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from hvit.data.images.listing import show
from hvit.data.sets import ImageSet, Splits, Stored, check_published_data, splits_in_memory
from hvit.errors import UserError
from hvit.files import as_path, read_whole

CLASSES = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
MEAN, STD = 0.2860, 0.3530
"""Of all training pixels, on the scale from 0 to 1."""
SIDE = 28
_MOST = 100_000
_LONGEST_FILE = 16 + _MOST * SIDE * SIDE
_ADVICE = (
    "get the four files of github.com/zalandoresearch/fashion-mnist, or Debian's package dataset-fashion-mnist, into it"
)


@dataclass(frozen=True)
class FashionData:
    """Fashion-MNIST: 60,000 grey pictures of ten kinds of clothes to train on and 10,000 held out."""

    kind: Literal["fashion_mnist"] = "fashion_mnist"
    """Which data set: Fashion-MNIST, or anything in files of the same names and form."""
    root: str = ""
    """Folder with train-images-idx3-ubyte and the three other files, with or without .gz."""
    num_per_class: int | None = None
    """Number of training images per class; default: all."""
    fraction: float | None = None
    """Share of the training images of each class (0 to 1); default: all."""
    held_out_per_class: int | None = None
    """Test on this many images of each class only, the same ones whatever the seed; none for all."""

    def __post_init__(self) -> None:
        check_published_data(self)


class FashionSet(ImageSet):
    """Pictures in memory: pixels (number of images, 28, 28) uint8."""

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, mode: str) -> None:
        self.pixels, self.labels, self.mode = pixels, labels, mode

    def read(self, index: int, draw: int) -> tuple[Image.Image, int]:
        return Image.fromarray(self.pixels[index]).convert(self.mode), int(self.labels[index])

    def stored(self) -> Iterator[tuple[str, Stored]]:
        """All pixels at once."""
        yield "pixels", self.pixels


def open_fashion(config: FashionData, seed: int, in_channels: int) -> Splits:
    """Reads the four files into memory. Raises UserError naming the file that is missing or damaged."""
    if not config.root:
        raise UserError(f"{config.kind} needs the folder of its files as the data's root (--data.root DIR): {_ADVICE}")
    root = as_path(config.root)
    mode = "L" if in_channels == 1 else "RGB"
    return splits_in_memory(
        lambda pixels, labels: FashionSet(pixels, labels, mode), _read_part(root, "train"), _read_part(root, "t10k"),
        CLASSES, seed, config, (MEAN,) * in_channels, (STD,) * in_channels,
    )  # fmt: skip


def _read_part(root: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """The pixels (number of images, 28, 28) and the labels of a part: "train" or "t10k"."""
    path, pixels = _read_idx(root, f"{part}-images-idx3-ubyte", 3)
    if pixels.shape[1:] != (SIDE, SIDE):
        raise UserError(f"{show(path)} holds images of {pixels.shape[1:]} pixels, and Fashion-MNIST's have 28 x 28")
    path, labels = _read_idx(root, f"{part}-labels-idx1-ubyte", 1)
    if len(labels) != len(pixels):
        raise UserError(f"{show(path)} has {len(labels):,} labels, but there are {len(pixels):,} images for them")
    if labels.max() >= len(CLASSES):
        raise UserError(f"{show(path)} has the label {labels.max()}; Fashion-MNIST's are 0 to {len(CLASSES) - 1}")
    return pixels, labels.astype(np.int64)


def _read_idx(root: Path, name: str, axes: int) -> tuple[Path, np.ndarray]:
    """An array of bytes in IDX form: two zeros, 8 for bytes, the number of axes, each one's size, the bytes."""
    path = next((one for one in (root / name, root / f"{name}.gz") if one.exists()), None)
    if path is None:
        raise UserError(f"{show(root)} has neither {name} nor {name}.gz: {_ADVICE}")
    content = read_whole(path, _LONGEST_FILE)
    if path.suffix == ".gz":
        content = _unpacked(path, content)
    head = 4 + 4 * axes
    if len(content) < head or content[:4] != bytes((0, 0, 8, axes)):
        raise UserError(f"{show(path)} is not in IDX form with {axes} axes of bytes: get it again")
    shape = tuple(int.from_bytes(content[4 + 4 * axis : 8 + 4 * axis]) for axis in range(axes))
    if not 0 < shape[0] <= _MOST or prod(shape) != len(content) - head:
        raise UserError(f"{show(path)} says it holds {shape}, but has {len(content) - head:,} bytes: get it again")
    return path, np.frombuffer(content, np.uint8, offset=head).reshape(shape)


def _unpacked(path: Path, content: bytes) -> bytes:
    """What a .gz file holds, up to a limit, however much it claims."""
    try:
        unpacker = zlib.decompressobj(wbits=31)
        found = unpacker.decompress(content, _LONGEST_FILE)
    except zlib.error as error:
        raise UserError(f"{show(path)} is damaged ({error}): get it again") from error
    if not unpacker.eof:
        raise UserError(f"{show(path)} ends too early, or holds more than {_LONGEST_FILE:,} bytes: get it again")
    return found
