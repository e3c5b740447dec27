"""Images of any number of channels: resized, cropped and turned as their channels are, and pictures for people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hvit.data.images.channels import ChannelImage, checked_names, pictured_channels
from hvit.data.images.reading import read_image
from hvit.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 6), dtype=np.uint8)


def test_operations_are_those_of_every_channel() -> None:
    image = ChannelImage.of_array(PIXELS)
    assert (image.size, image.mode) == ((30, 20), "C6")
    np.testing.assert_array_equal(np.asarray(image), PIXELS)
    for change in (
        lambda one: one.resize((8, 9), Image.Resampling.BICUBIC),
        lambda one: one.crop((-2, 3, 25, 19)),
        lambda one: one.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        lambda one: one.copy(),
    ):
        changed = np.asarray(change(image))
        for place in range(6):
            np.testing.assert_array_equal(changed[..., place], np.asarray(change(Image.fromarray(PIXELS[..., place]))))


def test_a_picture_for_people_shows_colours_by_their_names_or_the_first_channels(tmp_path: Path) -> None:
    image = ChannelImage.of_array(PIXELS)
    np.testing.assert_array_equal(np.asarray(image.convert("RGB")), PIXELS[..., :3])
    names = ("nir", "blue", "green", "Red", "a", "b")
    chosen = pictured_channels(6, names)
    assert chosen == (3, 2, 1)
    shown = image.pictured_as(chosen).resize((30, 20))
    np.testing.assert_array_equal(np.asarray(shown.convert("RGB")), PIXELS[..., [3, 2, 1]])
    shown.save(tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as opened:
        np.testing.assert_array_equal(np.asarray(opened), PIXELS[..., [3, 2, 1]])
    assert pictured_channels(2) == (0, 0, 0)
    assert checked_names((), 6) is None
    with pytest.raises(UserError, match="names each of the 4 channels"):
        checked_names(("a", "b"), 4)


def test_pages_of_a_tiff_are_channels_and_so_are_bands(tmp_path: Path) -> None:
    pages = [Image.fromarray(PIXELS[..., place]) for place in range(6)]
    path = tmp_path / "pages.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    np.testing.assert_array_equal(np.asarray(read_image(path, 6)), PIXELS)
    deep = [Image.fromarray(PIXELS[..., place].astype(np.uint16) * 257) for place in range(4)]
    deep[0].save(tmp_path / "deep.tif", save_all=True, append_images=deep[1:])
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "deep.tif", 4, "full")), PIXELS[..., :4])
    Image.fromarray(PIXELS[..., :4], "RGBA").save(tmp_path / "bands.png")
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "bands.png", 4)), PIXELS[..., :4])


def test_files_of_other_channels_are_refused_in_one_sentence(tmp_path: Path) -> None:
    Image.fromarray(PIXELS[..., :3]).save(tmp_path / "colour.png")
    with pytest.raises(UserError, match=r"colour\.png: it has 3 channels, and the model takes 6"):
        read_image(tmp_path / "colour.png", 6)
    pages = [Image.fromarray(PIXELS[..., 0]), Image.fromarray(PIXELS[:5, :5, 1])]
    pages[0].save(tmp_path / "sizes.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(UserError, match="different sizes"):
        read_image(tmp_path / "sizes.tif", 2)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(UserError, match="cannot read"):
        read_image(tmp_path / "text.png", 4)
    with pytest.raises(UserError, match="no such file"):
        read_image(tmp_path / "missing.tif", 4)
