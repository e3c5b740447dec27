"""Pictures and maps as addresses that are the picture themselves, small enough for hundreds of them in one page."""

from __future__ import annotations

from functools import cache
from io import BytesIO

import numpy as np
from PIL import Image

from hvit.explain.drawing.canvas import heat_colours
from hvit.explain.methods.cam import upsample
from hvit.markup import inline

LARGEST_PICTURE = 512  # pixels of the longer side, which is drawn at about 400
LOSSLESS = 128  # pictures up to here are stored as they are
MAP_SIDE = 56  # pixels of a map's longer side; the browser smooths further


def picture_address(pixels: np.ndarray) -> str:
    """The address of a picture of colours (height, width, 3) from 0 to 1."""
    image = Image.fromarray((pixels * 255).round().astype(np.uint8))
    image.thumbnail((LARGEST_PICTURE, LARGEST_PICTURE), Image.Resampling.LANCZOS)
    return _written(image, "PNG") if max(image.size) <= LOSSLESS else _written(image, "JPEG", quality=90)


def heat_address(heat: np.ndarray, shape: tuple[float, float]) -> str:
    """The address of heat (rows, columns) from 0, dark, to 1, bright, to lay over a grey picture.

    The less heat, the more transparent. shape: width and height of the picture relative to its longer side.
    """
    columns, rows = (max(1, round(side * max(MAP_SIDE, *heat.shape))) for side in shape)
    heat = np.clip(upsample(heat, (rows, columns)), 0.0, 1.0)
    image = Image.fromarray((heat * 255).round().astype(np.uint8)).convert("P")
    colours, opacity = _heat_palette()
    image.putpalette(colours)
    return _written(image, "PNG", transparency=opacity)


@cache
def _heat_palette() -> tuple[bytes, bytes]:
    """Red, green and blue of 256 steps of heat, and their opacity."""
    colours, strength = ((part * 255).round().astype(np.uint8) for part in heat_colours(np.linspace(0.0, 1.0, 256)))
    return colours.tobytes(), strength.tobytes()


def _written(image: Image.Image, kind: str, **options: object) -> str:
    buffer = BytesIO()
    image.save(buffer, kind, optimize=True, **options)
    return inline(buffer.getvalue(), f"image/{kind.lower()}")
