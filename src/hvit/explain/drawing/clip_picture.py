"""What a model of clips looks at, frame by frame: a strip of frames for print, and a moving picture."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from PIL import Image

from hvit.explain.drawing.canvas import (
    PALETTE,
    disc,
    enlarge,
    heats,
    overlay,
    page,
    show,
    theme,
    write_name,
    write_text,
)
from hvit.explain.words import percent
from hvit.files import replacing

FRAMES_SHOWN = 8
_SIDE, _SPACE, _MARGIN, _LABEL, _HEAD = 1.1, 0.06, 0.18, 1.45, 0.3  # inches


def heats_of_clip(maps: Sequence[np.ndarray], size: tuple[int, int, int]) -> list[np.ndarray]:
    """Maps (times, rows, columns) of classes as heat on one scale, enlarged to size (frames, height, width)."""
    stacked = torch.as_tensor(np.stack(heats(maps)), dtype=torch.float32)[:, None]
    return list(F.interpolate(stacked, size=size, mode="trilinear", align_corners=False)[:, 0].clamp(0, 1).numpy())


def draw_clip_maps(
    clip: np.ndarray, maps: Sequence[np.ndarray], class_names: Sequence[str], probabilities: Sequence[float] | None
) -> Figure:
    """Some frames of a clip in a row, and below them a row for each class with the evidence for it in these frames.

    clip: (frames, height, width, channels) uint8, as the model sees it. maps: one (times, rows, columns) per class, at
    most four; their colours can be compared from frame to frame and from class to class.
    """
    assert len(maps) == len(class_names) <= len(PALETTE), "one map and name a class"
    assert probabilities is None or len(probabilities) == len(maps), "one probability a class"
    chosen = np.linspace(0, len(clip) - 1, min(FRAMES_SHOWN, len(clip))).round().astype(int)
    height = _SIDE * clip.shape[1] / clip.shape[2]
    lefts = [_MARGIN + _LABEL + (_SIDE + _SPACE) * column for column in range(len(chosen))]
    tops = [_MARGIN + _HEAD + (height + _SPACE) * row for row in range(1 + len(maps))]
    figure, axes = page(lefts[-1] + _SIDE + _MARGIN, tops[-1] + height + _MARGIN, 200)
    for left, number in zip(lefts, chosen, strict=True):
        write_text(axes, left, _MARGIN + 0.1, f"frame {number + 1}", 8, color=theme().soft_ink)
        show(axes, _pixels(clip[number]), (left, tops[0], _SIDE, height))
    for rank, (top, heat) in enumerate(zip(tops[1:], heats_of_clip(maps, clip.shape[:3]), strict=True)):
        disc(axes, _MARGIN + 0.1, top + height / 2, PALETTE[rank], 0.1, str(rank + 1))
        write_name(axes, _MARGIN + 0.28, top + height / 2, class_names[rank], 10, _LABEL - 0.38)
        if probabilities is not None:
            share = percent(probabilities[rank])
            write_text(axes, _MARGIN + 0.28, top + height / 2 + 0.19, share, 8, color=theme().soft_ink)
        for left, number in zip(lefts, chosen, strict=True):
            show(axes, overlay(_pixels(clip[number]), heat[number]), (left, top, _SIDE, height))
    return figure


def write_clip_gif(clip: np.ndarray, maps: Sequence[np.ndarray], path: Path, frames_per_second: float = 8.0) -> None:
    """Writes a moving picture: the clip, and next to it the evidence for each class, in the order of `maps`.

    clip, maps: as in `draw_clip_maps`. Raises UserError where the file cannot be written.
    """
    found = heats_of_clip(maps, clip.shape[:3])
    pictures = []
    for number, frame in enumerate(clip):
        pixels = _pixels(frame)
        row = [pixels, *(overlay(pixels, heat[number]) for heat in found)]
        wide = np.concatenate([enlarge(pixels, row[-1].shape[1]), *row[1:]], axis=1)
        pictures.append(Image.fromarray((wide * 255).round().astype(np.uint8)))
    content = BytesIO()
    duration = round(1000 / frames_per_second)
    pictures[0].save(content, "GIF", save_all=True, append_images=pictures[1:], duration=duration, loop=0)
    with replacing(path) as file:
        file.write(content.getbuffer())


def _pixels(frame: np.ndarray) -> np.ndarray:
    """A frame (height, width, 1 or 3) of bytes as colours (height, width, 3) from 0 to 1."""
    return np.broadcast_to(frame, (*frame.shape[:2], 3)) / 255.0
