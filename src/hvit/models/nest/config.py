"""Sizes of NesT: the configuration, what it refuses, and the published sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hvit.errors import UserError
from hvit.fields import check_fields
from hvit.models.layers.linear import Activation
from hvit.models.sizes import check_heads, check_rate, known_classes

AttentionKind = Literal["multi_head", "multi_query"]


Aggregation = Literal[
    "conv3_norm_max3",
    "conv3_norm_avg3",
    "conv1_norm_max3",
    "conv5_norm_max3",
    "max3",
    "strided_conv3",
    "merge2",
]


@dataclass(frozen=True)
class NestConfig:
    """Sizes and choices of a NesT; per-level fields run from the finest level to the coarsest."""

    family: Literal["nest"] = "nest"
    """The model family."""
    input_size: tuple[int, int] = (224, 224)
    """Height and width of the input in pixels, both multiples of the patch size times 2 to the levels less one; blocks
    are as long and as wide as the input, and aggregation on other planes than image takes squares."""
    in_channels: int = 3
    """Channels of the input image: 3 for colour, 1 for grey."""
    num_classes: int | None = 1000
    """Number of classes of the head; None in a recipe: as many as the data has."""
    patch_size: tuple[int, int] = (4, 4)
    """Height and width in pixels of the patch that becomes one token."""
    block_size: int | None = None
    """Tokens per block side; default: the size that makes the input fill the tree (then it follows input_size)."""
    dims: tuple[int, ...] = (96, 192, 384)
    """Width of the tokens in each level."""
    heads: tuple[int, ...] = (3, 6, 12)
    """Attention heads in each level."""
    depths: tuple[int, ...] = (2, 2, 8)
    """Transformer layers in each level."""
    mlp_ratio: int = 4
    """Width of the hidden layer of the MLP, relative to the tokens' width."""
    attention: AttentionKind = "multi_head"
    """multi_head (ImageNet models), or multi_query: one key and value for all heads (CIFAR models)."""
    activation: Activation = "gelu_tanh"
    """GELU in its tanh form (the official code) or exact (timm)."""
    aggregation: Aggregation = "conv3_norm_max3"
    """How four blocks become one: convolution, norm and pooling, or one of its ablations."""
    aggregation_plane: Literal["image", "parent", "block"] = "image"
    """image: aggregation sees the whole feature map and crosses all block borders; parent: it crosses those inside each
    group of four blocks that become one; block: it stays inside every block."""
    pool_padding: Literal["same", "symmetric"] = "same"
    """Padding of the pooling: same (official, and timm's nest_*_jx), or symmetric (timm's other nest_*)."""
    drop_path: float = 0.0
    """Stochastic-depth rate of the last layer; earlier layers have linearly less."""

    def __post_init__(self) -> None:
        check_fields(self)
        _check_numbers(self)
        _check_geometry(self)

    @property
    def block_shape(self) -> tuple[int, int]:
        """Rows and columns of tokens in a block."""
        step = self.patch_size[0] * 2 ** (len(self.depths) - 1)
        return self.input_size[0] // step, self.input_size[1] // step

    @property
    def block_side(self) -> int:
        """Rows of tokens in a block; its columns, too, of square inputs."""
        return self.block_shape[0]

    @property
    def total_stride(self) -> tuple[int, int]:
        """Tokens of the first level, along both axes, that one token of the last stands for."""
        return (2 ** (len(self.depths) - 1),) * 2

    @property
    def unit_size(self) -> tuple[int, int] | None:
        """Tokens per mask-unit side in the first level, a block's; none if a block is no whole token in the last."""
        fits = self.aggregation_plane == "image" and all(side % self.total_stride[0] == 0 for side in self.block_shape)
        return self.block_shape if fits else None

    def unit_side(self, level: int) -> tuple[int, ...]:
        """Tokens along both axes of a mask unit in a level; of the whole token grid where there are no units."""
        side = self.unit_size or tuple(pixels // self.patch_size[0] for pixels in self.input_size)
        return tuple(tokens // 2**level for tokens in side)


def _check_numbers(config: NestConfig) -> None:
    if not len(config.dims) == len(config.heads) == len(config.depths) > 0:
        raise UserError(
            f"NesT needs one entry per level in dims, heads and depths alike; got dims={config.dims}, "
            f"heads={config.heads}, depths={config.depths}"
        )
    counts = (
        config.in_channels,
        *known_classes(config),
        config.mlp_ratio,
        *config.patch_size,
        *config.input_size,
    )
    if min(*counts, *config.dims, *config.heads, *config.depths) < 1:
        raise UserError(
            "NesT sizes (input, channels, classes, patch, dims, heads, depths, mlp_ratio) must be 1 or more"
        )
    check_heads("NesT", config.dims, config.heads)
    check_rate("drop_path", config.drop_path)


def _check_geometry(config: NestConfig) -> None:
    (height, width), (patch, patch_width), levels = config.input_size, config.patch_size, len(config.depths)
    step = patch * 2 ** (levels - 1)
    halved = config.aggregation_plane == "block" and levels > 1
    unit = 2 * step if halved else step
    near = max(height // unit, 1) * unit
    if patch != patch_width:
        raise UserError(
            f"NesT takes square patches; got patch_size={config.patch_size}; sizes that work: "
            f"input_size=({near}, {near}), patch_size=({patch}, {patch})"
        )
    if height != width and (config.aggregation_plane != "image" or config.block_size is not None):
        raise UserError(
            f"NesT with aggregation_plane {config.aggregation_plane!r} and block_size {config.block_size} takes square "
            f"images; got input_size={config.input_size}; take input_size=({near}, {near}); or aggregation_plane "
            f"'image' without a block_size"
        )
    if height % step or width % step:
        sizes = ", ".join(str(near + unit * more) for more in (0, 1, 2))
        raise UserError(
            f"NesT with {patch}-pixel patches and {levels} levels takes image sides that are multiples of {unit}, "
            f"such as {sizes}; got {height if height == width else config.input_size}"
        )
    if config.block_size is not None and config.block_size != config.block_side:
        fitting = f"; or set input_size to ({config.block_size * step}, {config.block_size * step})"
        raise UserError(
            f"NesT with input {height}, {patch}-pixel patches and {levels} levels has block_size "
            f"{config.block_side}, not {config.block_size}: set block_size={config.block_side} or omit it"
            + (fitting if config.block_size > 0 else "")
        )
    if halved and config.block_side % 2:
        raise UserError(
            f"aggregation inside blocks halves every block, so the block side must be even; it is {config.block_side} "
            f"at input {height}: image sides that work are multiples of {unit}, such as {near}"
        )


def _sizes(dims: tuple[int, ...], heads: tuple[int, ...], depths: tuple[int, ...], drop_path: float) -> NestConfig:
    return NestConfig(dims=dims, heads=heads, depths=depths, drop_path=drop_path)


def _cifar(dim: int, heads: int) -> NestConfig:
    return NestConfig(
        input_size=(32, 32), patch_size=(1, 1), num_classes=10, dims=(dim,) * 4, heads=(heads,) * 4,
        depths=(3, 3, 3, 3), attention="multi_query", drop_path=0.1,
    )  # fmt: skip


def _cifar_block8(dim: int, heads: int) -> NestConfig:
    return NestConfig(
        input_size=(32, 32), patch_size=(1, 1), num_classes=10, dims=(dim,) * 3, heads=(heads,) * 3,
        depths=(4, 4, 4), drop_path=0.1,
    )  # fmt: skip


def _micro(side: int, patch: int) -> NestConfig:
    return NestConfig(
        input_size=(side, side), patch_size=(patch, patch), num_classes=10, dims=(32, 64, 128), heads=(2, 4, 8),
        depths=(1, 1, 2),
    )  # fmt: skip


# The published sizes (Table A1 of the paper as its code has it; "_32" are the CIFAR models of the official code,
# "_block8" is the CIFAR model of the paper's own table), and our micro sizes for CPUs and tests.
NEST_SIZES: dict[str, NestConfig] = {
    "nest_tiny_224": _sizes((96, 192, 384), (3, 6, 12), (2, 2, 8), 0.2),
    "nest_small_224": _sizes((96, 192, 384), (3, 6, 12), (2, 2, 20), 0.3),
    "nest_base_224": _sizes((128, 256, 512), (4, 8, 16), (2, 2, 20), 0.5),
    "nest_tiny_32": _cifar(192, 3),
    "nest_small_32": _cifar(384, 6),
    "nest_base_32": _cifar(768, 12),
    "nest_tiny_32_block8": _cifar_block8(192, 3),
    "nest_small_32_block8": _cifar_block8(384, 6),
    "nest_base_32_block8": _cifar_block8(768, 12),
    "nest_micro_32": _micro(32, 2),
    "nest_micro_64": _micro(64, 4),
}  # fmt: skip
