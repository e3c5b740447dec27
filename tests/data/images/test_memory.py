"""The memory of decoding is known beforehand, and never more of it taken than is allowed."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hvit.data.images import memory
from hvit.data.images.memory import taken
from hvit.data.images.reading import read_image
from hvit.errors import UserError


@pytest.mark.parametrize(
    ("mode", "size", "suffix"),
    [("RGB", 13_300, "png"), ("RGBA", 13_300, "png"), ("RGB", 8_000, "webp"), ("RGB", 9_500, "tiff")],
)
def test_memory_is_known_before_an_image_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, size: int, suffix: str
) -> None:
    """Drawn small, and refused as if it were large: the limit is scaled with it."""
    small = size // 100
    Image.new(mode, (small, small)).save(
        tmp_path / f"a.{suffix}", **({"compression": "tiff_lzw"} if suffix == "tiff" else {})
    )
    assert read_image(tmp_path / f"a.{suffix}").size == (small, small)
    monkeypatch.setattr(memory, "MOST_MEMORY", memory.MOST_MEMORY // 10_000)
    with pytest.raises(UserError, match=r"decoding it would take .* GB of memory, and at most .* GB are used"):
        read_image(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize("progressive", [False, True])
def test_huge_jpeg_images_are_decoded_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, progressive: bool
) -> None:
    Image.new("RGB", (400, 300), "red").save(tmp_path / "a.jpg", progressive=progressive)
    monkeypatch.setattr(memory, "MOST_MEMORY", 400 * 300 * 7)
    assert read_image(tmp_path / "a.jpg").size == (200, 150)
    monkeypatch.setattr(memory, "MOST_MEMORY", 10_000)
    with pytest.raises(UserError, match="GB of memory"):
        read_image(tmp_path / "a.jpg")


def test_a_jpeg_of_thousands_of_passes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (400, 400)).save(tmp_path / "a.jpg", progressive=True)
    content = (tmp_path / "a.jpg").read_bytes()
    last = content.rindex(b"\xff\xda")
    (tmp_path / "a.jpg").write_bytes(content[:last] + content[last:-2] * 50 + b"\xff\xd9")
    monkeypatch.setattr(memory, "MOST_SCANS", 400 * 400 * 40)
    with pytest.raises(UserError, match="so many passes"):
        read_image(tmp_path / "a.jpg")


def test_threads_decode_together_only_what_fits_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST_MEMORY", 10)
    now, most = 0, 0

    def work(size: int) -> None:
        nonlocal now, most
        with taken(size):
            now += size
            most = max(most, now if now > size else 0)
            os.sched_yield()
            now -= size

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [4, 3, 6, 10, 25, 1] * 30))
    assert most <= 10
    assert memory._memory.taken == 0


def test_memory_is_given_back_by_files_that_cannot_be_decoded(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 60), dtype=np.uint8)).save(tmp_path / "cut.png")
    content = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="cut off"):
        read_image(tmp_path / "cut.png")
    assert memory._memory.taken == 0
