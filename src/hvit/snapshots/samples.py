"""What a generator generates, as pictures that follow its training.

At every evaluation the same latents give a grid of samples in `samples/` of the run folder. In `pictures/` are
the newest grid, the first row of the grids over time, latent interpolations, and samples with the training images
that are nearest to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from hvit.explain.drawing.canvas import page, save_in_both_themes, show, write_text
from hvit.files import replacing
from hvit.models.gan.generator import Generator
from hvit.models.gan.sampling import (
    _COLUMNS,
    _SEED,
    columns_of,
    draw_latents,
    generate_images,
    interpolate,
    labels_in_order,
    to_bytes,
)
from hvit.run_names import INTERPOLATION, SAMPLES, SAMPLES_OVER_TIME, picture_file, step_file, step_files

_MOST_GRIDS_SHOWN = 6
_ROWS = 8
_SMALLEST_SHOWN = 64
GAP = 2
"""Pixels between the images of a grid that is to be looked at."""
_GAP_GREY = 96


def lay_grid(images: np.ndarray, columns: int) -> np.ndarray:
    """Images (count, height, width, channels) in rows of so many, black where the last row is not full."""
    missing = -len(images) % columns
    images = np.concatenate([images, np.zeros((missing, *images.shape[1:]), images.dtype)])
    return rearrange(images, "(rows columns) h w c -> (rows h) (columns w) c", columns=columns)


def keep_samples(generator: Generator, folder: Path, step: int) -> None:
    """Keeps a grid of the fixed latents in the run folder; draws the newest, all so far, and latent interpolations."""
    config = generator.config
    columns = columns_of(config)
    latents = draw_latents(config, _ROWS * columns, _SEED, "watched latents")
    images = to_bytes(generate_images(generator, latents, labels_in_order(config, len(latents))))
    grid = lay_grid(images, columns)
    save_pixels(grid, folder / SAMPLES / step_file(step, "png"))
    save_pixels(shown_grid(images, columns), folder / picture_file(SAMPLES))
    _draw_over_time(folder, images.shape[1:], columns)
    ends = latents[: 2 * _ROWS].unflatten(0, (_ROWS, 2))
    between = torch.cat([interpolate(first, last, _COLUMNS) for first, last in ends])
    labels = labels_in_order(config, _ROWS)
    generated = generate_images(generator, between, None if labels is None else labels.repeat_interleave(_COLUMNS))
    save_pixels(shown_grid(to_bytes(generated), _COLUMNS), folder / picture_file(INTERPOLATION))


def draw_neighbours(
    samples: Tensor, neighbours: Tensor, distances: Sequence[float], typical: float, path: Path
) -> None:
    """Draws samples above the training images that are nearest to them: copies would be there at once.

    samples, neighbours: (count, channels, height, width) from 0 to 1. distances: between each and its neighbour, in
    features. typical: that of a held-out image to its nearest training image, for comparison.
    """
    save_in_both_themes(lambda _: _neighbours_figure(samples, neighbours, distances, typical), path)


def _neighbours_figure(samples: Tensor, neighbours: Tensor, distances: Sequence[float], typical: float) -> Figure:
    size, margin, label = 0.9, 0.08, 1.1
    width = label + len(samples) * (size + margin) + margin
    figure, axes = page(width, 2 * (size + margin) + 0.45, 110)
    for row, images in enumerate((samples, neighbours)):
        top = 0.1 + row * (size + margin)
        write_text(axes, 0.1, top + size / 2, ("generated", "nearest real")[row], 9)
        for column, image in enumerate(images):
            pixels = np.broadcast_to(image.permute(1, 2, 0).numpy(), (*image.shape[1:], 3))
            show(axes, pixels, (label + column * (size + margin), top, size, size))
    for column, distance in enumerate(distances):
        centre = label + column * (size + margin) + size / 2
        write_text(axes, centre, 2 * (size + margin) + 0.2, f"{distance:.3g}", 8, ha="center")
    write_text(axes, 0.1, 2 * (size + margin) + 0.2, f"typical {typical:.3g}", 8)
    return figure


def save_pixels(pixels: np.ndarray, path: Path) -> None:
    """Writes pixels (height, width, 1 or 3 channels) uint8 as a PNG that appears whole or not at all."""
    content = BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(content, "PNG")
    with replacing(path) as file:
        file.write(content.getbuffer())


def shown_grid(images: np.ndarray, columns: int) -> np.ndarray:
    """Images (count, height, width, channels) in rows of so many, to be looked at: 64 pixels or more, and apart."""
    times = enlargement(images.shape[1])
    large = images.repeat(times, axis=1).repeat(times, axis=2)
    apart = np.pad(large, ((0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=_GAP_GREY)
    return lay_grid(apart, columns)[:-GAP, :-GAP]


def enlargement(side: int) -> int:
    """How often every pixel of an image of this side is repeated in each direction."""
    return -(-_SMALLEST_SHOWN // side)


def _draw_over_time(folder: Path, shape: tuple[int, ...], columns: int) -> None:
    """The first rows of some grids, from the first to the last, each with its step."""
    rows = []
    for step, path in some_steps(folder / SAMPLES, _MOST_GRIDS_SHOWN):
        with Image.open(path) as opened:
            pixels = np.asarray(opened)
        if pixels.shape[:2] == (_ROWS * shape[0], columns * shape[1]):
            rows.append((step, np.broadcast_to(pixels.reshape(*pixels.shape[:2], -1)[: shape[0]] / 255, (
                shape[0], columns * shape[1], 3))))  # fmt: skip
    path = folder / picture_file(SAMPLES_OVER_TIME)
    save_in_both_themes(lambda _: _over_time_figure(rows, shape[1], columns), path)


def _over_time_figure(rows: Sequence[tuple[int, np.ndarray]], width: int, columns: int) -> Figure:
    size, margin, label = 0.9, 0.06, 1.2
    figure, axes = page(label + columns * size + 0.1, len(rows) * (size + margin) + 0.1, 110)
    for number, (step, strip) in enumerate(rows):
        top = 0.08 + number * (size + margin)
        write_text(axes, 0.1, top + size / 2, f"step {step:,}", 9)
        for column in range(columns):
            image = strip[:, column * width : (column + 1) * width]
            show(axes, image, (label + column * size, top, size - margin, size - margin))
    return figure


def some_steps(folder: Path, most: int) -> list[tuple[int, Path]]:
    """The first, the last and some pictures between them of a folder with one a step, with their steps, in order."""
    found = step_files(folder, "png")
    places = np.linspace(0, len(found) - 1, min(most, len(found))).round().astype(int)
    return [found[place] for place in places]
