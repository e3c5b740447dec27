"""Images in rows and columns, with captions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from hvit.pictures.style import FONT, LIGHT, Theme, new_figure, plain_text


def draw_image_grid(
    images: Sequence[Image.Image | np.ndarray], captions: Sequence[str], columns: int, theme: Theme = LIGHT
) -> Figure:
    """Images in rows of `columns`, each with its caption below.

    images: PIL images, or arrays (height, width) or (height, width, 3), uint8 or floats in [0, 1]. Small images are
    enlarged without smoothing. captions: one string per image, may be empty.
    """
    assert len(images) == len(captions) > 0, f"{len(images)} images for {len(captions)} captions"
    columns = min(columns, len(images))
    lines = math.ceil(len(images) / columns)
    figure = new_figure(1.7 * columns, 2.0 * lines, theme)
    grid = np.ravel(figure.subplots(lines, columns))
    for axes in grid:
        axes.set_axis_off()
    for axes, image, caption in zip(grid, images, captions, strict=False):
        pixels = np.asarray(image.convert("RGB") if isinstance(image, Image.Image) else image)
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255 if pixels.dtype == np.uint8 else 1)
        axes.images[0].set_interpolation("nearest" if max(pixels.shape[:2]) < 128 else "antialiased")
        title = {"y": -0.04, "pad": 0, "va": "top", "fontsize": 8, "color": theme.ink, "family": FONT}
        axes.set_title(plain_text(caption, 24), **title)
    return figure
