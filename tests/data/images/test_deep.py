"""Images of any depth are read from black to white, in stripes and turned as their files say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hvit.data.grey import GreyRange
from hvit.data.images import deep
from hvit.data.images.reading import read_image
from tests.data.deep_files import FILES, grey, is_ramp, packed, packed_page, page, png, scaled, tiff


@pytest.mark.parametrize("name", FILES)
def test_a_ramp_of_any_depth_is_a_ramp_from_black_to_white(tmp_path: Path, name: str) -> None:
    assert is_ramp(grey(FILES[name](tmp_path / "ramp")))


@pytest.mark.parametrize(("top", "kind", "bits"), [(65535, "<u2", 16), (4095, "<u2", 16), (255, "u1", 8)])
def test_where_white_is_zero_it_is_white(tmp_path: Path, top: int, kind: str, bits: int) -> None:
    file = tiff(tmp_path / "negative.tif", [page(scaled(top, kind), bits, photometric=0)])
    pixels = grey(file)
    assert (pixels[0, 0], pixels[-1, -1]) == (255, 0)
    assert is_ramp(pixels, inverted=True)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_reach_from_black_to_white(tmp_path: Path, bits: int) -> None:
    values = np.tile(np.arange(2**bits), (4, 16 // 2**bits))
    pixels = grey(tiff(tmp_path / "few.tif", [packed_page(values, bits)]))
    assert np.array_equal(pixels, values * (255 // (2**bits - 1)))


def test_the_lower_bytes_of_colours_count(tmp_path: Path) -> None:
    """Pillow alone keeps the upper bytes: of 12 bits that is 16 levels."""
    colours = np.stack([scaled(4095, "u2"), scaled(2000, "u2"), 4095 - scaled(4095, "u2")], axis=2)
    file = png(tmp_path / "colour.png", colours, 2)
    pixels = np.asarray(read_image(file)).astype(float)
    assert np.abs(pixels - colours * (255 / 4095)).max() <= 0.5
    for order in "<>":
        found = page(colours.astype(f"{order}u2"), 16, photometric=2, samples=3)
        found[258] = (16, 16, 16)
        assert np.array_equal(np.asarray(read_image(tiff(tmp_path / "colour.tif", [found], order))), pixels)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
def test_compressed_files_are_read_alike(tmp_path: Path, compression: str) -> None:
    Image.fromarray(scaled(4095, "u2")).save(tmp_path / "ramp.tif", compression=compression)
    assert is_ramp(grey(tmp_path / "ramp.tif"))


def test_a_flat_image_of_any_depth_is_read(tmp_path: Path) -> None:
    for values, bits, kind in ((np.full((4, 4), 7, "<i4") * -1, 32, 2), (np.full((4, 4), 7.5, "<f4"), 32, 3)):
        file = tiff(tmp_path / "flat.tif", [page(values, bits, format=kind)])
        for rule in ("auto", "percentile"):
            assert np.ptp(grey(file, rule)) == 0


@pytest.mark.parametrize("colour", [0, 2, 4, 6])
@pytest.mark.parametrize("rule", ["auto", "full", "percentile", (0, 4095)])
def test_what_is_transparent_is_white_at_16_bits_too(tmp_path: Path, colour: int, rule: GreyRange) -> None:
    values = np.full((8, 8), 1000)
    values[:4] = 3000
    if colour in (4, 6):
        opaque = np.full((8, 8), 65535)
        opaque[:4] = 0
        file = png(tmp_path / "clear.png", np.dstack([*[values] * (colour - 3), opaque]), colour)
    else:
        pixels = values if colour == 0 else np.dstack([values, values + 1, values + 2])
        file = png(tmp_path / "clear.png", pixels, colour, key=(3000,) if colour == 0 else (3000, 3001, 3002))
    for channels in (1, 3):
        pixels = np.asarray(read_image(file, channels, rule))
        assert (pixels[:4] == 255).all()
        assert rule == "percentile" or (pixels[4:] < 255).all()


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_what_is_transparent_is_white_at_few_bits_too(tmp_path: Path, depth: int) -> None:
    values = np.arange(16)[None] % 2**depth
    for key in range(min(2**depth, 4)):
        file = png(tmp_path / "few.png", packed(values, depth), 0, (key,), depth, width=16)
        assert np.array_equal(grey(file), np.where(values == key, 255, values * 255 // (2**depth - 1)))


def test_a_value_that_is_nearly_the_transparent_one_is_opaque(tmp_path: Path) -> None:
    values = np.full((2, 2), 3001)
    assert (grey(png(tmp_path / "near.png", values, 0, key=(3000,)), (0, 65535)) == 12).all()


def test_large_images_are_scaled_in_stripes_that_make_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = png(tmp_path / "ramp.png", np.dstack([scaled(4095, "u2")] * 3), 2, key=(5, 5, 5))
    whole = np.asarray(read_image(file))
    monkeypatch.setattr(deep, "_STRIPE", 100)
    assert np.array_equal(np.asarray(read_image(file)), whole)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_files_are_turned_like_others(tmp_path: Path, orientation: int) -> None:
    eight = tiff(tmp_path / "8.tif", [page(scaled(255, "u1"), 8, orientation=orientation)])
    sixteen = tiff(tmp_path / "16.tif", [page(scaled(255, "<u2") * 257, 16, orientation=orientation)])
    assert np.array_equal(grey(eight), grey(sixteen))
    colours = page(np.dstack([scaled(255, "<u2") * 257] * 3), 16, orientation=orientation, photometric=2, samples=3)
    colours[258] = (16, 16, 16)
    assert np.array_equal(grey(eight), grey(tiff(tmp_path / "colour.tif", [colours])))
