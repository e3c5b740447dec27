"""Folders of small pictures, and what is asked of them once they are open."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from hvit.data.images.folder_sets import FolderSet
from hvit.data.images.folders import FolderData
from hvit.data.open import open_data
from hvit.data.sets import Splits
from hvit.errors import UserError


def make_pictures(folder: Path, count: int, first: int = 0) -> None:
    """Small pictures, all different: number n is of grey level n."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        Image.new("RGB", (6, 5), (number, number, number)).save(folder / f"{number:03}.png")


def open_folder(root: Path, seed: int = 0, **fields: object) -> Splits:
    return open_data(FolderData(root=str(root), **fields), seed, in_channels=3)


def files(images: object) -> list[str]:
    assert isinstance(images, FolderSet)
    return [images.file(index).name for index in range(len(images))]


def refusal(root: Path, **fields: object) -> str:
    with pytest.raises(UserError) as caught:
        open_folder(root, **fields)
    return str(caught.value)
