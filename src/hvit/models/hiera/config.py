"""The sizes and choices of Hiera, and what follows from them. The model is in `model`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from typing import Literal

from hvit.errors import UserError
from hvit.fields import check_fields
from hvit.models.sizes import MultiscaleConfig, check_heads, check_rate, known_classes


@dataclass(frozen=True)
class HieraConfig(MultiscaleConfig):
    """Sizes and choices of a Hiera; sizes of clips have time first, per-level fields run from fine to coarse."""

    family: Literal["hiera"] = "hiera"
    """The model family."""
    depths: tuple[int, ...] = (2, 3, 16, 3)
    """Transformer layers in each level."""
    unit_size: tuple[int, ...] = (8, 8)
    """Tokens along each axis of a mask unit in the finest level."""
    query_pools: int = 3
    """How many levels, counted from the finest, end in pooling; masked pretraining omits the last pooling."""
    unit_attention: tuple[bool, ...] = (True, True, False, False)
    """For each level, whether attention stays inside mask units; a level's first layer does as the level before."""
    positions: Literal["learned", "window"] = "learned"
    """Position embeddings: one per token, or a coarse map that is interpolated plus a window repeated per unit."""
    position_grid: tuple[int, ...] | None = None
    """Rows and columns of the coarse map of window positions; none for learned ones."""
    position_antialias: bool = False
    """Whether the coarse map of window positions is interpolated with antialiasing (timm) or without (SAM 2)."""
    expansion: Literal["linear", "mean_max"] = "linear"
    """How the skip path grows between levels: a linear layer and max-pooling, or max- and mean-pooling side by side."""
    layer_scale: bool = False
    """Whether each residual branch is multiplied by a learned vector."""

    def __post_init__(self) -> None:
        check_fields(self)
        _check_numbers(self)
        _check_geometry(self)

    @property
    def token_grid(self) -> tuple[int, ...]:
        """Tokens along each axis in the finest level."""
        return tuple(side // patch for side, patch in zip(self.input_size, self.patch_size, strict=True))

    @property
    def unit_grid(self) -> tuple[int, ...]:
        """Mask units along each axis, the same in every level."""
        return tuple(side // unit for side, unit in zip(self.token_grid, self.unit_size, strict=True))

    @property
    def units(self) -> int:
        """Mask units in the whole input."""
        return prod(self.unit_grid)

    @property
    def total_stride(self) -> tuple[int, ...]:
        """Tokens of the first level, along each axis, that one token of the last stands for."""
        return tuple(stride**self.query_pools for stride in self.query_stride)

    def strides(self, level: int) -> list[tuple[int, ...]]:
        """The strides with which the mask units of a level are unrolled: poolings to come, and what they leave over."""
        pools = [self.query_stride] * self.query_pools
        left = (unit // stride for unit, stride in zip(self.unit_size, self.total_stride, strict=True))
        return [*pools[level:], tuple(left)]

    def unit_side(self, level: int) -> tuple[int, ...]:
        """Tokens along each axis of a mask unit in a level."""
        return tuple(prod(along) for along in zip(*self.strides(level), strict=True))


def _check_numbers(config: HieraConfig) -> None:
    levels, rank = len(config.depths), len(config.input_size)
    for field in ("dims", "heads", "unit_attention"):
        if len(getattr(config, field)) != levels or not levels:
            raise UserError(
                f"Hiera needs one entry per level in depths, dims, heads and unit_attention alike; got "
                f"depths={config.depths} and {field}={getattr(config, field)}"
            )
    if rank not in (2, 3):
        raise UserError(f"Hiera takes images (height, width) or clips (time, height, width); got {config.input_size}")
    for field in ("patch_size", "patch_kernel", "unit_size", "query_stride"):
        if len(getattr(config, field)) != rank:
            raise UserError(
                f"Hiera needs one entry per axis in input_size, patch_size, patch_kernel, unit_size and "
                f"query_stride alike; got input_size={config.input_size} and {field}={getattr(config, field)}"
            )
    sides = (*config.input_size, *config.patch_size, *config.patch_kernel, *config.unit_size, *config.query_stride)
    counts = (config.in_channels, *known_classes(config), config.mlp_ratio, *config.dims, *config.heads, *config.depths)
    if min(*sides, *counts, *(config.position_grid or ())) < 1:
        raise UserError(
            "Hiera sizes (input, patch, kernel, unit, stride, channels, classes, dims, heads, depths, mlp_ratio, "
            "position_grid) must be 1 or more"
        )
    check_heads("Hiera", config.dims, config.heads)
    if not 0 <= config.query_pools < levels:
        raise UserError(f"query_pools must be from 0 to {levels - 1} with {levels} levels; got {config.query_pools}")
    check_rate("drop_path", config.drop_path)
    check_rate("head_dropout", config.head_dropout)
    doubled = all(2 * fine == coarse for fine, coarse in pairwise(config.dims))
    if config.expansion == "mean_max" and not doubled:
        raise UserError(f"expansion='mean_max' doubles the width from level to level; got dims={config.dims}")
    if config.positions == "window" and (rank != 2 or len(config.position_grid or ()) != 2):
        raise UserError(
            f"positions='window' is for images and needs a position_grid of rows and columns, such as (7, 7); got "
            f"input_size={config.input_size} and position_grid={config.position_grid}"
        )
    if config.positions == "learned" and (config.position_grid is not None or config.position_antialias):
        raise UserError("position_grid and position_antialias belong to positions='window'")


def _check_geometry(config: HieraConfig) -> None:
    if any(kernel % 2 == 0 for kernel in config.patch_kernel):
        raise UserError(f"patch_kernel must be odd along each axis, such as 7; got {config.patch_kernel}")
    pooled = config.total_stride
    if any(unit % side for unit, side in zip(config.unit_size, pooled, strict=True)):
        raise UserError(
            f"a mask unit must hold whole windows of all {config.query_pools} poolings by {config.query_stride}, so "
            f"unit_size must be a multiple of {pooled}, such as {pooled}; got {config.unit_size}"
        )
    step = tuple(patch * unit for patch, unit in zip(config.patch_size, config.unit_size, strict=True))
    if any(side % one for side, one in zip(config.input_size, step, strict=True)):
        near = tuple(max(round(side / one), 1) * one for side, one in zip(config.input_size, step, strict=True))
        more = tuple(side + one for side, one in zip(near, step, strict=True))
        raise UserError(
            f"Hiera with patches of {config.patch_size} and units of {config.unit_size} tokens takes inputs of whole "
            f"units, multiples of {step}, such as {near} or {more}; got input_size={config.input_size}"
        )


def _image(dim: int, heads: int, depths: tuple[int, ...], drop_path: float) -> HieraConfig:
    return HieraConfig(
        dims=tuple(dim * 2**level for level in range(4)), heads=tuple(heads * 2**level for level in range(4)),
        depths=depths, drop_path=drop_path,
    )  # fmt: skip


def _clip(image: HieraConfig, drop_path: float) -> HieraConfig:
    return replace(
        image, input_size=(16, 224, 224), num_classes=400, patch_size=(2, 4, 4), patch_kernel=(3, 7, 7),
        unit_size=(1, 8, 8), query_stride=(1, 2, 2), drop_path=drop_path,
    )  # fmt: skip


def _window(image: HieraConfig, side: int, grid: int, **fields: object) -> HieraConfig:
    return replace(image, input_size=(side, side), positions="window", position_grid=(grid, grid), **fields)


def _micro(**fields: object) -> HieraConfig:
    return replace(_MICRO, **fields)


_MICRO = HieraConfig(
    num_classes=10, dims=(32, 64, 128), heads=(1, 2, 4), depths=(1, 1, 2), query_pools=2,
    unit_attention=(True, False, False), initialisation="xavier",
)  # fmt: skip


_TINY = _image(96, 1, (1, 2, 7, 2), 0.1)


_SMALL = _image(96, 1, (1, 2, 11, 2), 0.1)


_BASE = _image(96, 1, (2, 3, 16, 3), 0.1)


_BASE_PLUS = _image(112, 2, (2, 3, 16, 3), 0.1)


_LARGE = _image(144, 2, (2, 6, 36, 4), 0.2)


_HUGE = _image(256, 4, (2, 6, 36, 4), 0.3)


_TIMM: dict[str, object] = {"position_antialias": True, "layer_scale": True}


# The published sizes; "_abswin" are timm's, "_sam2" the image encoders of SAM 2 at the input size at which the windows
# of their two coarse levels are the whole grid; and our micro sizes for CPUs and tests. Stochastic depth as fine-tuned.
HIERA_SIZES: dict[str, HieraConfig] = {
    "hiera_tiny_224": _TINY,
    "hiera_small_224": _SMALL,
    "hiera_base_224": _BASE,
    "hiera_base_plus_224": _BASE_PLUS,
    "hiera_large_224": _LARGE,
    "hiera_huge_224": _HUGE,
    "hiera_base_16x224": _clip(_BASE, 0.2),
    "hiera_base_plus_16x224": _clip(_BASE_PLUS, 0.2),
    "hiera_large_16x224": _clip(_LARGE, 0.2),
    "hiera_huge_16x224": _clip(_HUGE, 0.3),
    "hiera_small_abswin_256": _window(_SMALL, 256, 16, expansion="mean_max", **_TIMM),
    "hiera_base_abswin_256": _window(_BASE, 256, 14, **_TIMM),
    "hiera_tiny_sam2_224": _window(_TINY, 224, 7),
    "hiera_small_sam2_224": _window(_SMALL, 224, 7),
    "hiera_base_plus_sam2_224": _window(_BASE_PLUS, 224, 14),
    "hiera_large_sam2_256": _window(_LARGE, 256, 7),
    "hiera_micro_32": _micro(
        input_size=(32, 32), patch_size=(2, 2), patch_kernel=(3, 3), unit_size=(4, 4),
    ),
    "hiera_micro_64": _micro(input_size=(64, 64), unit_size=(4, 4)),
    "hiera_micro_16x64": _micro(
        input_size=(16, 64, 64), patch_size=(2, 4, 4), patch_kernel=(3, 7, 7), unit_size=(1, 4, 4),
        query_stride=(1, 2, 2),
    ),
}  # fmt: skip
