"""Pictures of every origin are read as a person sees them, or refused in one sentence."""

from __future__ import annotations

import os
import struct
import sys
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from hvit.data.images import memory
from hvit.data.images.reading import quiet_pillow, read_image
from hvit.data.regular_files import InMemory
from hvit.errors import UserError

REFUSED = {
    "truncated.jpg": "cut off",
    "zero_byte.png": "empty",
    "text_renamed.jpg": "not a JPEG",
    "corrupt_crc.png": "damaged",
    "bomb_30000x30000.png": "million pixels",
    "single_frame.mp4": "not a JPEG",
}
READ = {
    "cmyk.jpg": (200, 132),
    "gray_16bit.png": (200, 132),
    "gray_8bit.png": (200, 132),
    "palette_alpha.png": (200, 132),
    "rgba.png": (200, 132),
    "exif_rotated_6.jpg": (200, 132),
    "one_pixel.png": (1, 1),
    "strip_2000x20.png": (2000, 20),
    "png_inside.jpg": (200, 132),
    "naïve café 犬.jpg": (200, 132),
}


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(float)


def is_one_sentence(error: UserError) -> bool:
    message = str(error)
    return message.endswith(".") and "\n" not in message and "Traceback" not in message


@pytest.mark.parametrize(("name", "reason"), REFUSED.items())
def test_every_bad_file_is_refused_in_one_sentence_naming_it(shared_data: Path, name: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        read_image(shared_data / "bad_inputs" / name)
    assert name in str(caught.value)
    assert is_one_sentence(caught.value)


@pytest.mark.parametrize(("name", "size"), READ.items())
@pytest.mark.parametrize(("channels", "mode"), [(3, "RGB"), (1, "L")])
def test_every_odd_file_is_read_in_colour_and_in_grey(
    shared_data: Path, name: str, size: tuple[int, int], channels: int, mode: str
) -> None:
    image = read_image(shared_data / "bad_inputs" / name, channels)
    assert (image.size, image.mode) == (size, mode)


@pytest.mark.parametrize("name", ["exif_rotated_6.jpg", "cmyk.jpg", "gray_16bit.png", "gray_8bit.png", "rgba.png"])
def test_odd_files_show_the_same_dog_as_the_plain_one(shared_data: Path, name: str) -> None:
    """All were made from the photograph that the file with the non-ASCII name holds as a plain JPEG."""
    plain = pixels(read_image(shared_data / "bad_inputs" / "naïve café 犬.jpg", channels=1))
    odd = pixels(read_image(shared_data / "bad_inputs" / name, channels=1))
    assert np.abs(odd - plain).mean() < 6
    assert np.corrcoef(odd.ravel(), plain.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_exif_rotated_picture_equals_the_upright_one(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3) * 3
    # What a camera stores, as the EXIF standard defines it: where the first row and column of the file belong.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = (tmp_path / "turned").with_suffix(suffix)
    options = {"lossless": True} if suffix == ".webp" else {}
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, **options)
    np.testing.assert_array_equal(np.asarray(read_image(path)), upright)


def test_16_bit_grey_is_scaled_and_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 256, 257, 32768, 65279, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    assert np.asarray(read_image(tmp_path / "deep.png", channels=1)).tolist() == [[0, 1, 1, 128, 254, 255]]
    assert np.asarray(read_image(tmp_path / "deep.png"))[0, 3].tolist() == [128, 128, 128]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 255))
    image.convert(mode).save(tmp_path / "clear.png")
    assert np.asarray(read_image(tmp_path / "clear.png"))[0, :, 0].tolist() == [255, 0]


def test_of_a_moving_picture_the_first_frame_is_read(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (3, 2), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert np.asarray(read_image(tmp_path / "moving.gif"))[0, 0].tolist() == [255, 0, 0]


def test_the_moving_picture_of_the_shared_data_is_read(shared_data: Path) -> None:
    assert read_image(shared_data / "bad_inputs" / "animated.gif").mode == "RGB"


def test_a_damaged_exif_block_does_not_hide_good_pixels(tmp_path: Path) -> None:
    Image.new("RGB", (4, 3), "red").save(tmp_path / "odd.jpg", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    assert read_image(tmp_path / "odd.jpg").size == (4, 3)


def test_missing_files_folders_and_pipes_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for name, reason in {"none.png": "no such file", ".": "folder", "pipe.png": "regular file"}.items():
        with pytest.raises(UserError, match=reason) as caught:
            read_image(tmp_path / name)
        assert is_one_sentence(caught.value)
    with pytest.raises(UserError, match="File name too long"):
        read_image(tmp_path / ("x" * 300 + ".png"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    Image.new("L", (2, 2)).save(tmp_path / "secret.png")
    (tmp_path / "secret.png").chmod(0)
    with pytest.raises(UserError, match="no permission"):
        read_image(tmp_path / "secret.png")


def test_a_permission_error_is_told_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (2, 2)).save(tmp_path / "secret.png")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(UserError, match=r"secret\.png: this user has no permission"):
        read_image(tmp_path / "secret.png")


def test_a_name_that_is_no_text_can_still_be_printed(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")
    with pytest.raises(UserError) as caught:
        read_image(path)
    assert "caf\\udce9.png" in str(caught.value).encode("utf-8").decode("utf-8")


def test_a_name_that_gives_orders_to_a_terminal_stays_one_line_of_text(tmp_path: Path) -> None:
    path = tmp_path / "two\nlines\x1b[31m\x07\x9b2J.png"
    path.write_text("no picture")
    with pytest.raises(UserError) as caught:
        read_image(path)
    assert "two\\nlines\\x1b[31m\\x07\\x9b2J.png" in str(caught.value)
    assert str(caught.value).isprintable()


def png_header(width: int, height: int) -> bytes:
    """A PNG file without any pixels."""
    chunks = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0), b"IDAT"
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks
    )


def test_the_size_limit_holds_even_where_pillow_was_told_not_to_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bomb.png").write_bytes(png_header(20_000, 20_000))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(UserError, match=r"more than 178 million pixels"):
        read_image(tmp_path / "bomb.png")


def test_a_large_picture_below_the_limit_warns_nobody(tmp_path: Path) -> None:
    """Pillow warns from 89 million pixels; here only the missing pixels are named."""
    (tmp_path / "large.png").write_bytes(png_header(10_000, 10_000))
    with pytest.raises(UserError, match="image file is truncated"):
        read_image(tmp_path / "large.png")


def test_reading_in_many_threads_leaves_the_warning_filters_as_they_were() -> None:
    before = list(warnings.filters)
    meet = threading.Barrier(4)

    def enter_and_leave(_: int) -> None:
        with quiet_pillow():
            meet.wait(timeout=600)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(enter_and_leave, range(4)))
    assert warnings.filters == before


def test_postscript_is_never_handed_to_an_interpreter(tmp_path: Path) -> None:
    (tmp_path / "program.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    with pytest.raises(UserError, match="not a JPEG"):
        read_image(tmp_path / "program.jpg")


def test_reading_never_changes_how_pillow_treats_others() -> None:
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    assert Image.MAX_IMAGE_PIXELS is not None
    assert abs(2 * Image.MAX_IMAGE_PIXELS - memory.MAXIMUM_PIXELS) <= 1
    assert sys.modules["PIL.Image"].WARN_POSSIBLE_FORMATS is False


def test_content_in_memory_is_read_as_a_file_is_and_refused_by_its_name(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    assert (np.asarray(read_image(InMemory("b.png", content))) == np.asarray(read_image(tmp_path / "a.png"))).all()
    assert read_image(InMemory("b.png", content), 1).mode == "L"
    for broken, reason in ((b"", "the file is empty"), (content[:-30], "damaged"), (b"GIF", "it is not a JPEG")):
        with pytest.raises(UserError, match=rf"cannot read b\.png: .*{reason}"):
            read_image(InMemory("b.png", broken))
    np.save(tmp_path / "c.npy", pixels)
    array = read_image(InMemory("d.npy", (tmp_path / "c.npy").read_bytes()))
    assert (np.asarray(array) == np.asarray(read_image(tmp_path / "c.npy"))).all()
