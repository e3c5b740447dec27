"""Decodes an image file of any origin to an upright 8-bit image, or says in one sentence why not."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from hvit.data.grey import GreyRange, Levels, together
from hvit.data.images import tiff
from hvit.data.images.arrays import in_8_bits, is_array_name, is_deep_array, levels_of_array, read_array
from hvit.data.images.channels import ChannelImage
from hvit.data.images.deep import DeepKind, DeepPixels, check_full, deep_kind, open_lower, prepare_to_decode
from hvit.data.images.heic import open_heic
from hvit.data.images.held import HeldImage
from hvit.data.images.listing import show
from hvit.data.images.memory import MOST_MEMORY, SCALED, TOO_LARGE, check_size, most_decoded, taken
from hvit.data.images.tiff_samples import has_samples, is_deep_samples, read_samples
from hvit.data.reduced import Needed, Reduced
from hvit.data.regular_files import (
    NotRegularError,
    Refusal,
    open_regular,
    system_reason,
)
from hvit.errors import UserError

_ROWS_OF_PIXELS = 1 << 20
_KEY_SCALES = {"L;2": 85, "L;4": 17}

# Formats that Pillow decodes by itself. EPS is not among them: Pillow hands it to an outside interpreter.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
_UNKNOWN = f"it is not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image"

EXIF_ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
LYING = tuple(turn for orientation, turn in UPRIGHT.items() if orientation >= 5)
"""The turns that exchange width and height."""


def read_image(
    path: str | Path | HeldImage, channels: int = 3, grey_range: GreyRange = "auto", page: int | None = None
) -> Image.Image:
    """Reads an image the way a person would see it.

    It is upright (EXIF orientation applied), on white where it is transparent, and has 8 bits a channel. The file's
    content decides what it is, not its name. A JPEG image of which 4 bytes a pixel would take more than 0.9 GB is
    decoded at a half of its size.

    channels: 3 for an image of mode "RGB", 1 for grey ("L"); any other number for a `ChannelImage`, of a TIFF file
    whose pages are the channels, of an array of NumPy, or of a file of so many bands, such as RGBA. Arrays are known by
    their names, .npy and .npz. grey_range: which values of more than 8 bits become black
    and white (see `grey.range_of`). page: which page of a TIFF file, or frame of an animation, is read, from 1; None
    for the first frame of an animation, and to refuse a TIFF file of several pages. Files with one image have no pages.
    Raises UserError, naming the file and the reason, if it is missing, no image, damaged, cut off, or takes more than
    0.9 GB of memory or `MAXIMUM_PIXELS`.
    """
    if channels not in (1, 3) or _is_array(path):
        return _read_channels(path, channels, grey_range)
    with _opened(path, page) as opened:
        return _decoded(opened, "L" if channels == 1 else "RGB", grey_range)


def _read_channels(path: str | Path | HeldImage, channels: int, grey_range: GreyRange) -> Image.Image:
    """An image of an array, or of more channels than a colour has."""
    if not isinstance(path, HeldImage) and is_array_name(path):
        with _sentences(path):
            pixels = in_8_bits(read_array(path, channels), grey_range)
            if channels in (1, 3):
                return Image.fromarray(np.ascontiguousarray(pixels if channels == 3 else pixels[..., 0]))
            return ChannelImage.of_array(pixels)
    if (samples := _samples(path, channels)) is not None:
        with _sentences(path):
            values, orientation = samples
            image = ChannelImage.of_array(in_8_bits(values, grey_range))
            turn = UPRIGHT.get(orientation)
            return image.transpose(turn) if turn else image
    pages = _count_channels(path, channels)
    if pages == 1:
        with _opened(path) as opened:
            if opened.kind is not None:
                raise Refusal("it has more than 8 bits a channel: save it as a TIFF file, or as an .npy array")
            opened.image.load()
            turn = _turn_to_upright(opened.image)
            return ChannelImage([one.transpose(turn) if turn else one for one in opened.image.split()])
    read = [read_image(path, 1, grey_range, page) for page in range(1, pages + 1)]
    if len({one.size for one in read}) > 1:
        raise UserError(f"cannot read {show(str(path))}: its pages, which are its channels, have different sizes.")
    return ChannelImage(read)


def _samples(path: str | Path | HeldImage, channels: int) -> tuple[np.ndarray, int] | None:
    """The values of a TIFF that Pillow cannot read as so many channels, and its orientation; None for other files."""
    with _sentences(path), _file_of(path) as file:
        return read_samples(file, channels) if has_samples(file, channels) else None


def _count_channels(path: str | Path | HeldImage, channels: int) -> int:
    """How many pages hold the channels of a file; 1 where it has that many bands. Raises UserError for other files."""
    with _sentences(path), _file_of(path) as file:
        image = _open(file)
        with image:
            pages = tiff.count_pages(file) if image.format == "TIFF" else 1
            found = pages if pages > 1 else len(image.getbands())
            if found != channels:
                raise Refusal(
                    f"it has {found} channel{'s' if found > 1 else ''}, and the model takes {channels}: "
                    "pages of a TIFF file, bands and arrays of NumPy are channels"
                )
            if image.width * image.height * channels * 2 > MOST_MEMORY:
                raise Refusal(f"its {channels} channels take more than {MOST_MEMORY / 1e9:g} GB of memory")
            return pages


def read_reduced(
    path: str | Path | HeldImage, channels: int, needed: Needed, grey_range: GreyRange = "auto", page: int | None = None
) -> Image.Image | Reduced:
    """As `read_image`; a JPEG image is decoded at a half, a quarter or an eighth if that leaves what is needed.

    The decoder then makes fewer pixels of the same coefficients, each the mean of those it stands for, nearly.
    """
    if channels not in (1, 3) or _is_array(path):
        return read_image(path, channels, grey_range)
    with _opened(path, page) as opened:
        image, mode = opened.image, "L" if channels == 1 else "RGB"
        if image.format not in SCALED:
            return _decoded(opened, mode, grey_range)
        turn = _turn_to_upright(image)
        size = _swapped_if(turn in LYING, opened.size)
        picture = _decoded(opened, mode, grey_range, _swapped_if(turn in LYING, needed(*size)))
        return picture if picture.size == size else Reduced(picture, size)


@dataclass(frozen=True)
class Look:
    """What is known of a readable image file before it is used.

    is_deep: whether it has more than 8 bits a channel. levels: its least and largest value then, if it was decoded.
    moves: whether it is an animation.
    """

    is_deep: bool
    levels: Levels | None
    moves: bool


def look_at(
    path: str | Path | HeldImage,
    whole: bool,
    grey_range: GreyRange = "auto",
    page: int | None = None,
    channels: int = 3,
) -> Look:
    """Looks at a file's header, or decodes all of it. Raises UserError as `read_image` with the same arguments does."""
    if not isinstance(path, HeldImage) and is_array_name(path):
        return _look_at_array(path, whole, grey_range, channels)
    if channels not in (1, 3):
        if (look := _look_at_samples(path, whole, grey_range, channels)) is not None:
            return look
        pages = _count_channels(path, channels)
        if pages == 1:
            if whole:
                read_image(path, channels, grey_range)
            return Look(False, None, False)
        looks = [look_at(path, whole, grey_range, number) for number in range(1, pages + 1)]
        return Look(any(one.is_deep for one in looks), together(one.levels for one in looks if one.levels), False)
    with _opened(path, page) as opened:
        levels = None
        moves = opened.image.format != "TIFF" and _has_several(opened.image)
        if whole and opened.kind is not None:
            pixels = _deep_pixels(opened)
            levels = pixels.levels()
            if grey_range == "full":
                check_full(levels)
        elif whole:
            _decoded(opened, "RGB", grey_range)
        return Look(opened.kind is not None, levels, moves)


def _look_at_samples(path: str | Path | HeldImage, whole: bool, grey_range: GreyRange, channels: int) -> Look | None:
    with _sentences(path), _file_of(path) as file:
        if not has_samples(file, channels):
            return None
        if not whole:
            return Look(is_deep_samples(file, channels), None, False)
        return _look_at_values(read_samples(file, channels)[0], grey_range)


def _look_at_values(values: np.ndarray, grey_range: GreyRange) -> Look:
    levels = levels_of_array(values) if values.dtype != np.uint8 else None
    if levels is not None and grey_range == "full":
        check_full(levels)
    return Look(levels is not None, levels, False)


def _look_at_array(path: str | Path, whole: bool, grey_range: GreyRange, channels: int) -> Look:
    with _sentences(path):
        if not whole:
            return Look(is_deep_array(path), None, False)
        return _look_at_values(read_array(path, channels), grey_range)


def _swapped_if(swaps: bool, size: tuple[int, int]) -> tuple[int, int]:
    return (size[1], size[0]) if swaps else size


@dataclass(frozen=True)
class _Opened:
    """An opened, not yet decoded image: its file, its size before it is turned, and what it is if it is deep."""

    image: Image.Image
    file: BinaryIO
    size: tuple[int, int]
    kind: DeepKind | None
    page: int


@contextmanager
def _opened(path: str | Path | HeldImage, page: int | None = None) -> Iterator[_Opened]:
    """The opened, not yet decoded image; whatever goes wrong inside becomes one sentence."""
    with _sentences(path), _file_of(path) as file:
        image = _open(file)
        with image, taken(check_size(image)):
            place = _choose_page(image, file, page)
            _scale_key(image)
            yield _Opened(image, file, image.size, deep_kind(image), place)


def _is_array(path: str | Path | HeldImage) -> bool:
    return not isinstance(path, HeldImage) and is_array_name(path)


def _file_of(path: str | Path | HeldImage) -> BinaryIO:
    return path.open() if isinstance(path, HeldImage) else open_regular(path)


def _open(file: BinaryIO) -> Image.Image:
    """The opened, not yet decoded image. Raises Refusal for a file that is none."""
    try:
        return Image.open(file, formats=_formats())
    except UnidentifiedImageError:
        if (image := open_heic(file)) is not None:
            return image
        raise Refusal(tiff.why_unknown(file) or _UNKNOWN) from None


@contextmanager
def _sentences(path: str | Path | HeldImage) -> Iterator[None]:
    """Whatever goes wrong inside becomes one sentence (UserError) on the file."""
    with quiet_pillow():
        try:
            yield
        # Damaged files make Pillow's decoders raise almost anything: OSError, SyntaxError, struct.error, KeyError ...
        except Exception as error:
            raise UserError(f"cannot read {show(str(path))}: {_reason(error)}.") from error


@cache
def _formats() -> tuple[str, ...]:
    """Those of the formats that this build of Pillow knows."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return TOO_LARGE
    if isinstance(error, Refusal | UserError):
        return str(error)
    if isinstance(error, MemoryError):
        return "it takes more memory than there is"
    if isinstance(error, OSError) and (error.strerror or isinstance(error, NotRegularError)):
        return system_reason(error)
    detail = " ".join(show(str(error)).split()).rstrip(".") or type(error).__name__
    return f"the image is damaged, cut off or of an unknown kind ({detail})"


def _has_several(image: Image.Image) -> bool:
    """Whether a file has several pages or frames. The second image of a phone's JPEG is no other page."""
    return image.format not in SCALED and bool(getattr(image, "is_animated", False))


def _choose_page(image: Image.Image, file: BinaryIO, page: int | None) -> int:
    """Goes to the page or frame that is wanted; returns its number from 0."""
    if not _has_several(image):
        return 0
    if page is None:
        if image.format == "TIFF" and (pages := tiff.count_pages(file)) > 1:
            count = f"{pages:,}{' or more' if pages == tiff.MOST_PAGES else ''}"
            raise Refusal(f"it holds {count} pages: choose one for all files, such as --data.page 1, or save it alone")
        return 0
    try:
        image.seek(page - 1)
    except EOFError:
        raise Refusal(f"it has fewer than {page} pages or frames") from None
    return page - 1


def _scale_key(image: Image.Image) -> None:
    """Scales the transparent value of a PNG of 2 or 4 bits of grey, as Pillow does with its pixels only."""
    raws = {tile.args for tile in getattr(image, "tile", []) if isinstance(tile.args, str)}
    key = image.info.get("transparency")
    if image.format == "PNG" and isinstance(key, int) and raws and raws <= _KEY_SCALES.keys():
        image.info["transparency"] = key * _KEY_SCALES[raws.pop()]


def _decoded(opened: _Opened, mode: str, grey_range: GreyRange, needed: tuple[int, int] | None = None) -> Image.Image:
    """The image upright, in 8 bits, without transparency, in a mode. needed: width and height that are enough."""
    image, kind = opened.image, opened.kind
    most = most_decoded(image)
    # Other formats than JPEG ignore this.
    image.draft(None, (min(most[0], needed[0]), min(most[1], needed[1])) if needed else most)
    if kind is not None and (grey_range != "full" or not kind.raw or kind.key is not None):
        image = _deep_pixels(opened).shown(grey_range)
    image.load()
    return _plain(image, mode, _turn_to_upright(opened.image))


def _deep_pixels(opened: _Opened) -> DeepPixels:
    assert opened.kind is not None
    prepare_to_decode(opened.image, opened.kind)
    opened.image.load()
    return DeepPixels(opened.kind, opened.image, open_lower(opened.file, opened.image, opened.kind, opened.page))


def _plain(image: Image.Image, mode: str, turn: Image.Transpose | None) -> Image.Image:
    """Upright, without transparency, in the given mode."""
    if turn is not None:
        image = image.transpose(turn)
    if image.has_transparency_data:
        image = _on_white(image)
    if image.mode != mode:
        return image.convert(mode)
    # A picture outlives its file by `copy`, if the file may hold more of them; of a large one that takes as long as
    # decoding it.
    return image if image.format in (None, "JPEG") else image.copy()


def _on_white(image: Image.Image) -> Image.Image:
    """A transparent image on white, some rows at a time: whole, it would take four times its memory."""
    if image.mode == "La":
        image = image.convert("LA")
    result = Image.new("RGB", image.size)
    rows = max(1, _ROWS_OF_PIXELS // image.width)
    for top in range(0, image.height, rows):
        part = image.crop((0, top, image.width, min(top + rows, image.height))).convert("RGBA")
        result.paste(Image.alpha_composite(Image.new("RGBA", part.size, "white"), part).convert("RGB"), (0, top))
    return result


def _turn_to_upright(image: Image.Image) -> Image.Transpose | None:
    if image.format == "TIFF":  # Pillow turns these itself as it decodes them, and says the upright size before
        return None
    try:
        return UPRIGHT.get(image.getexif().get(EXIF_ORIENTATION, 1))
    except Exception:
        # Pixels that decoded are good pixels, even with a damaged EXIF block.
        return None


_quiet_lock = threading.Lock()
_quiet_depth = 0
_quiet_before: warnings.catch_warnings | None = None


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Silences Pillow's warnings about odd files inside the block; what matters is raised as an error instead.

    `warnings.catch_warnings` alone is not safe in threads: here the first to enter saves the filters and the last to
    leave restores them.
    """
    global _quiet_depth, _quiet_before
    with _quiet_lock:
        if _quiet_depth == 0:
            _quiet_before = warnings.catch_warnings()
            _quiet_before.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")
        _quiet_depth += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0 and _quiet_before is not None:
                _quiet_before.__exit__(None, None, None)
