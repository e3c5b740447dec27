"""Small shards for tests: by WebDataset's own writer, and by hand with whatever an archive can hold."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def picture(number: int, side: int = 8, kind: str = "PNG") -> bytes:
    """A picture whose pixels say its number."""
    pixels = np.full((side, side, 3), number % 256, np.uint8)
    pixels[0, 0] = (number // 256, 0, 0)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def number_of(image: Image.Image) -> int:
    """The number that the pixels of a picture say."""
    pixels = np.asarray(image)
    return int(pixels[1, 1, 0]) + 256 * int(pixels[0, 0, 0])


def write_tar(path: Path, members: Iterable[tuple[str | tarfile.TarInfo, bytes]]) -> Path:
    """A tar file with these members."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def write_shards(folder: Path, counts: Iterable[int], classes: int = 2, extra: Mapping[str, str] | None = None) -> int:
    """Shards as another program writes them with WebDataset; returns how many samples they have."""
    webdataset = pytest.importorskip("webdataset")
    folder.mkdir(parents=True, exist_ok=True)
    number = 0
    for shard, count in enumerate(counts):
        with webdataset.TarWriter(str(folder / f"{shard:06}.tar"), encoder=False) as archive:
            for place in range(count):
                sample = {ending: text.format(number=number).encode() for ending, text in (extra or {}).items()}
                sample |= {"png": picture(number), "cls": str(number % classes).encode()}
                archive.write({"__key__": f"sample{place:04}", **sample})
                number += 1
    return number


def label_json(**values: object) -> bytes:
    """The JSON member of a sample."""
    return json.dumps(values).encode()
