"""The sizes and choices of MViT and MViTv2, and what follows from them for every block. See `mvit` for the model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from hvit.errors import UserError
from hvit.fields import check_fields
from hvit.models.sizes import MultiscaleConfig, check_heads, check_rate, known_classes

PoolKind = Literal["conv", "max", "average"]
PoolKernel = Literal["three", "stride_plus_one", "stride"]
PoolWhere = Literal["every_block", "strided"]
Axes = tuple[int, ...]


@dataclass(frozen=True)
class MvitConfig(MultiscaleConfig):
    """Sizes and choices of an MViT, an MViTv2 or a step from there to Hiera; sizes of clips have time first."""

    family: Literal["mvit"] = "mvit"
    """The model family."""
    key_stride: tuple[int, ...] = (4, 4)
    """Stride of the key and value pooling in the first level; later levels divide it by the query strides so far."""
    pool: PoolKind = "conv"
    """Pooling of queries, keys and values: a depthwise convolution and a norm, or the maximum or the average alone."""
    pool_kernel: PoolKernel = "three"
    """Kernel of the pooling: three along every axis, its stride plus one, or its stride (no overlap, no padding)."""
    query_pools: int | None = None
    """How many levels, counted from the finest, end in pooling; default: all but the last."""
    query_pooling: PoolWhere = "every_block"
    """Where queries are pooled: in every block, or only where the stride is not 1."""
    key_pooling: PoolWhere = "every_block"
    """Where keys and values are pooled: in every block, or only where the stride is not 1."""
    max_padding: Literal["infinity", "zero"] = "infinity"
    """What max-pooling sees outside: minus infinity, that is nothing (PyTorch), or zeros."""
    positions: Literal["relative", "absolute"] = "relative"
    """Relative positions in every attention, decomposed by axis (MViTv2), or embeddings added once at the stem."""
    query_residual: bool = True
    """Whether the pooled queries are added to the output of attention (MViTv2)."""
    class_token_residual: bool = False
    """Whether that holds for the class token, too (in timm's copy; not in the official code)."""
    expansion: Literal["attention", "mlp"] = "attention"
    """Where the width grows: attention of a level's first block (MViTv2), or MLP of the level before's last (MViT)."""
    class_token: bool = False
    """Whether a class token joins the feature map and is classified; otherwise the mean over the map is."""
    norm_after_mean: bool = False
    """Whether the final norm follows the mean over the feature map (Hiera) or precedes it."""
    unit_size: tuple[int, ...] | None = None
    """Tokens per mask-unit side in the first level; if given, no pooling crosses units ("separate and pad")."""
    unit_attention: tuple[bool, ...] = (False, False, False, False)
    """Whether attention stays inside mask units, level by level (Hiera); a level's first block follows the last one."""

    def __post_init__(self) -> None:
        check_fields(self)
        _check_numbers(self)
        _check_geometry(self)

    @property
    def token_grid(self) -> tuple[int, ...]:
        """Tokens along every axis of the first level."""
        strides = zip(self.input_size, self.patch_kernel, self.patch_size, strict=True)
        return tuple((size + 2 * (kernel // 2) - kernel) // stride + 1 for size, kernel, stride in strides)

    @property
    def total_stride(self) -> tuple[int, ...]:
        """Tokens of the first level, along every axis, that one token of the last stands for."""
        pools = len(self.depths) - 1 if self.query_pools is None else self.query_pools
        return tuple(stride**pools for stride in self.query_stride)

    def unit_side(self, level: int) -> tuple[int, ...]:
        """Tokens along every axis of a mask unit in a level; of the whole token grid where there are no units."""
        pools = min(level, len(self.depths) - 1 if self.query_pools is None else self.query_pools)
        sides = zip(self.unit_size or self.token_grid, self.query_stride, strict=True)
        return tuple(-(-side // stride**pools) for side, stride in sides)

    @property
    def unit_grid(self) -> tuple[int, ...]:
        """Mask units along every axis; all ones where pooling sees the whole feature map."""
        return tuple(
            side // unit for side, unit in zip(self.token_grid, self.unit_size or self.token_grid, strict=True)
        )


def _check_numbers(config: MvitConfig) -> None:
    levels = len(config.depths)
    if not len(config.dims) == len(config.heads) == len(config.unit_attention) == levels > 0:
        raise UserError(
            f"MViT needs one entry per level in dims, heads, depths and unit_attention alike; got dims={config.dims}, "
            f"heads={config.heads}, depths={config.depths}, unit_attention={config.unit_attention}"
        )
    rank = len(config.input_size)
    axes = ("patch_size", "patch_kernel", "query_stride", "key_stride", "unit_size")
    if rank not in (2, 3):
        raise UserError(f"MViT takes images (height, width) or clips (time, height, width); got {config.input_size}")
    for name in axes:
        value = getattr(config, name)
        if value is not None and len(value) != rank:
            raise UserError(f"{name} needs one entry per axis of input_size {config.input_size}; got {value}")
        if value is not None and min(value) < 1:
            raise UserError(f"{name} must be 1 or more along every axis; got {value}")
    counts = (config.in_channels, *known_classes(config), config.mlp_ratio, *config.input_size)
    if min(*counts, *config.dims, *config.heads, *config.depths) < 1:
        raise UserError("MViT sizes (input, channels, classes, dims, heads, depths, mlp_ratio) must be 1 or more")
    check_heads("MViT", config.dims, config.heads)
    if config.query_pools is not None and not 0 <= config.query_pools < levels:
        raise UserError(f"query_pools must be from 0 to {levels - 1} with {levels} levels; got {config.query_pools}")
    if any(kernel % 2 == 0 for kernel in config.patch_kernel):
        raise UserError(f"patch_kernel must be odd along every axis; got {config.patch_kernel}")
    check_rate("drop_path", config.drop_path)
    check_rate("head_dropout", config.head_dropout)


def _check_geometry(config: MvitConfig) -> None:
    total = config.total_stride
    if min(config.token_grid) < 1:
        raise UserError(f"input_size {config.input_size} is smaller than one patch of {config.patch_size}")
    if config.pool_kernel == "stride" or config.unit_size:
        whole = config.unit_size or config.token_grid
        pixels = [side * patch for side, patch in zip(total, config.patch_size, strict=True)]
        if any(side % step for side, step in zip(whole, total, strict=True)):
            what = f"unit_size {config.unit_size}" if config.unit_size else f"the token grid {config.token_grid}"
            raise UserError(f"{what} must be divisible by all query strides together, {total}")
        if any(size % step for size, step in zip(config.input_size, pixels, strict=True)):
            raise UserError(f"input_size {config.input_size} must be divisible by {tuple(pixels)} pixels")
    if config.unit_size:
        if any(side % unit for side, unit in zip(config.token_grid, config.unit_size, strict=True)):
            pixels = tuple(unit * patch for unit, patch in zip(config.unit_size, config.patch_size, strict=True))
            raise UserError(f"input_size {config.input_size} must be divisible by the mask unit, {pixels} pixels")
        if config.class_token or config.positions == "relative":
            raise UserError("a model with mask units has absolute positions and no class token")
    elif any(config.unit_attention):
        raise UserError("attention inside mask units needs unit_size")


class Pooling(NamedTuple):
    """A pooling of a feature map, along every axis."""

    kernel: Axes
    stride: Axes
    padding: Axes


class BlockPlan(NamedTuple):
    """The sizes of one block; grids are of one mask unit, or of the whole input where there are no units."""

    dim: int
    dim_attention: int
    dim_out: int
    heads: int
    grid: Axes
    """Tokens entering the block, along every axis."""
    tables: Axes
    """Length of the relative-position table of every axis, by whole division of the grids as in the official code."""
    query_pooling: Pooling | None
    key_pooling: Pooling | None
    skip_pooling: Pooling | None
    unit_attention: bool


def plan_blocks(config: MvitConfig) -> list[BlockPlan]:
    """The sizes of all blocks, in order.

    The key stride shrinks in the block that pools the queries, whose keys still come from the finer feature map: that
    block's keys are twice as many per side as those of the rest of its level, as in the official code.
    """
    one = (1,) * len(config.input_size)
    grid = table_grid = config.unit_size or config.token_grid
    key_stride, plans, last = config.key_stride, [], len(config.depths) - 1
    for level, depth in enumerate(config.depths):
        for block in range(depth):
            starts = level > 0 and block == 0
            pools = starts and (config.query_pools is None or level <= config.query_pools)
            widens_last = config.expansion == "mlp" and block == depth - 1 and level < last
            stride = config.query_stride if pools else one
            if pools:
                key_stride = tuple(max(old // new, 1) for old, new in zip(key_stride, stride, strict=True))
            sides = zip(table_grid, stride, key_stride, strict=True)
            plans.append(
                BlockPlan(
                    dim=config.dims[level - 1 if starts and config.expansion == "attention" else level],
                    dim_attention=config.dims[level],
                    dim_out=config.dims[level + 1 if widens_last else level],
                    heads=config.heads[level],
                    grid=grid,
                    tables=tuple(2 * max(side // queries, side // keys, 1) - 1 for side, queries, keys in sides),
                    query_pooling=_pooling(stride, config.pool_kernel, config.query_pooling),
                    key_pooling=_pooling(key_stride, config.pool_kernel, config.key_pooling),
                    skip_pooling=_pooling(stride, _SKIP_KERNEL[config.pool_kernel], "strided"),
                    unit_attention=config.unit_attention[level - 1 if starts else level],
                )
            )
            grid = tuple(-(-side // step) for side, step in zip(grid, stride, strict=True))
            table_grid = tuple(side // step for side, step in zip(table_grid, stride, strict=True))
    return plans


_SKIP_KERNEL: dict[PoolKernel, PoolKernel] = {
    "three": "stride_plus_one",
    "stride_plus_one": "stride_plus_one",
    "stride": "stride",
}


def _pooling(stride: Axes, kind: PoolKernel, where: PoolWhere) -> Pooling | None:
    """The pooling of a stride, or None where nothing is pooled."""
    if where == "strided" and max(stride) == 1:
        return None
    kernel = {
        "three": (3,) * len(stride),
        "stride_plus_one": tuple(step + (step > 1) for step in stride),
        "stride": stride,
    }[kind]
    padding = (0,) * len(stride) if kind == "stride" else tuple(size // 2 for size in kernel)
    return None if max(kernel) == max(stride) == 1 else Pooling(kernel, stride, padding)


def _mvit(dims: Axes, depths: Axes, **choices: object) -> MvitConfig:
    """An MViT (v1): convolutional pooling, absolute positions, class token, widening in the MLP."""
    return replace(
        _V2, dims=dims, heads=(1, 2, 4, 8), depths=depths, query_pooling="strided", positions="absolute",
        query_residual=False, expansion="mlp", class_token=True, **choices,
    )  # fmt: skip


def _clip(frames: int, side: int = 224) -> dict[str, object]:
    """What a model for clips has where one for images has other values."""
    return {
        "input_size": (frames, side, side), "num_classes": 400, "patch_size": (2, 4, 4), "patch_kernel": (3, 7, 7),
        "query_stride": (1, 2, 2), "key_stride": (1, 8, 8),
    }  # fmt: skip


_V2 = MvitConfig()


_B16, _B24, _V1 = (1, 2, 11, 2), (2, 3, 16, 3), (96, 192, 384, 768)


_LARGE: dict[str, object] = {"dims": (144, 288, 576, 1152), "heads": (2, 4, 8, 16), "depths": (2, 6, 36, 4)}


_MICRO: dict[str, object] = {
    "num_classes": 10, "dims": (32, 64, 128), "heads": (1, 2, 4), "depths": (1, 1, 2),
    "unit_attention": (False, False, False), "initialisation": "xavier",
}  # fmt: skip


# The published sizes (arXiv 2104.11227, Tables 3 and 6; arXiv 2112.01526, Tables 1, 2 and 5) and micro sizes of ours.
# MViT-B with 24 blocks on clips has the kernels of its released weights; MViTv2-L on images widens in the MLP and the
# "_cls" models have a class token, as their released weights do.
MVIT_SIZES: dict[str, MvitConfig] = {
    "mvit_base_224": _mvit(_V1, _B16, drop_path=0.1),
    "mvit_base24_224": _mvit(_V1, _B24, drop_path=0.3),
    "mvit_base24_wide_320": _mvit((112, 224, 448, 896), _B24, input_size=(320, 320), drop_path=0.3),
    # Its stem, heads and pooling are in no source: the choice nearest to its printed 26.1 M and 32.9 G (-0.2, -8.6 %).
    "mvit_small_16x224": replace(
        _V2, **_clip(16) | {"patch_size": (2, 8, 8), "patch_kernel": (3, 9, 9), "key_stride": (1, 4, 4)},
        dims=(128, 256, 512), heads=(1, 2, 4), depths=(3, 7, 6), unit_attention=(False,) * 3, query_pooling="strided",
        positions="absolute", query_residual=False, expansion="mlp", class_token=True, head_dropout=0.5,
    ),
    "mvit_base_16x224": _mvit(_V1, _B16, **_clip(16), drop_path=0.2, head_dropout=0.5),
    "mvit_base_32x224": _mvit(_V1, _B16, **_clip(32), drop_path=0.2, head_dropout=0.5),
    "mvit_base_64x224": _mvit(_V1, _B16, **_clip(64), drop_path=0.2, head_dropout=0.5),
    "mvit_base24_32x224": _mvit(
        _V1, _B24, **_clip(32), pool_kernel="stride_plus_one", drop_path=0.3, head_dropout=0.5
    ),
    "mvitv2_tiny_224": MvitConfig(depths=(1, 2, 5, 2), drop_path=0.1),
    "mvitv2_small_224": MvitConfig(depths=_B16, drop_path=0.1),
    "mvitv2_base_224": MvitConfig(depths=_B24, drop_path=0.3),
    "mvitv2_large_224": replace(_V2, **_LARGE, expansion="mlp", drop_path=0.5),
    "mvitv2_base_cls_224": MvitConfig(depths=_B24, class_token=True, drop_path=0.3),
    "mvitv2_large_cls_224": replace(_V2, **_LARGE, class_token=True, drop_path=0.5),
    "mvitv2_huge_cls_224": MvitConfig(
        dims=(192, 384, 768, 1536), heads=(3, 6, 12, 24), depths=(4, 8, 60, 8), class_token=True, drop_path=0.8
    ),
    "mvitv2_small_16x224": replace(_V2, **_clip(16), depths=_B16, class_token=True, drop_path=0.2, head_dropout=0.5),
    "mvitv2_base_32x224": replace(_V2, **_clip(32), depths=_B24, class_token=True, drop_path=0.3, head_dropout=0.5),
    "mvitv2_large_16x224": replace(
        _V2, **_clip(16), **_LARGE, expansion="mlp", class_token=True, drop_path=0.2, head_dropout=0.5
    ),
    "mvitv2_large_40x312": replace(_V2, **_clip(40, 312), **_LARGE, class_token=True, drop_path=0.75, head_dropout=0.5),
    # As MaskFeat fine-tunes them (arXiv 2112.09133; SlowFast, k400_MVITv2_{S,L}_16x4_FT): the mean over the map is
    # classified, and the width grows in the MLP.
    "mvitv2_small_mean_16x224": replace(
        _V2, **_clip(16), depths=_B16, expansion="mlp", norm_after_mean=True, drop_path=0.1
    ),
    "mvitv2_large_mean_16x224": replace(
        _V2, **_clip(16), **_LARGE, expansion="mlp", norm_after_mean=True, drop_path=0.2
    ),
    "mvit_micro_32": replace(
        _V2, **_MICRO, input_size=(32, 32), patch_size=(2, 2), patch_kernel=(3, 3), query_pooling="strided",
        positions="absolute", query_residual=False, expansion="mlp", class_token=True,
    ),
    "mvitv2_micro_32": replace(_V2, **_MICRO, input_size=(32, 32), patch_size=(2, 2), patch_kernel=(3, 3)),
    "mvitv2_micro_64": replace(_V2, **_MICRO, input_size=(64, 64)),
    "mvitv2_micro_16x64": replace(
        _V2, **_MICRO, input_size=(16, 64, 64), patch_size=(2, 4, 4), patch_kernel=(3, 7, 7), query_stride=(1, 2, 2),
        key_stride=(1, 4, 4),
    ),
}  # fmt: skip
