"""Images of more than 8 bits a channel, a stripe of rows at a time, which keeps memory near that of the pixels.

Pillow keeps grey of 16 and 32 bits, but of colours of 16 bits only the upper bytes. Its unpacker for the other byte
order takes the lower bytes, so decoding twice gives both.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import Image

from hvit.data.grey import GreyRange, Levels, levels_of, percentiles_of, range_of, to_8_bits
from hvit.errors import UserError

_STRIPE = 1 << 20  # pixels
_NATIVE = "L" if sys.byteorder == "little" else "B"
_PHOTOMETRIC, _FORMAT = 262, 339
_MODES_OF_COLOUR = ("RGB;16", "RGBA;16", "RGBX;16")


@dataclass(frozen=True)
class DeepKind:
    """How the pixels of an image are stored.

    raw: Pillow's name of how colours lie in the file, "" for grey. key: the value, or the three values, that are
    transparent. bits: how many bits a value has where the file's kind says so, as packed 12 bits do.
    """

    raw: str = ""
    key: tuple[int, ...] | None = None
    inverted: bool = False
    signed_bytes: bool = False
    unsigned: bool = False
    bits: int | None = None


def deep_kind(image: Image.Image) -> DeepKind | None:
    """What is known of an opened, not yet decoded image of more than 8 bits a channel; None for one of 8 or fewer."""
    tags = getattr(image, "tag_v2", {})
    tiles = getattr(image, "tile", [])
    raws = {tile.args[0] if isinstance(tile.args, tuple) else tile.args for tile in tiles}
    raw = str(next(iter(raws))) if len(raws) == 1 else ""
    key = image.info.get("transparency")
    keys = (key,) if isinstance(key, int) else key if isinstance(key, tuple) else None
    if image.mode.startswith(("I", "F")):
        bits = 12 if raw == "I;12" else 16 if any(tile.codec_name.startswith("ppm") for tile in tiles) else None
        return DeepKind(
            key=keys,
            inverted=tags.get(_PHOTOMETRIC) == 0,
            unsigned=image.mode == "I" and raw == "I;32N" and tags.get(_FORMAT, (1,))[0] == 1,
            bits=bits,
        )
    if image.mode == "L" and tags.get(_FORMAT, (1,))[0] == 2:
        return DeepKind(signed_bytes=True, inverted=tags.get(_PHOTOMETRIC) == 0)
    if raw.startswith((*_MODES_OF_COLOUR, "LA;16")):
        return DeepKind(raw, keys)
    return None


class DeepPixels:
    """The values of a decoded image of more than 8 bits a channel.

    image: decoded. low: for colours the same image decoded with `lower_raw`.
    """

    def __init__(self, kind: DeepKind, image: Image.Image, low: Image.Image | None) -> None:
        self.kind, self.image, self.low = kind, image, low
        self.is_real = image.mode == "F"
        self.is_colour = kind.raw.startswith(_MODES_OF_COLOUR)

    def stripes(self) -> Iterator[tuple[int, np.ndarray, np.ndarray | None]]:
        """From top to bottom: the first row, values (rows, width) or (rows, width, 3), and what is transparent.

        The last is None, or (rows, width) uint8, 255 where the image is opaque.
        """
        width, height = self.image.size
        rows = max(1, _STRIPE // max(1, width))
        for top in range(0, height, rows):
            box = (0, top, width, min(top + rows, height))
            yield top, *self._stripe(box)

    def values(self) -> Iterator[np.ndarray]:
        """The values of each stripe, without those that are wholly transparent."""
        for _, values, opaque in self.stripes():
            yield values if opaque is None else values[opaque > 0]

    def levels(self) -> Levels:
        """The least and the largest value; of a kind with known bits, what they can hold."""
        if self.kind.bits:
            return Levels(0.0, 2.0**self.kind.bits - 1)
        return levels_of(self.values(), self.is_real)

    def shown(self, rule: GreyRange) -> Image.Image:
        """The image in 8 bits ("RGB", "L", or with "A" where something is transparent).

        Raises UserError if the rule is full and a value is outside of it.
        """
        if rule == "percentile":
            count = self.image.width * self.image.height * (3 if self.is_colour else 1)
            black, white = percentiles_of(self.values(), count)
        else:
            levels = Levels(0.0, 0.0, self.is_real) if isinstance(rule, tuple) else self.levels()
            if rule == "full":
                check_full(levels)
            black, white = (
                (0.0, 2.0**self.kind.bits - 1) if rule == "full" and self.kind.bits else range_of(rule, levels)
            )
        has_alpha = self.kind.key is not None or self.kind.raw.startswith(("RGBA", "LA"))
        mode = ("RGB" if self.is_colour else "L") + ("A" if has_alpha else "")
        result = Image.new(mode, self.image.size)
        for top, values, opaque in self.stripes():
            levels = to_8_bits(values, black, white, self.kind.inverted)
            if opaque is not None:
                levels = np.dstack([levels, opaque])
            result.paste(Image.fromarray(levels), (0, top))
        return result

    def _stripe(self, box: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray | None]:
        pixels = np.asarray(self.image.crop(box))
        opaque = None
        if self.kind.raw.startswith("LA"):
            # The four bytes of grey and opacity, the upper one of each first.
            return pixels[..., 0].astype(np.uint16) << 8 | pixels[..., 1], pixels[..., 2]
        if self.kind.raw:
            assert self.low is not None
            values = pixels[..., :3].astype(np.uint16) << 8 | np.asarray(self.low.crop(box))[..., :3]
            if pixels.shape[2] == 4:
                opaque = pixels[..., 3]
        elif self.kind.signed_bytes:
            values = pixels.view(np.int8)
        elif self.kind.unsigned:
            values = pixels.view(np.uint32)
        else:
            values = pixels.astype(np.uint16) if pixels.dtype.kind == "u" else pixels
        if self.kind.key is not None:
            is_key = values == (self.kind.key if self.is_colour else self.kind.key[0])
            opaque = np.where(is_key.all(axis=2) if self.is_colour else is_key, 0, 255).astype(np.uint8)
        return values, opaque


def prepare_to_decode(image: Image.Image, kind: DeepKind) -> None:
    """Before an image is decoded: has all bytes of grey with opacity kept."""
    if kind.raw.startswith("LA"):
        _set_raw(image, "RGBA")


def open_lower(file: BinaryIO, image: Image.Image, kind: DeepKind, page: int) -> Image.Image | None:
    """The same image with the lower bytes of its colours; None for grey. page: from 0."""
    if not kind.raw.startswith(_MODES_OF_COLOUR):
        return None
    name, _, order = kind.raw.rpartition(";16")
    order = _NATIVE if order == "N" else order
    file.seek(0)
    low = Image.open(file, formats=(image.format or "",))
    if page:
        low.seek(page)
    _set_raw(low, f"{name};16{'L' if order == 'B' else 'B'}")
    low.load()
    return low


def check_full(levels: Levels) -> None:
    """Raises UserError for values that are not between 0 and 65,535, or 0 and 1 of real numbers."""
    top = 1 if levels.is_real else 65535
    if not 0 <= levels.low <= levels.high <= top:
        raise UserError(f"its grey values reach from {levels}, and with grey_range full only 0 to {top:,} is read")


def _set_raw(image: Image.Image, raw: str) -> None:
    tiles = image.tile  # pyright: ignore[reportAttributeAccessIssue]
    image.tile = [  # pyright: ignore[reportAttributeAccessIssue]
        tile._replace(args=(raw, *tile.args[1:]) if isinstance(tile.args, tuple) else raw) for tile in tiles
    ]
