"""HEIC images are read like others where pillow-heif is installed; elsewhere one sentence says what to install."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hvit.data.images.listing import list_images
from hvit.data.images.reading import look_at, read_image
from hvit.errors import UserError


def photo(path: Path) -> np.ndarray:
    pillow_heif = pytest.importorskip("pillow_heif")
    across = np.linspace(0, 255, 64)
    pixels = np.stack([np.tile(across, (48, 1)), np.full((48, 64), 90.0), np.tile(across[::-1], (48, 1))], axis=2)
    pixels = pixels.round().astype(np.uint8)
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(path, quality=95)
    return pixels


def test_a_heic_photo_is_read_and_listed(tmp_path: Path) -> None:
    path = tmp_path / "photo.heic"
    pixels = photo(path)
    image = read_image(path)
    assert (image.mode, image.size) == ("RGB", (64, 48))
    assert np.abs(np.asarray(image).astype(int) - pixels).mean() < 4
    assert read_image(path, 1).mode == "L"
    assert list_images([tmp_path]) == [path]
    assert not look_at(path, True).is_deep


def test_a_damaged_heic_photo_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "photo.heic"
    photo(path)
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(UserError, match=r"^cannot read .*photo\.heic: "):
        read_image(path)


def test_without_pillow_heif_one_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "photo.heic"
    path.write_bytes(b"\x00\x00\x00\x18ftypheic" + bytes(50))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UserError, match=r"pip install 'hvit\[heic\]'"):
        read_image(path)
