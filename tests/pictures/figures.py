"""Journals to draw, and what figures look like, for the tests of pictures."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from hvit import pictures


def journal(count: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [{"kind": "start", "step": 0}]
    for step in range(1, count + 1):
        epoch = step / 10
        rows.append({"kind": "train", "step": step, "epoch": epoch, "loss": 1 / step, "learning_rate": 1e-3 / step})
        if step % 10 == 0:
            rows.append({"kind": "evaluate", "step": step, "epoch": epoch, "loss": 0.1, "top1": 0.9, "top5": 1.0})
    return rows


def chart(figure: Figure, title: str) -> Axes:
    return next(axes for axes in figure.axes if axes.get_title(loc="left").startswith(title))


def legend_texts(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def size(figure: Figure, dpi: int = 50) -> tuple[int, int]:
    return Image.open(BytesIO(pictures.figure_to_png(figure, dpi))).size


def contrast(first: np.ndarray, second: np.ndarray) -> float:
    """The contrast ratio of the Web Content Accessibility Guidelines 2.2."""

    def luminance(colour: np.ndarray) -> float:
        linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)
