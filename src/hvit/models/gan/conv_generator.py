"""The convolutional generator that the transposed NesT is compared with, and how it gets the same number of parameters.

SAGAN's generator (Zhang et al., arXiv 1805.08318, and its code): residual blocks that double the feature map, batch
norm, spectral norm of every weight, and self-attention on one feature map. The paper of NesT compares with such a
network of 77.8 million parameters at 64 x 64; its widths are not published.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.fields import check_fields
from hvit.models.gan.discriminators import check_attention_side, check_doublings
from hvit.models.gan.generator import Generator, ImageGeneratorConfig
from hvit.models.gan.layers import MapAttention, spectral

_AT_ONCE = 64


@dataclass(frozen=True)
class ConvolutionGeneratorConfig(ImageGeneratorConfig):
    """Sizes of a convolutional generator (SAGAN's); widths run from the coarsest feature map to the finest."""

    family: Literal["convolution_generator"] = "convolution_generator"
    """The model family."""
    dims: tuple[int, ...] = (1024, 1024, 512, 256, 128)
    """Channels of the maps, from 4 x 4 up to the whole image (SAGAN's, without its last)."""
    attention_side: int = 32
    """Side of the feature map that self-attention works on."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_doublings("a convolutional generator", self.output_size, self.dims, self.out_channels, self.num_classes)
        if self.latent_dim < 1:
            raise UserError(f"latent_dim must be 1 or more; got {self.latent_dim}")
        check_attention_side(self.attention_side, [4 * 2**step for step in range(1, len(self.dims))])

    @property
    def depths(self) -> tuple[int, ...]:
        """Residual blocks that lead to each feature map after the first."""
        return (1,) * (len(self.dims) - 1)


class DoublingBlock(nn.Module):
    """Doubles a feature map (nearest neighbours) on a residual branch of two convolutions with batch norm."""

    def __init__(self, dim: int, next_dim: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(dim)
        self.convolution1 = spectral(nn.Conv2d(dim, next_dim, 3, padding=1))
        self.norm2 = nn.BatchNorm2d(next_dim)
        self.convolution2 = spectral(nn.Conv2d(next_dim, next_dim, 3, padding=1))
        self.skip = spectral(nn.Conv2d(dim, next_dim, 1))

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (batch, dim, height, width). Returns (batch, next_dim, 2 * height, 2 * width)."""
        branch = self.convolution1(F.interpolate(self.norm1(maps).relu(), scale_factor=2, mode="nearest"))
        branch = self.convolution2(self.norm2(branch).relu())
        # A 1 x 1 convolution and the copying of pixels commute; this way round it is four times cheaper.
        return branch + F.interpolate(self.skip(maps), scale_factor=2, mode="nearest")


class ConvolutionGenerator(Generator):
    """SAGAN's generator. Kernels are drawn uniformly (Xavier), biases 0, norm scales 1, the attention's gain 0."""

    config: ConvolutionGeneratorConfig

    def __init__(self, config: ConvolutionGeneratorConfig) -> None:
        super().__init__(config)
        dims = config.dims
        self.root = spectral(nn.Linear(config.latent_dim, 16 * dims[0]))
        blocks: list[nn.Module] = []
        for number, (dim, next_dim) in enumerate(pairwise(dims), start=1):
            blocks.append(DoublingBlock(dim, next_dim))
            if 4 * 2**number == config.attention_side:
                blocks.append(MapAttention(next_dim))
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(dims[-1])
        self.to_pixels = spectral(nn.Conv2d(dims[-1], config.out_channels, 3, padding=1))

    def generate(self, latents: Tensor) -> Tensor:
        """As `Generator.generate`."""
        maps = self.blocks(self.root(latents).reshape(-1, self.config.dims[0], 4, 4))
        pixels = self.to_pixels(self.norm(maps).relu())
        return pixels.tanh() if self.config.output_activation == "tanh" else pixels

    @torch.no_grad()
    def settle(self, latents: Tensor, labels: Tensor | None = None) -> None:
        """As `Generator.settle`: what batch norm expects becomes what it sees on these latents.

        Averaged weights have not met the means and variances that were followed in training (the standing statistics
        of BigGAN, arXiv 1809.11096, section 4).
        """
        norms = [module for module in self.modules() if isinstance(module, nn.BatchNorm2d)]
        momentum = norms[0].momentum
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over all parts
            norm.train()
        for part in torch.arange(len(latents)).split(_AT_ONCE):
            self(latents[part], None if labels is None else labels[part])
        for norm in norms:
            norm.momentum = momentum
            norm.eval()


def count_parameters(config: ConvolutionGeneratorConfig) -> int:
    """Number of parameters of a convolutional generator, without building it."""
    dims, latent = config.dims, config.latent_dim
    total = config.num_classes * latent + (latent + 1) * 16 * dims[0] + 2 * dims[-1]
    total += (9 * dims[-1] + 1) * config.out_channels
    for number, (dim, wider) in enumerate(pairwise(dims), start=1):
        total += 2 * dim + (9 * dim + 1) * wider + 2 * wider + (9 * wider + 1) * wider + (dim + 1) * wider
        if 4 * 2**number == config.attention_side:
            total += 2 * wider * (max(wider // 8, 1) + max(wider // 2, 1)) + 1
    return total


def match_parameters(
    config: ConvolutionGeneratorConfig, parameters: int, multiple: int = 1
) -> ConvolutionGeneratorConfig:
    """The configuration with all widths scaled alike, so that the generator has about as many parameters as wanted.

    Of the widths that one factor gives, rounded to multiples of `multiple`, those with the nearest number.
    """

    def scaled(factor: float) -> ConvolutionGeneratorConfig:
        widths = (max(round(dim * factor / multiple), 1) * multiple for dim in config.dims)
        return replace(config, dims=tuple(widths))

    low, high = 0.0, 1.0
    while count_parameters(scaled(high)) < parameters:
        low, high = high, 2 * high
    while (high - low) * max(config.dims) > 0.1:
        middle = (low + high) / 2
        low, high = (middle, high) if count_parameters(scaled(middle)) < parameters else (low, middle)
    return min((scaled(low), scaled(high)), key=lambda one: abs(count_parameters(one) - parameters))


CONVOLUTION_GENERATOR_SIZES: dict[str, ConvolutionGeneratorConfig] = {
    "conv_generator_64": ConvolutionGeneratorConfig(dims=(1576, 1576, 784, 392, 200)),
    "sagan_generator_64": ConvolutionGeneratorConfig(dims=(1615, 1615, 804, 402, 205)),
    "conv_generator_32": ConvolutionGeneratorConfig(
        output_size=(32, 32), dims=(872, 872, 432, 216), attention_side=16
    ),
    "conv_generator_micro_32": ConvolutionGeneratorConfig(
        output_size=(32, 32), dims=(272, 272, 136, 68), attention_side=16
    ),
    "conv_generator_digits_32": ConvolutionGeneratorConfig(
        output_size=(32, 32), out_channels=1, latent_dim=64, dims=(139, 139, 70, 35), attention_side=16
    ),
}  # fmt: skip
"""Parameter-matched baselines of the transposed NesTs of the same names: as many parameters, to 1 %.
`sagan_generator_64` has the 77.8 million of the convolutional generator in NesT's talk."""
