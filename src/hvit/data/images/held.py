"""Images and clips that are no files of their own: rows of a table that holds them, or what a program holds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from hvit.data.regular_files import open_regular
from hvit.errors import UserError

_AS_PPM = ("L", "RGB")


class Rows(ABC):
    """Images by their number.

    repeats: whether the same number gives the same image each time; only then can content be compared. clips: whether
    they are clips.
    """

    repeats: bool = True
    clips: bool = False

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def value(self, number: int) -> object:
        """An image: the bytes or the path of a file, a picture of Pillow, or an array (see `picture_of`)."""

    @abstractmethod
    def name(self, number: int) -> str:
        """What to call an image in a sentence."""


@dataclass(frozen=True)
class _Held:
    rows: Rows
    number: int

    def __str__(self) -> str:
        return self.rows.name(self.number)


class HeldImage(_Held):
    """One image of some rows, which is read like a file."""

    def open(self) -> BinaryIO:
        """The image as a file. Raises UserError for what is no image, and OSError as opening a file does."""
        value = self.rows.value(self.number)
        if isinstance(value, str | Path):
            return open_regular(value)
        return BytesIO(value if isinstance(value, bytes) else _as_file(picture_of(value)))

    def content(self) -> bytes:
        """The bytes that `open` gives."""
        with self.open() as file:
            return file.read()


class HeldClip(_Held):
    """One clip of some rows."""

    def array(self) -> np.ndarray:
        """Its frames, (frames, height, width, channels) uint8. Raises UserError for what is no clip."""
        try:
            return clip_of(self.rows.value(self.number))
        except UserError as error:
            raise UserError(f"cannot read {self}: {error}") from error

    def open(self) -> BinaryIO:
        """Its size and pixels as a file, to be compared."""
        array = self.array()
        return BytesIO(repr(array.shape).encode() + array.tobytes())


def clip_of(value: object) -> np.ndarray:
    """The frames of a clip as a program holds them, (frames, height, width, channels) uint8.

    value: an array of NumPy or a tensor of torch: (frames, height, width, channels), (frames, channels, height, width)
    or, grey, (frames, height, width), of uint8 or of real numbers from 0 to 1. Raises UserError for anything else.
    """
    is_tensor = type(value).__module__.partition(".")[0] == "torch"
    array = np.asarray(value.detach().cpu() if is_tensor else value)  # pyright: ignore[reportAttributeAccessIssue]
    if array.dtype == object or array.ndim not in (3, 4) or not array.size:
        raise UserError(
            f"a clip must be an array or a tensor (frames, height, width, channels), or its path where all are paths, "
            f"not {_what(value, array)}"
        )
    if array.ndim == 3:
        array = array[..., None]
    elif array.shape[3] not in (1, 3):
        if array.shape[1] not in (1, 3):
            raise UserError(
                f"a clip must have 1 or 3 channels, in the last axis (frames, height, width, channels) or the second "
                f"(frames, channels, height, width), not the shape {array.shape}"
            )
        array = array.transpose(0, 2, 3, 1)
    return _in_bytes(array, "clips")


def _in_bytes(array: np.ndarray, what: str) -> np.ndarray:
    """Real numbers from 0 to 1 as uint8, and uint8 as it is. Raises UserError for other numbers."""
    if array.dtype.kind == "f":
        if not (array.min(initial=0) >= 0 and array.max(initial=0) <= 1):  # not a number is refused, too
            raise UserError(
                f"its real numbers must be from 0 to 1, not from {array.min():.3g} to {array.max():.3g}: give {what} "
                "that are not normalised, since hvit does that"
            )
        return np.rint(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise UserError(f"its numbers must be uint8, or real numbers from 0 to 1, not {array.dtype}")
    return array


def picture_of(value: object) -> Image.Image:
    """A picture, upright, of an image as libraries of Python hold it.

    value: a picture of Pillow; an array of NumPy, (height, width), (height, width, channels) or (channels, height,
    width); or a tensor of torch, in which channels come first where both ends could be channels. Integers of 8 or 16
    bits, or real numbers from 0 to 1. Raises UserError for anything else.
    """
    if isinstance(value, Image.Image):
        return ImageOps.exif_transpose(value)
    is_tensor = type(value).__module__.partition(".")[0] == "torch"
    array = np.asarray(value.detach().cpu() if is_tensor else value)  # pyright: ignore[reportAttributeAccessIssue]
    if array.dtype == object or array.ndim not in (2, 3):
        raise UserError(
            f"it must be a picture, the path or the bytes of one, or an array (height, width, channels), not "
            f"{_what(value, array)}"
        )
    array = _channels_last(array, first=is_tensor)
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    if array.dtype == np.uint16 and array.ndim == 2:
        return Image.fromarray(array)
    return Image.fromarray(np.ascontiguousarray(_in_bytes(array, "images")))


def _channels_last(array: np.ndarray, first: bool) -> np.ndarray:
    """(height, width), or (height, width, channels) of 2 to 4. first: where channels are, if both ends could be."""
    if array.ndim == 2:
        return array
    front, back = array.shape[0] in (1, 3, 4), array.shape[2] in (1, 3, 4)
    if not (front or back):
        raise UserError(f"it must have 1, 3 or 4 channels at one end of its shape, not {array.shape}")
    if front and (first or not back):
        array = array.transpose(1, 2, 0)
    return array[..., 0] if array.shape[2] == 1 else array


def _what(value: object, array: np.ndarray) -> str:
    return type(value).__name__ if array.dtype == object or not array.ndim else f"an array of shape {array.shape}"


def _as_file(picture: Image.Image) -> bytes:
    """A picture without loss, in the format that is fastest to read back."""
    file = BytesIO()
    plain = picture.mode in _AS_PPM and not picture.has_transparency_data
    try:
        picture.save(file, "PPM" if plain else "TIFF")
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"pictures of mode {picture.mode} are not read: convert them to RGB or L") from error
    return file.getvalue()
