"""Images in files of NumPy, `.npy` and `.npz`: read without trusting what they claim, and brought to 8 bits."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from hvit.data.grey import GreyRange, Levels, levels_of, percentiles_of, range_of, to_8_bits
from hvit.data.images.deep import check_full
from hvit.data.images.listing import ARRAY_SUFFIXES
from hvit.data.images.memory import MAXIMUM_PIXELS, MOST_MEMORY, TOO_LARGE
from hvit.data.regular_files import Refusal, open_regular

_NAMES = ("image", "arr_0")


def is_array_name(path: str | Path) -> bool:
    """Whether a file's name ends like an array's."""
    return Path(path).suffix.lower() in ARRAY_SUFFIXES


def read_array(path: str | Path, channels: int) -> np.ndarray:
    """The values (height, width, channels) in an array file, as they are.

    The array is (height, width), or has the channels in its last or its first axis. Of an `.npz` file, the only array,
    or the one named "image". Raises Refusal for anything else, and for arrays that take too much memory.
    """
    with _member(path) as file:
        shape, is_fortran, dtype = _header(file)
        _checked_shape(shape, channels)
        if dtype.kind not in "buif" or dtype.itemsize > 8:
            raise Refusal(f"its values are of type {dtype}; whole numbers and real numbers are read")
        count = int(np.prod(shape, dtype=np.float64))
        if count / channels > MAXIMUM_PIXELS:
            raise Refusal(TOO_LARGE)
        if count * (dtype.itemsize + 1) > MOST_MEMORY:
            raise Refusal(f"it takes more than {MOST_MEMORY / 1e9:g} GB of memory")
        content = file.read(count * dtype.itemsize)
        if len(content) != count * dtype.itemsize:
            raise Refusal("the array is cut off")
        values = np.frombuffer(content, dtype).reshape(shape, order="F" if is_fortran else "C")
    if values.ndim == 2:
        values = values[..., None]
    elif values.shape[2] != channels:
        values = values.transpose(1, 2, 0)
    return values.astype(np.uint8) * 255 if values.dtype == bool else values


def is_deep_array(path: str | Path) -> bool:
    """Whether an array has more than 8 bits a value. Raises Refusal as `read_array`."""
    with _member(path) as file:
        return _header(file)[2] not in (np.uint8, np.bool_)


def levels_of_array(values: np.ndarray) -> Levels:
    """The least and the largest value of an image."""
    return levels_of([values], values.dtype.kind == "f")


def in_8_bits(values: np.ndarray, rule: GreyRange) -> np.ndarray:
    """Values (height, width, channels) as uint8, by the rule for grey levels (see `grey.range_of`).

    percentile is of each channel by itself, the other rules are of all channels together.
    """
    if values.dtype == np.uint8:
        return values
    if rule == "percentile":
        each = [values[..., place] for place in range(values.shape[2])]
        return np.stack([to_8_bits(one, *percentiles_of(iter([one]), one.size), False) for one in each], axis=2)
    levels = Levels(0.0, 0.0, values.dtype.kind == "f") if isinstance(rule, tuple) else levels_of_array(values)
    if rule == "full":
        check_full(levels)
    return to_8_bits(values, *range_of(rule, levels), False)


def _checked_shape(shape: tuple[int, ...], channels: int) -> None:
    fits = (len(shape) == 2 and channels == 1) or (len(shape) == 3 and channels in (shape[0], shape[2]))
    if not fits or 0 in shape:
        raise Refusal(
            f"it is an array of shape {shape}, and the model takes {channels} "
            f"channel{'s' if channels > 1 else ''}: (height, width, {channels}) or ({channels}, height, width) is read"
        )


@contextmanager
def _member(path: str | Path) -> Iterator[IO[bytes]]:
    """The array's bytes, of an `.npz` file those of the array that is an image."""
    with open_regular(path) as file:
        if Path(path).suffix.lower() == ".npy":
            yield file
            return
        try:
            with zipfile.ZipFile(file) as archive:
                names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
                chosen = names if len(names) == 1 else [name for name in _NAMES if name in names]
                if not chosen:
                    raise Refusal(f"it holds {len(names)} arrays and none is named image: save the image alone")
                with archive.open(f"{chosen[0]}.npy") as member:
                    yield member
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
            raise Refusal("it is no .npz file of NumPy, or damaged") from error


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether the first axis runs fastest, and type; the file then stands before the values."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(file)
        if version not in readers:
            raise Refusal(f"its format of NumPy is {version}, and 1.0 and 2.0 are read")
        return readers[version](file)
    except ValueError as error:
        raise Refusal("it is no .npy array of NumPy, or damaged") from error
