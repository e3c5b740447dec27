"""The losses of a generator and a discriminator, and differentiable augmentation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from hvit.models.gan.config import ImageAugmentation
from hvit.randomness import draw_for_each


def discriminator_loss(real: Tensor, generated: Tensor, kind: str) -> Tensor:
    """The discriminator's loss from its logits (batch,) of real and of generated images.

    kind: "logistic", softplus(-real) + softplus(generated) (Goodfellow et al., arXiv 1406.2661); or "hinge",
    max(0, 1 - real) + max(0, 1 + generated) (Lim and Ye, arXiv 1705.02894). Each is a mean over its images.
    """
    if kind == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + generated).mean()
    return F.softplus(-real).mean() + F.softplus(generated).mean()


def generator_loss(generated: Tensor, kind: str) -> Tensor:
    """The generator's loss from the logits (batch,) of generated images: softplus(-x), non-saturating, or -x."""
    return -generated.mean() if kind == "hinge" else F.softplus(-generated).mean()


def r1_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """The squared length of the gradient of logits (batch,) at their real images, averaged over images.

    images: (batch, channels, height, width) that the logits were computed from and that require a gradient. Mescheder
    et al., arXiv 1801.04406, equation 9, without its half and weight.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()


def augment(images: Tensor, augmentations: Sequence[ImageAugmentation]) -> Tensor:
    """Images (batch, channels, height, width) from -1 to 1, each augmented at random, so that gradients pass through.

    Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training", arXiv 2006.10738, section 3.2. color:
    brightness, saturation and contrast; translation: by up to an eighth of the side, grey where nothing is left;
    cutout: a grey square of half the side. Numbers are drawn on the CPU from torch's generator, the same on any device,
    and belong to samples (see `randomness.draw_for_each`).
    """
    functions = {"color": _color, "translation": _translate, "cutout": _cut_out}
    for augmentation in augmentations:
        images = functions[augmentation](images)
    return images


def _color(images: Tensor) -> Tensor:
    draws = draw_for_each(len(images), lambda count: torch.rand(3, count, 1, 1, 1), axis=1).to(images)
    images = images + draws[0] - 0.5
    grey = images.mean(dim=1, keepdim=True)
    images = (images - grey) * (2 * draws[1]) + grey
    middle = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - middle) * (draws[2] + 0.5) + middle


def _translate(images: Tensor) -> Tensor:
    batch, _, height, width = images.shape
    reach = (int(height / 8 + 0.5), int(width / 8 + 0.5))
    places = []
    for side, most in zip((height, width), reach, strict=True):
        shift = _whole_numbers(batch, 2 * most + 1)
        places.append((torch.arange(side) + shift).to(images.device))
    padded = F.pad(images, (reach[1], reach[1], reach[0], reach[0])).permute(0, 2, 3, 1)
    number = torch.arange(batch, device=images.device)[:, None, None]
    return padded[number, places[0][:, :, None], places[1][:, None, :]].permute(0, 3, 1, 2)


def _cut_out(images: Tensor) -> Tensor:
    batch, _, height, width = images.shape
    inside = []
    for side in (height, width):
        size = int(side / 2 + 0.5)
        first = _whole_numbers(batch, side + 1 - size % 2) - size // 2
        place = torch.arange(side) - first
        inside.append(((place >= 0) & (place < size)).to(images.device))
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return images.masked_fill(hole, 0.0)


def _whole_numbers(batch: int, end: int) -> Tensor:
    """(batch, 1) from 0 to below the end."""
    return draw_for_each(batch, lambda count: torch.randint(0, end, (count, 1)))
