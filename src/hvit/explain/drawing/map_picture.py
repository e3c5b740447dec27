"""Draws an activation map over its image, next to the image alone."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from hvit.explain.drawing.canvas import (
    Picture,
    heat_colours,
    heats,
    overlay,
    page,
    picture_pixels,
    show,
    write_name,
    write_text,
)
from hvit.explain.words import number_writer, percent

MARGIN = 0.18  # inches


def draw_cam(
    image: Picture,
    activation_map: np.ndarray,
    class_name: str | None = None,
    probability: float | None = None,
    *,
    dpi: int = 200,
) -> Figure:
    """Draws a class activation map over its image, next to the image alone.

    Args:
        image: As in `draw_trees`.
        activation_map: (rows, columns), as `class_activation_map` returns it. Brighter positions add more to the logit.
        class_name: Written below the map.
        probability: From 0 to 1, written below the map.
        dpi: Pixels per inch.
    """
    pixels = picture_pixels(image)
    rows, columns = pixels.shape[:2]
    width, height = 3.4 * min(1.0, columns / rows), 3.4 * min(1.0, rows / columns)
    right = MARGIN + width + 0.15
    bar, bottom = right + width + 0.12, MARGIN + height
    figure, axes = page(bar + 0.8, bottom + 0.4, dpi)
    show(axes, pixels, (MARGIN, MARGIN, width, height))

    show(axes, overlay(pixels, heats([activation_map])[0]), (right, MARGIN, width, height))

    low, high = float(np.min(activation_map)), float(np.max(activation_map))
    scale, _ = heat_colours(np.linspace(float(np.max(heats([activation_map])[0])), 0.0, 256)[:, None])
    show(axes, scale, (bar, MARGIN, 0.11, height))
    write, factor = number_writer([low, high])
    write_text(axes, bar + 0.17, MARGIN, write(high), 8, va="top")
    write_text(axes, bar + 0.17, MARGIN + height / 2, factor, 8)
    write_text(axes, bar + 0.17, bottom, write(low), 8, va="bottom")
    name_width = right + width - MARGIN
    if probability is not None:
        write_text(axes, right + width, bottom + 0.2, percent(probability), 10, ha="right")
        name_width -= 0.8
    if class_name is not None:
        write_name(axes, MARGIN, bottom + 0.2, class_name, 10, name_width)
    return figure
