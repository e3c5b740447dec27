"""Latents drawn from a seed, and images generated from them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hvit.models.gan.config import GeneratorConfig
from hvit.models.gan.generator import Generator
from hvit.randomness import generator as random_generator

_COLUMNS = 8


MOST_COLUMNS = 16


_AT_ONCE = 64


_SEED = 2105


def draw_latents(config: GeneratorConfig, count: int, seed: int, purpose: str, *numbers: int) -> Tensor:
    """Latents (count, latent_dim) on the CPU: a function of the seed, the purpose and the numbers."""
    return torch.randn(count, config.latent_dim, generator=random_generator(seed, purpose, *numbers))


def columns_of(config: GeneratorConfig) -> int:
    """Samples side by side in a picture: one for each class, where there are from 2 to 16, else 8."""
    return config.num_classes if 2 <= config.num_classes <= MOST_COLUMNS else _COLUMNS


def labels_in_order(config: GeneratorConfig, count: int) -> Tensor | None:
    """Labels (count,) that go through all classes again and again; None where there are no classes."""
    return torch.arange(count) % config.num_classes if config.num_classes else None


@torch.no_grad()
def generate_images(generator: Generator, latents: Tensor, labels: Tensor | None = None) -> Tensor:
    """Images (count, channels, height, width) from 0 to 1, on the CPU, of latents (count, latent_dim) and labels.

    labels: as for the generator. The generator is put into evaluation mode.
    """
    device = next(generator.parameters()).device
    images = []
    for start in range(0, len(latents), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        asked = None if labels is None else labels[part].to(device)
        images.append(generator.eval()(latents[part].to(device), asked).float().cpu())
    return torch.cat(images).clamp(-1, 1) / 2 + 0.5


def to_bytes(images: Tensor) -> np.ndarray:
    """Images (count, channels, height, width) from 0 to 1 as bytes (count, height, width, channels)."""
    return (images.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()


def interpolate(first: Tensor, last: Tensor, steps: int) -> Tensor:
    """Latent interpolation (steps, latent_dim) from one latent to another, along the arc between their directions.

    On a straight line the middle would be shorter than latents are, and unlike any that the generator has seen (White,
    arXiv 1609.04468).
    """
    cosine = torch.dot(first, last) / (first.norm() * last.norm())
    angle = cosine.clamp(-1 + 1e-6, 1 - 1e-6).acos()
    way = torch.linspace(0, 1, steps)[:, None]
    return (torch.sin((1 - way) * angle) * first + torch.sin(way * angle) * last) / torch.sin(angle)
