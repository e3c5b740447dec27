"""TIFF files whose pixels have many samples, or deep ones, as satellites write them: read by tifffile."""

from __future__ import annotations

import math
from typing import Any, BinaryIO

import numpy as np

from hvit.data.images import tiff
from hvit.data.images.memory import MAXIMUM_PIXELS, MOST_MEMORY, TOO_LARGE, taken
from hvit.data.regular_files import Refusal

_BANDS = 4
"""So many samples of 8 bits Pillow reads."""
_MOST_TIMES = {1: 1, 5: 2_731, 8: 1_032, 32_773: 64, 32_946: 1_032}
"""By compression (none, LZW, deflate, PackBits, old deflate): how many bytes may come of one."""


def has_samples(file: BinaryIO, channels: int) -> bool:
    """Whether a file is a TIFF of one page that Pillow cannot read as so many channels, and tifffile can."""
    first = tiff.first_page(file)
    if first is None or tiff.count_pages(file) > 1:
        return False
    return first.samples > _BANDS or (first.samples == channels > 1 and first.bits > 8)


def is_deep_samples(file: BinaryIO, channels: int) -> bool:
    """Whether there are more than 8 bits a sample. Raises Refusal as `read_samples` does before it decodes."""
    with _opened(file, channels) as opened:
        return opened.pages[0].dtype != np.uint8


def read_samples(file: BinaryIO, channels: int) -> tuple[np.ndarray, int]:
    """The samples (height, width, channels) of a TIFF as they are, and its orientation as EXIF counts them.

    Raises Refusal for another number of samples, for too many pixels, for a compression of which nobody knows how much
    comes of it, and where tifffile is not installed.
    """
    with _opened(file, channels) as opened:
        page = opened.pages[0]
        with taken(min(MOST_MEMORY, page.nbytes * 2)):
            values = page.asarray(maxworkers=1)
        values = values.reshape(page.shape)
        if page.axes == "SYX":
            values = values.transpose(1, 2, 0)
        orientation = page.tags.get(tiff.ORIENTATION)
        return values, int(orientation.value) if orientation is not None else 1


def _opened(file: BinaryIO, channels: int) -> Any:
    try:
        from tifffile import TiffFile
    except ImportError:
        raise Refusal(
            "it is a TIFF of more than four samples a pixel, or of deep ones, which needs tifffile: "
            "pip install 'hvit[tiff]'"
        ) from None
    file.seek(0)
    opened = TiffFile(file, name="image.tif")
    page: Any = opened.pages[0]
    if page.samplesperpixel != channels or sorted(page.axes) != ["S", "X", "Y"]:
        raise Refusal(f"it has {page.samplesperpixel} samples a pixel, and the model takes {channels} channels")
    if page.dtype is None or page.dtype.kind not in "uif" or page.dtype.itemsize > 8:
        raise Refusal("its samples are neither whole numbers nor real ones of 8, 16, 32 or 64 bits")
    if page.imagewidth * page.imagelength > MAXIMUM_PIXELS:
        raise Refusal(TOO_LARGE)
    times = _MOST_TIMES.get(int(page.compression))
    if times is None:
        known = "none, LZW, deflate or PackBits"
        raise Refusal(f"its compression is number {int(page.compression)}: save it with {known}")
    if int(page.compression) == 5 and not _has_codecs():
        raise Refusal("its compression is LZW, which tifffile reads with imagecodecs: pip install imagecodecs")
    part = max(math.prod(page.chunks) * page.dtype.itemsize, times * max(page.databytecounts, default=0))
    if page.nbytes * 2 > MOST_MEMORY or part > MOST_MEMORY:
        raise Refusal(f"it, or one of its strips or tiles, may take more than {MOST_MEMORY / 1e9:g} GB of memory")
    return opened


def _has_codecs() -> bool:
    from importlib.util import find_spec

    return find_spec("imagecodecs") is not None
