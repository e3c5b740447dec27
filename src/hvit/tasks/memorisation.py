"""Whether a generator memorises: its samples compared with the training images that are nearest to them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hvit.data.preprocess import Preprocess
from hvit.metrics.frechet import Extractor, nearest
from hvit.models.gan.generator import Generator
from hvit.models.gan.sampling import draw_latents, generate_images, labels_in_order
from hvit.snapshots.samples import draw_neighbours
from hvit.tasks.task import Batch

_SEED = 2105
_SAMPLES = 256
_DRAWN = 8
_MOST_COMPARED = 10_000


def compare_with_training(
    generator: Generator,
    extractor: Extractor,
    preprocess: Preprocess,
    training: Iterable[Batch],
    held_out: Iterable[Batch],
    path: Path,
) -> dict[str, float]:
    """Draws the samples that are nearest to training images, of 256, and says how near samples are.

    training, held_out: batches of images as the model sees them in testing; the first 10,000 of each are compared.
    path: where the picture goes. Returns "sample_to_training" and "held_out_to_training", the median distances in
    features to the nearest training image. Where samples are much nearer than held-out images, the generator copies.
    """
    latents = draw_latents(generator.config, _SAMPLES, _SEED, "memorisation latents")
    samples = generate_images(generator, latents, labels_in_order(generator.config, _SAMPLES))
    points = extractor.features(samples)
    real, real_points = _read(training, extractor, preprocess, keep=True)
    _, held_out_points = _read(held_out, extractor, preprocess, keep=False)
    indices, distances = nearest(points, real_points)
    typical = float(np.median(nearest(held_out_points, real_points)[1]))
    closest = np.argsort(distances[:, 0], kind="stable")[:_DRAWN]
    neighbours = torch.stack([real[index] for index in indices[closest, 0]])
    draw_neighbours(samples[closest], neighbours, distances[closest, 0].tolist(), typical, path)
    return {"sample_to_training": float(np.median(distances)), "held_out_to_training": typical}


def _read(
    batches: Iterable[Batch], extractor: Extractor, preprocess: Preprocess, keep: bool
) -> tuple[list[Tensor], np.ndarray]:
    """Images from 0 to 1, if they are to be kept, and their features (images, dim)."""
    images, points, count = [], [], 0
    for batch in batches:
        part = preprocess.unit_images(batch["images"].cpu())
        images += list(part) if keep else []
        points.append(extractor.features(part))
        count += len(part)
        if count >= _MOST_COMPARED:
            break
    return images, np.concatenate(points)
