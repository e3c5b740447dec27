"""CIFAR-10 and CIFAR-100 as their author distributes them (A. Krizhevsky, "Learning Multiple Layers of Features from
Tiny Images", 2009): 32x32 photographs in Python pickles, kept in memory."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from hvit.data.images.listing import show
from hvit.data.sets import ImageSet, Splits, Stored, check_published_data, splits_in_memory, statistics_for
from hvit.errors import UserError
from hvit.files import as_path

STATISTICS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
}


@dataclass(frozen=True)
class CifarData:
    """CIFAR-10 or CIFAR-100: 50,000 photographs of 32x32 pixels to train on and 10,000 held out."""

    kind: Literal["cifar10", "cifar100"] = "cifar10"
    """Which of the two: 10 or 100 classes."""
    root: str = ""
    """Folder with the unpacked original files (cifar-10-batches-py or cifar-100-python), or the one above it."""
    num_per_class: int | None = None
    """Number of training images per class; default: all."""
    fraction: float | None = None
    """Share of the training images of each class (0 to 1); default: all."""
    held_out_per_class: int | None = None
    """Test on this many images of each class only, the same ones whatever the seed; none for all."""

    def __post_init__(self) -> None:
        check_published_data(self)


class CifarSet(ImageSet):
    """CIFAR images in memory: pixels (number of images, channels, height, width) uint8."""

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, mode: str) -> None:
        self.pixels, self.labels, self.mode = pixels, labels, mode

    def read(self, index: int, draw: int) -> tuple[Image.Image, int]:
        image = Image.fromarray(np.ascontiguousarray(self.pixels[index].transpose(1, 2, 0)))
        return image.convert(self.mode), int(self.labels[index])

    def stored(self) -> Iterator[tuple[str, Stored]]:
        """All pixels at once: their files' checksums were compared, so only the choice of images can differ."""
        yield "pixels", self.pixels

    def stored_pixels(self, indices: np.ndarray) -> np.ndarray | None:
        """The images as they are kept, in colour only."""
        return self.pixels[indices] if self.mode == "RGB" else None


def open_cifar(config: CifarData, seed: int, in_channels: int) -> Splits:
    """Reads CIFAR into memory.

    Every file's published md5 is checked before it is unpickled, so that nothing but the original is ever run.
    Raises UserError naming the file that is missing or changed, and where to get it.
    """
    # Imported here because torchvision takes seconds to import, and only CIFAR needs its list of files.
    from torchvision.datasets import CIFAR10, CIFAR100

    published = CIFAR10 if config.kind == "cifar10" else CIFAR100
    folder = _find_folder(config, published)
    names = _unpickle(folder, published.meta["filename"], published.meta["md5"], published)
    classes = tuple(names[published.meta["key"]])
    train = _read_batches(folder, published.train_list, published)
    held_out = _read_batches(folder, published.test_list, published)
    mode = "L" if in_channels == 1 else "RGB"
    mean, std = statistics_for(*STATISTICS[config.kind], in_channels)
    return splits_in_memory(
        lambda pixels, labels: CifarSet(pixels, labels, mode), train, held_out,
        classes, seed, config, mean, std,
    )  # fmt: skip


def _find_folder(config: CifarData, published) -> Path:
    advice = f"get {published.filename} from {published.url} and unpack it (tar xf {published.filename})"
    if not config.root:
        raise UserError(
            f"{config.kind} needs the folder of its files: give it as the data's root (--data.root DIR in train); "
            f"if you have none, {advice}."
        )
    root = as_path(config.root)
    for folder in (root / published.base_folder, root):
        if (folder / published.meta["filename"]).exists():
            return folder
    state = "holds neither" if root.is_dir() else "does not exist, so it holds neither"
    raise UserError(
        f"{show(root)} {state} {published.base_folder} nor the file {published.meta['filename']}: {advice} there."
    )


def _read_batches(folder: Path, files: list[list[str]], published) -> tuple[np.ndarray, np.ndarray]:
    """The pixels (number of images, 3, 32, 32) and the labels of some of CIFAR's files, one after the other."""
    entries = [_unpickle(folder, name, md5, published) for name, md5 in files]
    pixels = np.concatenate([entry["data"] for entry in entries]).reshape(-1, 3, 32, 32)
    labels = [label for entry in entries for label in entry["labels" if "labels" in entry else "fine_labels"]]
    return pixels, np.array(labels, dtype=np.int64)


def _unpickle(folder: Path, name: str, md5: str, published) -> dict:
    path = folder / name
    again = f"unpack {published.filename} from {published.url} again"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {show(path)}: {error.strerror}; {again}.") from error
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise UserError(
            f"{show(path)} is not the original CIFAR file (its md5 differs), so it was not opened: {again}."
        )
    return pickle.loads(content, encoding="latin1")
