"""Folders of small clips, and what is asked of them once they are open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hvit.data.clips.sets import ClipSet
from hvit.data.clips.settings import ClipData
from hvit.data.open import open_data
from hvit.data.sets import Splits
from hvit.errors import UserError


def make_clips(folder: Path, count: int, first: int = 0, frames: int = 20) -> None:
    """Small clips as arrays, all different: clip number n begins at grey level n, and gets lighter by one a frame."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        levels = (number + np.arange(frames)).astype(np.uint8)
        np.save(folder / f"clip{number:03}.npy", np.broadcast_to(levels[:, None, None], (frames, 6, 8)))


def make_frames(folder: Path, frames: int = 5) -> None:
    folder.mkdir(parents=True)
    for number in range(frames):
        Image.new("RGB", (8, 6), (number, number, number)).save(folder / f"{number}.jpg")


def open_clips(root: Path, seed: int = 0, num_frames: int = 4, **fields: Any) -> Splits:
    return open_data(ClipData(root=str(root), **fields), seed, 3, num_frames)


def names(images: object) -> list[str]:
    assert isinstance(images, ClipSet)
    return [Path(str(images.source(index))).stem for index in range(len(images))]


def refusal(root: Path, **fields: Any) -> str:
    with pytest.raises(UserError) as caught:
        open_clips(root, **fields)
    message = str(caught.value)
    assert "\n" not in message
    return message


def first_level(images: object, index: int, draw: int = 0) -> int:
    assert isinstance(images, ClipSet)
    return int(images.read(index, draw)[0][0, 0, 0, 0])
