"""Samples of a generator on request: grids of images and interpolations between latents, as pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hvit.class_names import find_class
from hvit.errors import UserError
from hvit.files import JsonObject
from hvit.models.gan.generator import Generator
from hvit.models.gan.sampling import MOST_COLUMNS, draw_latents, generate_images, interpolate, to_bytes
from hvit.models.weights.open import open_generator
from hvit.snapshots.samples import enlargement, save_pixels, shown_grid
from hvit.training.distribute import choose_device

SAMPLES = "samples.png"
INTERPOLATIONS = "interpolations.png"
_AT_ONCE = 16
_INTERPOLATION_STEPS = 8
_USUAL_COLUMNS = 8
_MOST_PIXELS = 2**25  # of a picture: what is in memory together
_MOST_SAMPLES = 1_000_000


@dataclass(frozen=True)
class Sampler:
    """A generator that is asked for samples."""

    generator: Generator
    """The network, where it runs."""
    name: str
    """Its catalogue name."""
    known: tuple[str, ...]
    """Names of the classes that it knows; empty where its weights name none."""

    def class_numbers(self, wanted: Sequence[str]) -> list[int]:
        """The classes that a person means; all where none are wanted, and an empty list where there are no classes.

        Raises UserError for one that it does not have (see `find_class`).
        """
        count = self.generator.config.num_classes
        if wanted and not count:
            raise UserError("this generator makes images without classes; omit --classes")
        return [find_class(name, self.known, count) for name in wanted] or list(range(count))

    def class_name(self, number: int) -> str:
        """The name of a class, or its number where the weights have no names."""
        return self.known[number] if self.known else str(number)

    def samples(self, count: int, seed: int, classes: Sequence[int] = ()) -> Iterator[np.ndarray]:
        """So many samples (height, width, channels) uint8, one after the other.

        Each is a function of the seed, its place and its class; the classes take turns. As many are always generated
        together, so that no rounding depends on the count.
        """
        for start in range(0, count, _AT_ONCE):
            places = range(start, start + _AT_ONCE)
            latents = torch.cat([draw_latents(self.generator.config, 1, seed, "sample", place) for place in places])
            yield from self._generate(latents, [classes[place % len(classes)] for place in places] if classes else [])[
                : count - start
            ]

    def interpolations(self, count: int, seed: int, classes: Sequence[int] = ()) -> Iterator[np.ndarray]:
        """Interpolations from one latent to another, eight samples each; every one keeps its class."""
        for row in range(count):
            first, last = draw_latents(self.generator.config, 2, seed, "walk", row)
            labels = [classes[row % len(classes)]] * _INTERPOLATION_STEPS if classes else []
            yield from self._generate(interpolate(first, last, _INTERPOLATION_STEPS), labels)

    def _generate(self, latents: Tensor, labels: list[int]) -> np.ndarray:
        images = generate_images(self.generator, latents, torch.tensor(labels) if labels else None)
        if not images.isfinite().all():
            raise UserError("these weights make images that are no finite numbers: the run that left them has diverged")
        return to_bytes(images)


def open_sampler(path: str | Path, device: str = "auto") -> Sampler:
    """The generator of a weights file or run folder. Raises UserError as `open_generator` does."""
    opened = open_generator(path)
    channels = opened.model.config.out_channels
    if channels not in (1, 3):
        raise UserError(f"{path} makes images of {channels} channels; pictures have 1 (grey) or 3 (colour)")
    return Sampler(opened.model.to(choose_device(device)), opened.name, opened.classes)


def generate(
    sampler: Sampler,
    folder: Path,
    count: int,
    seed: int = 0,
    wanted: Sequence[str] = (),
    columns: int | None = None,
    interpolations: int = 8,
    each: bool = False,
    done: Callable[[], object] = lambda: None,
) -> JsonObject:
    """Draws samples in a grid, `samples.png`, and latent interpolations, one a row, `interpolations.png`.

    count: how many samples. wanted: classes by name or number; samples and interpolations take them in turn. columns:
    samples side by side; default: such that a class has its columns. interpolations: how many. each: whether every
    sample becomes a file of its own, too, in its true size. done: called after every sample.
    Raises UserError before anything is written for what cannot be drawn.
    """
    if not 1 <= count <= _MOST_SAMPLES:
        raise UserError(f"the number of samples is 1 to {_MOST_SAMPLES:,}; got {count}")
    if interpolations < 0 or (columns is not None and columns < 1):
        raise UserError(
            f"a grid has 1 column or more, and interpolations are 0 or more; got {columns} and {interpolations}"
        )
    classes = sampler.class_numbers(wanted)
    height, width = sampler.generator.config.output_size
    most = max(1, _MOST_PIXELS // (height * width * enlargement(height) ** 2))
    shown = min(count, most)
    if count > most and not each:
        raise UserError(
            f"a picture takes {most:,} samples of {height} x {width} at most, and {count:,} are asked for; --each "
            f"writes more of them one by one"
        )
    if interpolations > most // _INTERPOLATION_STEPS:
        raise UserError(
            f"a picture takes {most // _INTERPOLATION_STEPS:,} interpolations of {height} x {width} at most; "
            f"got {interpolations:,}"
        )
    digits, grid, files = max(4, len(str(count))), [], []
    for number, pixels in enumerate(sampler.samples(count, seed, classes), start=1):
        if number <= shown:
            grid.append(pixels)
        if each:
            files.append(str(folder / f"sample_{number:0{digits}d}.png"))
            save_pixels(pixels, Path(files[-1]))
        done()
    columns = min(columns or _columns_for(len(classes)), shown)
    save_pixels(shown_grid(np.stack(grid), columns), folder / SAMPLES)
    if interpolations:
        rows = np.stack(list(sampler.interpolations(interpolations, seed, classes)))
        save_pixels(shown_grid(rows, _INTERPOLATION_STEPS), folder / INTERPOLATIONS)
    return {
        "model": sampler.name,
        "seed": seed,
        "count": count,
        "size": [height, width],
        "classes": [sampler.class_name(classes[place % len(classes)]) for place in range(count)] if classes else [],
        "samples": str(folder / SAMPLES),
        "shown": shown,
        "interpolations": str(folder / INTERPOLATIONS) if interpolations else None,
        "files": files,
    }


def _columns_for(classes: int) -> int:
    """Samples side by side: a multiple of the classes where they are few enough, so that a column has one class."""
    if not 1 <= classes <= MOST_COLUMNS:
        return _USUAL_COLUMNS
    return classes * max(1, _USUAL_COLUMNS // classes)
