"""The transposed NesT: the tree of blocks turned upside down, which generates an image from a latent.

Zhang et al., "Nested Hierarchical Transformer: Towards Accurate, Data-Efficient and Interpretable Visual
Understanding", AAAI 2022, arXiv 2105.12723. Its code was never released. What is published: a latent becomes one block
of tokens, every level has NesT's own transformer layers inside its blocks, between two levels every block becomes four
(pixel shuffle in place of aggregation), in the last level a token is a pixel; and the 74.4 million parameters of the
generator of 64 x 64 images. The rest (latent, widths, layers, final activation) is ours, with its source where it says.

With attention over whole levels in place of blocks the same network is like TransGAN (arXiv 2102.07074).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.fields import check_fields
from hvit.models.gan.generator import Generator, ImageGeneratorConfig
from hvit.models.gan.layers import initialise
from hvit.models.layers.blocks import truncated_normal_
from hvit.models.layers.grids import blocks_to_grid, grid_to_blocks
from hvit.models.layers.linear import Activation
from hvit.models.nest.config import AttentionKind
from hvit.models.nest.model import TransformerLayer

Deaggregation = Literal["pixel_shuffle", "pixel_shuffle_conv3", "nearest_conv3", "transposed_conv3"]


@dataclass(frozen=True)
class NestGeneratorConfig(ImageGeneratorConfig):
    """Sizes and choices of a transposed NesT; per-level fields run from the coarsest level to the finest."""

    family: Literal["nest_generator"] = "nest_generator"
    """The model family."""
    dims: tuple[int, ...] = (1024, 256, 64, 16)
    """Width of the tokens in each level."""
    heads: tuple[int, ...] = (32, 8, 2, 1)
    """Attention heads in each level."""
    depths: tuple[int, ...] = (5, 3, 3, 3)
    """Transformer layers in each level."""
    mlp_ratio: int = 4
    """Width of the hidden layer of the MLP, relative to the tokens' width."""
    attention: AttentionKind = "multi_head"
    """multi_head, or multi_query: one key and value for all heads (HiT, the authors' later generator)."""
    attention_span: Literal["block", "plane"] = "block"
    """block: attention never leaves its block; plane: it reaches all tokens of a level, as in TransGAN."""
    activation: Activation = "gelu_tanh"
    """GELU in its tanh form, as in NesT, or exact."""
    deaggregation: Deaggregation = "pixel_shuffle"
    """How a block becomes four: pixel shuffle, alone or with a convolution, nearest neighbours, or transposed."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not len(self.dims) == len(self.heads) == len(self.depths) > 0:
            raise UserError(
                f"a NesT generator needs one entry per level in dims, heads and depths alike; got dims={self.dims}, "
                f"heads={self.heads}, depths={self.depths}"
            )
        sizes = (self.out_channels, self.latent_dim, self.mlp_ratio, *self.output_size)
        if min(*sizes, *self.dims, *self.heads, *self.depths) < 1 or self.num_classes < 0:
            raise UserError(
                "NesT generator sizes (output, channels, latent, dims, heads, depths, mlp_ratio) must be 1 or more"
            )
        if any(dim % heads for dim, heads in zip(self.dims, self.heads, strict=True)):
            raise UserError(f"NesT generator dims must be divisible by heads; dims={self.dims}, heads={self.heads}")
        if self.deaggregation.startswith("pixel_shuffle") and any(dim % 4 for dim in self.dims[:-1]):
            raise UserError(f"pixel shuffle makes four tokens of one: dims must be divisible by 4; got {self.dims}")
        unit, (height, width) = 2 ** (len(self.dims) - 1), self.output_size
        if height != width or height % unit:
            near = max(round(height / unit), 1) * unit
            raise UserError(
                f"a NesT generator of {len(self.dims)} levels generates squares whose side is a multiple of {unit}, "
                f"such as {near}; got {height} x {width}"
            )

    @property
    def block_side(self) -> int:
        """Tokens per block side, in every level."""
        return self.output_size[0] // 2 ** (len(self.dims) - 1)


class BlockDeaggregation(nn.Module):
    """Makes four blocks of every block: a feature map of twice the side.

    | function | what it does | parameters from width d to e |
    | --- | --- | --- |
    | pixel_shuffle | the width of a token becomes four tokens; a linear layer where e is not d / 4 | 0, or d/4 e + e |
    | pixel_shuffle_conv3 | the same, then a convolution 3 x 3 | 9 d/4 e + e |
    | nearest_conv3 | every token becomes four alike, then a convolution 3 x 3 | 9 d e + e |
    | transposed_conv3 | a transposed convolution 3 x 3 with stride 2 | 9 d e + e |

    The last three work on the image plane, and mix neighbouring blocks; pixel shuffle never does.
    """

    def __init__(self, dim: int, next_dim: int, function: Deaggregation) -> None:
        super().__init__()
        self.function = function
        self.change: nn.Module = nn.Identity()
        if function == "pixel_shuffle_conv3":
            self.change = nn.Conv2d(dim // 4, next_dim, 3, padding=1)
        elif function == "nearest_conv3":
            self.change = nn.Conv2d(dim, next_dim, 3, padding=1)
        elif function == "transposed_conv3":
            self.change = nn.ConvTranspose2d(dim, next_dim, 3, stride=2, padding=1, output_padding=1)
        elif dim // 4 != next_dim:
            self.change = nn.Linear(dim // 4, next_dim)

    def forward(self, feature_map: Tensor) -> Tensor:
        """feature_map: (batch, rows, columns, dim). Returns (batch, 2 * rows, 2 * columns, next_dim)."""
        maps = feature_map.permute(0, 3, 1, 2)
        if self.function == "nearest_conv3":
            maps = F.interpolate(maps, scale_factor=2, mode="nearest")
        elif self.function != "transposed_conv3":
            maps = F.pixel_shuffle(maps, 2)
        if self.function == "pixel_shuffle":
            return self.change(maps.permute(0, 2, 3, 1))
        return self.change(maps).permute(0, 2, 3, 1)


class GeneratorLevel(nn.Module):
    """One level of the tree: de-aggregation of the level above (except at the root), positions, transformer layers."""

    def __init__(self, config: NestGeneratorConfig, level: int) -> None:
        super().__init__()
        side, dim = config.block_side * 2**level, config.dims[level]
        self.side = config.block_side if config.attention_span == "block" else side
        self.deaggregation = (
            BlockDeaggregation(config.dims[level - 1], dim, config.deaggregation) if level else nn.Identity()
        )
        self.positions = nn.Parameter(torch.zeros(1, (side // self.side) ** 2, self.side**2, dim))
        # NesT's own layer; it takes from the configuration the fields that both have.
        self.layers = nn.Sequential(
            *(TransformerLayer(config, level, 0.0) for _ in range(config.depths[level]))  # pyright: ignore
        )

    def forward(self, above: Tensor) -> Tensor:
        """above: the map of the level above (batch, rows, columns, dim). Returns this level's, of twice the side."""
        blocks = grid_to_blocks(self.deaggregation(above), self.side)
        return blocks_to_grid(self.layers(blocks + self.positions))


class NestGenerator(Generator):
    """The transposed NesT."""

    config: NestGeneratorConfig

    def __init__(self, config: NestGeneratorConfig) -> None:
        super().__init__(config)
        self.root = nn.Linear(config.latent_dim, config.block_side**2 * config.dims[0])
        self.hierarchies = nn.ModuleList(GeneratorLevel(config, level) for level in range(len(config.dims)))
        self.norm = nn.LayerNorm(config.dims[-1], eps=1e-6)
        self.to_pixels = nn.Linear(config.dims[-1], config.out_channels)
        self.initialise()

    def initialise(self) -> None:
        """Initialises; ours, as the paper does not say.

        | what | how |
        | --- | --- |
        | linear layers and convolutions | uniform (Xavier), as in HiT and TransGAN |
        | position embeddings | normal, std 0.02, cut at two standard deviations, as in NesT |
        | class embeddings | normal, std 1, as the latents |
        | biases | 0 |
        | norm scales | 1 |
        """
        initialise(self)
        for name, parameter in self.named_parameters():
            if name.endswith("positions"):
                truncated_normal_(parameter)

    def levels(self, latents: Tensor) -> list[Tensor]:
        """The feature map after each level, coarse to fine: (batch, side, side, dim), the side doubling.

        latents: (batch, latent_dim), the labels already in them.
        """
        side = self.config.block_side
        feature_map = self.root(latents).reshape(-1, side, side, self.config.dims[0])
        feature_maps = []
        for hierarchy in self.hierarchies:
            feature_map = hierarchy(feature_map)
            feature_maps.append(feature_map)
        return feature_maps

    def generate(self, latents: Tensor) -> Tensor:
        """As `Generator.generate`: every token of the last level is a pixel."""
        pixels = self.to_pixels(self.norm(self.levels(latents)[-1])).permute(0, 3, 1, 2).contiguous()
        return pixels.tanh() if self.config.output_activation == "tanh" else pixels


NEST_GENERATOR_SIZES: dict[str, NestGeneratorConfig] = {
    # Of the published number of parameters (74.4 million); widths and layers are a guess.
    "nest_generator_64": NestGeneratorConfig(),
    "nest_generator_32": NestGeneratorConfig(
        output_size=(32, 32), dims=(512, 256, 128), heads=(16, 8, 4), depths=(5, 3, 3)
    ),
    # The widths and layers of HiT for this size (arXiv 2106.07631), its last two levels being narrower here.
    "nest_generator_128": NestGeneratorConfig(
        output_size=(128, 128), dims=(512, 512, 256, 128, 64), heads=(16, 16, 8, 4, 2), depths=(2, 2, 2, 2, 2)
    ),
    "nest_generator_micro_32": NestGeneratorConfig(
        output_size=(32, 32), dims=(256, 128, 64, 16), heads=(8, 4, 2, 1), depths=(2, 2, 2, 1)
    ),
    "nest_generator_digits_32": NestGeneratorConfig(
        output_size=(32, 32), out_channels=1, latent_dim=64, dims=(128, 64, 32, 16), heads=(4, 2, 1, 1),
        depths=(2, 2, 2, 1),
    ),
    # For throughput side by side; TransGAN's number of parameters at 64 x 64 is published as 82.6 million.
    "transgan_like_64": NestGeneratorConfig(latent_dim=256, depths=(5, 4, 2, 2), attention_span="plane"),
}  # fmt: skip
"""Transposed NesTs: the published size, ours for other images and for CPUs, and one that is like TransGAN."""
