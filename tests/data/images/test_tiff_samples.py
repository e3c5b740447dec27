"""TIFF files of many or deep samples a pixel: read by tifffile, or refused in one sentence."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hvit.data.images.reading import look_at, read_image
from hvit.errors import UserError


def save(path: Path, values: np.ndarray, **options: Any) -> Path:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(path, values, photometric="minisblack", **options)
    return path


def samples_of(kind: type, channels: int = 6) -> np.ndarray:
    across = np.arange(24 * 32 * channels).reshape(24, 32, channels)
    return (across * 37 % 251).astype(kind)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("layout", ["contig", "separate"])
def test_samples_of_8_bits_are_channels(tmp_path: Path, layout: str, compression: str | None) -> None:
    values = samples_of(np.uint8)
    stored = values if layout == "contig" else values.transpose(2, 0, 1)
    path = save(tmp_path / "a.tif", stored, planarconfig=layout, compression=compression)
    assert np.array_equal(np.asarray(read_image(path, 6)), values)
    assert not look_at(path, True, channels=6).is_deep


def test_deep_samples_follow_the_grey_range_and_no_bits_are_lost_in_silence(tmp_path: Path) -> None:
    values = samples_of(np.uint16) * 200 + 3
    path = save(tmp_path / "a.tif", values, planarconfig="contig")
    shown = np.asarray(read_image(path, 6, (3, 50_003)))
    assert np.abs(shown - np.round((values - 3.0) / 50_000 * 255)).max() <= 1
    look = look_at(path, True, channels=6)
    assert look.is_deep
    assert look.levels is not None
    assert (look.levels.low, look.levels.high) == (values.min(), values.max())
    assert look_at(path, False, channels=6).is_deep


def test_four_deep_samples_are_four_channels(tmp_path: Path) -> None:
    values = samples_of(np.uint16, 4) * 256
    path = save(tmp_path / "rgba.tif", values, planarconfig="contig", extrasamples=["unspecified"] * 3)
    assert np.abs(np.asarray(read_image(path, 4, "full")).astype(int) - samples_of(np.uint8, 4)).max() <= 1


def test_tiles_and_an_orientation(tmp_path: Path) -> None:
    values = samples_of(np.uint8, 5)
    path = save(tmp_path / "a.tif", values, planarconfig="contig", tile=(16, 16), extratags=[(274, 3, 1, 6, True)])
    assert np.array_equal(np.asarray(read_image(path, 5)), np.rot90(values, -1))


def test_what_does_not_fit_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.tif", samples_of(np.uint8), planarconfig="contig", compression="zlib")
    for whole in (False, True):
        with pytest.raises(UserError, match=r"a.tif: it has 6 samples a pixel, and the model takes 5 channels\.$"):
            look_at(path, whole, channels=5)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 200])
    with pytest.raises(UserError, match=r"cannot read .*a.tif: "):
        read_image(path, 6)
    path.write_bytes(content)
    monkeypatch.setattr("hvit.data.images.tiff_samples.MOST_MEMORY", 1_000)
    with pytest.raises(UserError, match="may take more than"):
        read_image(path, 6)


def test_a_strip_that_may_become_huge_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.tif", samples_of(np.uint8), planarconfig="contig", compression="zlib")
    monkeypatch.setattr("hvit.data.images.tiff_samples._MOST_TIMES", {8: 10**9})
    with pytest.raises(UserError, match="one of its strips or tiles, may take more than"):
        read_image(path, 6)
    monkeypatch.setattr("hvit.data.images.tiff_samples._MOST_TIMES", {1: 1})
    with pytest.raises(UserError, match="its compression is number 8: save it with none, LZW, deflate or PackBits"):
        read_image(path, 6)


def test_without_tifffile_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.tif", samples_of(np.uint8), planarconfig="contig")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(UserError, match=r"needs tifffile: pip install 'hvit\[tiff\]'"):
        read_image(path, 6)
