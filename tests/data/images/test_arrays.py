"""Arrays of NumPy as images: both layouts, every kind of number, and hostile files in one sentence."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hvit.data.grey import GreyRange, Levels
from hvit.data.images.arrays import in_8_bits
from hvit.data.images.reading import look_at, read_image
from hvit.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 12, 5), dtype=np.uint8)


@pytest.mark.parametrize("order", ["last", "first", "fortran", "npz", "named"])
def test_channels_are_the_last_or_the_first_axis(tmp_path: Path, order: str) -> None:
    path = tmp_path / ("image.npz" if order in ("npz", "named") else "image.npy")
    if order == "named":
        np.savez(path, mask=PIXELS[..., 0], image=PIXELS)
    elif order == "npz":
        np.savez_compressed(path, PIXELS)
    else:
        kept = {"last": PIXELS, "first": PIXELS.transpose(2, 0, 1), "fortran": np.asfortranarray(PIXELS)}[order]
        np.save(path, kept)
    np.testing.assert_array_equal(np.asarray(read_image(path, 5)), PIXELS)


def test_grey_and_colour_arrays_are_plain_pictures(tmp_path: Path) -> None:
    np.save(tmp_path / "grey.npy", PIXELS[..., 0])
    np.save(tmp_path / "colour.npy", PIXELS[..., :3])
    grey, colour = read_image(tmp_path / "grey.npy", 1), read_image(tmp_path / "colour.npy", 3)
    assert (grey.mode, colour.mode) == ("L", "RGB")
    np.testing.assert_array_equal(np.asarray(colour), PIXELS[..., :3])
    assert type(grey) is Image.Image


@pytest.mark.parametrize(
    ("values", "rule", "wanted"),
    [
        (np.array([[[0, 4095]]], np.uint16), "auto", [0, 255]),
        (np.array([[[0, 1000]]], np.uint16), "full", [0, 4]),
        (np.array([[[0.0, 1.0]]], np.float32), "auto", [0, 255]),
        (np.array([[[-2.0, 2.0]]], np.float64), "auto", [0, 255]),
        (np.array([[[np.nan, 5.0]]], np.float32), (0.0, 10.0), [0, 128]),
        (np.array([[[False, True]]]), "auto", [0, 255]),
        (np.array([[[0, 100], [10, 300]]], np.int32), "percentile", [0, 0, 255, 255]),
    ],
)
def test_numbers_become_8_bits_by_the_rule_for_grey(
    tmp_path: Path, values: np.ndarray, rule: GreyRange, wanted: list[int]
) -> None:
    np.save(tmp_path / "image.npy", values)
    assert np.asarray(read_image(tmp_path / "image.npy", 2, rule)).ravel().tolist() == wanted
    assert in_8_bits(PIXELS, rule) is PIXELS


def test_a_look_says_whether_an_array_is_deep_and_its_levels(tmp_path: Path) -> None:
    np.save(tmp_path / "deep.npy", PIXELS.astype(np.uint16) * 3)
    look = look_at(tmp_path / "deep.npy", True, channels=5)
    assert look.levels == Levels(float(PIXELS.min()) * 3, float(PIXELS.max()) * 3)
    assert look_at(tmp_path / "deep.npy", False, channels=5).is_deep
    np.save(tmp_path / "plain.npy", PIXELS)
    assert not look_at(tmp_path / "plain.npy", True, channels=5).is_deep


def hostile(name: str) -> bytes:
    file = io.BytesIO()
    np.save(file, PIXELS)
    whole = file.getvalue()
    huge = io.BytesIO()
    np.lib.format.write_array_header_1_0(huge, {"descr": "|u1", "fortran_order": False, "shape": (10**6, 10**6, 5)})
    objects = io.BytesIO()
    np.save(objects, np.array([[[{}] * 5]], dtype=object), allow_pickle=True)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("image.npy", huge.getvalue())
    return {
        "cut.npy": whole[:-9], "huge.npy": huge.getvalue(), "objects.npy": objects.getvalue(), "empty.npy": b"",
        "text.npy": b"\x93NUMPY\x01\x00\x10\x00{'descr': import}", "huge.npz": packed.getvalue(),
        "no.npz": b"PK\x03\x04",
    }[name]  # fmt: skip


@pytest.mark.parametrize("name", ["cut.npy", "huge.npy", "objects.npy", "empty.npy", "text.npy", "huge.npz", "no.npz"])
def test_hostile_arrays_are_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(hostile(name))
    with pytest.raises(UserError, match=rf"^cannot read .*{name}: "):
        read_image(tmp_path / name, 5)


def test_arrays_of_other_shapes_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", PIXELS)
    with pytest.raises(UserError, match=r"array of shape \(9, 12, 5\), and the model takes 4 channels"):
        read_image(tmp_path / "image.npy", 4)
    np.savez(tmp_path / "two.npz", a=PIXELS, b=PIXELS)
    with pytest.raises(UserError, match="2 arrays and none is named image"):
        read_image(tmp_path / "two.npz", 5)
