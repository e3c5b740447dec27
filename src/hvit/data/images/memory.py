"""How much memory decoding an image takes, known before it is decoded, and how many may be decoded at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from hvit.data.regular_files import Refusal

MAXIMUM_PIXELS = 178_956_970
"""The largest image that is decoded, width times height: where Pillow, too, suspects a decompression bomb."""
MOST_MEMORY = 900_000_000
"""Bytes that decoding an image, or all that a process decodes at once, may take."""
MOST_SCANS = 2_000_000_000
"""Pixels times passes over them in a progressive JPEG image."""
TOO_LARGE = f"it claims to have more than {MAXIMUM_PIXELS // 10**6} million pixels, the most that is decoded"
SCALED = ("JPEG", "MPO")
"""Formats whose decoder can make a smaller image from the start."""
_SLOW = ("ppm", "ppm_plain")
_MOST_SLOW = 8_000_000  # values that Pillow decodes one by one in Python
_STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}
_IN_COLOUR = 4  # bytes of a pixel as Pillow keeps colours
_DECODER = {"WEBP": 8, "AVIF": 8}  # bytes a pixel that these hold besides the image
_TILE_WIDTH, _TILE_LENGTH, _BITS = 322, 323, 258


def check_size(image: Image.Image) -> int:
    """Bytes that decoding an opened image takes at most. Raises Refusal if that is too much, or takes too long."""
    pixels = image.width * image.height
    if pixels > MAXIMUM_PIXELS:
        raise Refusal(TOO_LARGE)
    tiles = getattr(image, "tile", [])
    if pixels * len(image.getbands()) > _MOST_SLOW and any(tile.codec_name in _SLOW for tile in tiles):
        raise Refusal(
            f"it is a PPM file of {pixels:,} pixels as text, or with a largest value other than 255 or 65535, which "
            "takes too long to decode: save it as PNG"
        )
    memory = pixels * _bytes_a_pixel(image)
    if image.format in SCALED:
        coefficients = _coefficients(image)
        width, height = most_decoded(image)
        memory = width * height * 2 * _IN_COLOUR + coefficients
    if image.format == "TIFF":
        memory += _tile_bytes(image)
    if memory > MOST_MEMORY:
        raise Refusal(
            f"decoding it would take {memory / 1e9:.1f} GB of memory, and at most {MOST_MEMORY / 1e9:g} GB are used: "
            f"make it smaller ({image.width:,} x {image.height:,} pixels), or save it as JPEG"
        )
    return memory


def most_decoded(image: Image.Image) -> tuple[int, int]:
    """The size to which an image is decoded where nobody asks for less: its own, of huge JPEG images a part of it."""
    width, height = image.size
    parts = 1
    while image.format in SCALED and parts < 8 and width // parts * (height // parts) * 2 * _IN_COLOUR > MOST_MEMORY:
        parts *= 2
    return width // parts, height // parts


def _bytes_a_pixel(image: Image.Image) -> int:
    """Of the decoded image, what is made of it, and what the decoder holds at the same time."""
    raws = {tile.args[0] if isinstance(tile.args, tuple) else tile.args for tile in getattr(image, "tile", [])}
    halves = 2 if any(";16" in str(raw) and str(raw)[:1] != "I" for raw in raws) else 1  # upper and lower bytes
    in_8_bits = 1 if image.mode.startswith("I") else 0
    stored = halves * _STORED.get(image.mode, _IN_COLOUR) + in_8_bits
    return stored + _IN_COLOUR + _DECODER.get(image.format or "", 0)


def _coefficients(image: Image.Image) -> int:
    """Bytes that a progressive JPEG keeps of all its blocks until the last pass; 0 for others."""
    if not image.info.get("progressive"):
        return 0
    layers = getattr(image, "layer", [])
    most = max((across * down for _, across, down, _ in layers), default=1)
    share = sum(across * down for _, across, down, _ in layers) / most
    pixels = image.width * image.height
    if pixels * _count_scans(image) > MOST_SCANS:
        raise Refusal("it is a progressive JPEG of so many passes that decoding it takes too long: save it anew")
    return round(2 * share * pixels)


def _count_scans(image: Image.Image) -> int:
    """How many passes a progressive JPEG has, which a file of a few KB can make thousands."""
    file = image.fp  # pyright: ignore[reportAttributeAccessIssue]
    place, scans, last = file.tell(), 0, b""
    file.seek(0)
    while chunk := file.read(1 << 20):
        scans += (last + chunk).count(b"\xff\xda")
        last = chunk[-1:]
    file.seek(place)
    return scans


def _tile_bytes(image: Image.Image) -> int:
    """Bytes of one tile of a TIFF, which may be larger than the image."""
    tags = getattr(image, "tag_v2", {})
    width, length = tags.get(_TILE_WIDTH), tags.get(_TILE_LENGTH)
    if not (isinstance(width, int) and isinstance(length, int)):
        width, length = image.size
    return width * length * sum(tags.get(_BITS, (8,))) // 8


class _Memory:
    """What is being decoded by the threads of this process. A single image may always be decoded."""

    def __init__(self) -> None:
        self.condition, self.taken = threading.Condition(), 0


_memory = _Memory()


def _start_anew() -> None:
    """In a worker process: what threads of the other process were decoding when it was made is not decoded here."""
    global _memory
    _memory = _Memory()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)


@contextmanager
def taken(size: int) -> Iterator[None]:
    """Waits until so many bytes may be taken together with what other threads decode, and takes them for the block."""
    memory = _memory
    with memory.condition:
        memory.condition.wait_for(lambda: memory.taken == 0 or memory.taken + size <= MOST_MEMORY)
        memory.taken += size
    try:
        yield
    finally:
        with memory.condition:
            memory.taken -= size
            memory.condition.notify_all()
