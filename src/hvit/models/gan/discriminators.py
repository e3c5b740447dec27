"""Discriminators: convolutional networks that score whether an image is real or generated, by one logit.

Two kinds: residual blocks with a blur before every halving, as in StyleGAN2 (Karras et al., arXiv 1912.04958) and as
HiT, the later work of NesT's authors, has them (arXiv 2106.07631: no equalised learning rate, no minibatch standard
deviation); and SAGAN's, with spectral norm and self-attention (Zhang et al., arXiv 1805.08318). With classes both are
projection discriminators (Miyato and Koyama, arXiv 1802.05637).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.fields import check_fields
from hvit.models.gan.generator import check_labels
from hvit.models.gan.layers import MapAttention, blur_pool, initialise, spectral
from hvit.models.layers.linear import is_hooked

_SMALLEST = 4
_SLOPE = 0.2


@dataclass(frozen=True)
class ResidualDiscriminatorConfig:
    """Sizes of a residual discriminator with blurred halvings (StyleGAN2's, as HiT has it)."""

    family: Literal["residual_discriminator"] = "residual_discriminator"
    """The model family."""
    input_size: tuple[int, int] = (64, 64)
    """Height and width of the images in pixels: squares of 4 times a power of two."""
    in_channels: int = 3
    """Channels of the images: 3 for colour, 1 for grey."""
    num_classes: int = 0
    """Number of classes whose labels are given with the images; 0: none are."""
    dims: tuple[int, ...] = (256, 512, 512, 512, 512)
    """Channels of the maps, from the whole image down to 4 x 4 (HiT's)."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_doublings("a residual discriminator", self.input_size, self.dims, self.in_channels, self.num_classes)


@dataclass(frozen=True)
class SaganDiscriminatorConfig:
    """Sizes of SAGAN's discriminator: residual blocks under spectral norm, with self-attention on one feature map."""

    family: Literal["sagan_discriminator"] = "sagan_discriminator"
    """The model family."""
    input_size: tuple[int, int] = (64, 64)
    """Height and width of the images in pixels: squares of 4 times a power of two."""
    in_channels: int = 3
    """Channels of the images: 3 for colour, 1 for grey."""
    num_classes: int = 0
    """Number of classes whose labels are given with the images; 0: none are."""
    dims: tuple[int, ...] = (64, 128, 256, 512, 1024)
    """Channels after each block: each halves the feature map but the last, which works on 4 x 4."""
    attention_side: int = 32
    """Side of the feature map that self-attention works on."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_doublings("SAGAN's discriminator", self.input_size, self.dims, self.in_channels, self.num_classes)
        check_attention_side(self.attention_side, [self.input_size[0] // 2**step for step in range(1, len(self.dims))])


def check_doublings(who: str, size: tuple[int, int], dims: tuple[int, ...], channels: int, num_classes: int) -> None:
    """Refuses (UserError) sizes that are no square of 4 times a power of two with one width for every feature map."""
    if min(channels, *dims, *size) < 1 or num_classes < 0:
        raise UserError(f"sizes of {who} (image, channels, dims) must be 1 or more, and num_classes 0 or more")
    side = _SMALLEST * 2 ** (len(dims) - 1)
    if size != (side, side):
        raise UserError(
            f"{who} with {len(dims)} widths in dims works on images of {side} x {side} (4 x 4, doubled "
            f"{len(dims) - 1} times); got {size[0]} x {size[1]}"
        )


def check_attention_side(side: int, maps: list[int]) -> None:
    """Refuses (UserError) a side for self-attention that no feature map has."""
    if side not in maps:
        raise UserError(
            f"attention_side must be the side of a feature map, one of {', '.join(map(str, maps))}; got {side}"
        )


class Discriminator(nn.Module, ABC):
    """A network that gives an image one number, a logit: above 0 it is predicted as real.

    config: the frozen dataclass it was built from, with input_size, in_channels and num_classes.
    """

    config: Any
    head: nn.Linear
    classes: nn.Module | None

    def __init__(self, config: ResidualDiscriminatorConfig | SaganDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """What the logit is linear in, along the head's direction: (batch, dim)."""

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits (batch,) of images (batch, in_channels, *input_size) from -1 to 1.

        labels: (batch,) class numbers; their embeddings are projected on the features. For discriminators without
        classes None. Raises UserError for other shapes.
        """
        wanted = (self.config.in_channels, *self.config.input_size)
        if images.ndim != 4 or tuple(images.shape[1:]) != wanted:
            raise UserError(f"this discriminator takes images (batch, {', '.join(map(str, wanted))}); "
                            f"got shape {tuple(images.shape)}")  # fmt: skip
        check_labels(labels, self.config.num_classes)
        features = self.features(images)
        if type(self.head).forward is not nn.Linear.forward or is_hooked(self.head):  # adapters, hooks, pruning
            logits = self.head(features)[:, 0]
            return logits if self.classes is None else logits + (features * self.classes(labels)).sum(dim=1)
        direction = self.head.weight[0]
        if self.classes is not None:
            direction = direction + self.classes(labels)
        # Not by matrices: differentiated twice, their gradients have strides that DDP warns of.
        logits = (features * direction).sum(dim=1)
        return logits if self.head.bias is None else logits + self.head.bias


class BlurBlock(nn.Module):
    """Halves a feature map on a residual branch of two convolutions, with a blur before the halving on both ways."""

    def __init__(self, dim: int, next_dim: int) -> None:
        super().__init__()
        self.convolution1 = nn.Conv2d(dim, dim, 3, padding=1)
        self.convolution2 = nn.Conv2d(dim, next_dim, 3, padding=1)
        self.skip = nn.Conv2d(dim, next_dim, 1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (batch, dim, height, width). Returns (batch, next_dim, height / 2, width / 2)."""
        branch = blur_pool(F.leaky_relu(self.convolution1(maps), _SLOPE))
        branch = F.leaky_relu(self.convolution2(branch), _SLOPE)
        # Divided so that the variance of a sum of two is that of one.
        return (branch + self.skip(blur_pool(maps))) / math.sqrt(2)


class ResidualDiscriminator(Discriminator):
    """StyleGAN2's residual discriminator, as HiT has it."""

    config: ResidualDiscriminatorConfig

    def __init__(self, config: ResidualDiscriminatorConfig) -> None:
        super().__init__(config)
        dims = config.dims
        self.stem = nn.Conv2d(config.in_channels, dims[0], 3, padding=1)
        self.blocks = nn.Sequential(*(BlurBlock(dim, wider) for dim, wider in pairwise(dims)))
        self.last = nn.Conv2d(dims[-1], dims[-1], 3, padding=1)
        self.mix = nn.Linear(dims[-1] * _SMALLEST**2, dims[-1])
        self.head = nn.Linear(dims[-1], 1)
        self.classes = nn.Embedding(config.num_classes, dims[-1]) if config.num_classes else None
        self.initialise()

    def initialise(self) -> None:
        """Initialises: kernels and class embeddings uniform (Xavier, as in HiT), biases 0."""
        initialise(self)
        if isinstance(self.classes, nn.Embedding):
            nn.init.xavier_uniform_(self.classes.weight)

    def features(self, images: Tensor) -> Tensor:
        """As `Discriminator.features`."""
        maps = self.blocks(F.leaky_relu(self.stem(images), _SLOPE))
        maps = F.leaky_relu(self.last(maps), _SLOPE)
        return F.leaky_relu(self.mix(maps.flatten(1)), _SLOPE)


class SpectralBlock(nn.Module):
    """A residual block of two convolutions under spectral norm; the feature map is halved by averages, or stays.

    first: whether it sees the image itself, which then goes into the first convolution as it is.
    """

    def __init__(self, dim: int, next_dim: int, halves: bool, first: bool) -> None:
        super().__init__()
        self.halves, self.first = halves, first
        self.convolution1 = spectral(nn.Conv2d(dim, next_dim, 3, padding=1))
        self.convolution2 = spectral(nn.Conv2d(next_dim, next_dim, 3, padding=1))
        self.skip = spectral(nn.Conv2d(dim, next_dim, 1)) if halves or dim != next_dim else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (batch, dim, height, width). Returns (batch, next_dim, ...), halved or of the same size."""
        branch = self.convolution1(maps if self.first else maps.relu())
        total = self.convolution2(branch.relu()) + self.skip(maps)
        return F.avg_pool2d(total, 2) if self.halves else total


class SaganDiscriminator(Discriminator):
    """SAGAN's discriminator."""

    config: SaganDiscriminatorConfig

    def __init__(self, config: SaganDiscriminatorConfig) -> None:
        super().__init__(config)
        widths, side = (config.in_channels, *config.dims), config.input_size[0]
        blocks: list[nn.Module] = []
        for number, (dim, wider) in enumerate(zip(widths, config.dims, strict=False)):
            halves = number < len(config.dims) - 1
            blocks.append(SpectralBlock(dim, wider, halves, first=number == 0))
            side = side // 2 if halves else side
            if halves and side == config.attention_side:
                blocks.append(MapAttention(wider))
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(config.dims[-1], 1)
        spectral(self.head)
        self.classes = spectral_embedding(config.num_classes, config.dims[-1]) if config.num_classes else None

    def features(self, images: Tensor) -> Tensor:
        """As `Discriminator.features`: the sum over the last feature map."""
        return self.blocks(images).relu().sum(dim=(2, 3))


def spectral_embedding(num_classes: int, dim: int) -> nn.Module:
    """Class embeddings (num_classes, dim) under spectral norm, drawn uniformly (Xavier)."""
    embedding = nn.Embedding(num_classes, dim)
    nn.init.xavier_uniform_(embedding.weight)
    return spectral(embedding)
