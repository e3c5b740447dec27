"""NesT: nested local transformers whose blocks are aggregated, level by level, into one.

Zhang et al., "Nested Hierarchical Transformer: Towards Accurate, Data-Efficient and Interpretable Visual
Understanding", AAAI 2022, arXiv 2105.12723. Numerically the authors' Flax code: the same weights give the same
logits, levels and gradients to 1e-5.

An image becomes patches, the map of patches becomes square blocks, and self-attention never leaves its block.
Between two levels a small convolution and a max-pool on the whole image plane let neighbouring blocks interact, and
merge every four of them, so that the blocks form a tree with one block at the root.
"""

from __future__ import annotations

from itertools import accumulate
from math import isqrt, prod
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.models.layers.attention import attend
from hvit.models.layers.blocks import DropPath, drop_path_rates, truncated_normal_
from hvit.models.layers.encoder import Encoder
from hvit.models.layers.grids import (
    PositionResize,
    batch_to_tiles,
    blocks_to_grid,
    grid_to_blocks,
    grid_to_units,
    merge_pairs,
    resize_blocks,
    tiles_to_batch,
)
from hvit.models.layers.linear import Mlp, apply, is_hooked, is_plain
from hvit.models.layers.masking import (
    Mask,
    check_mask,
    fill_masked,
    place_units,
    spread_mask,
    visible_units,
    zero_masked,
)
from hvit.models.nest.config import AttentionKind, NestConfig
from hvit.models.sizes import class_count, head_of


class Attention(nn.Module):
    """Self-attention among the tokens of one block; every block uses the same weights.

    With kind "multi_query" all heads share one key and one value (arXiv 1911.02150). The rows of `qkv` are all
    queries, then keys, then values, each head after head.
    """

    def __init__(self, dim: int, heads: int, kind: AttentionKind) -> None:
        super().__init__()
        self.heads = heads
        self.key_heads = heads if kind == "multi_head" else 1
        self.qkv = nn.Linear(dim, dim + 2 * self.key_heads * (dim // heads))
        self.proj = nn.Linear(dim, dim)

    def forward(self, blocks: Tensor) -> Tensor:
        """blocks: (batch, blocks, tokens, dim). Returns the same shape."""
        batch, count, tokens, dim = blocks.shape
        width = dim // self.heads
        # Blocks join the batch, by views.
        parts = self.heads + 2 * self.key_heads
        qkv = apply(self.qkv, blocks).view(batch * count, tokens, parts, width).transpose(1, 2)
        q, k, v = qkv.split([self.heads, self.key_heads, self.key_heads], dim=1)
        if self.key_heads != self.heads:
            k, v = k.expand_as(q), v.expand_as(q)
        mixed = attend(q, k, v)
        return apply(self.proj, mixed.transpose(1, 2).reshape(batch, count, tokens, dim))


class TransformerLayer(nn.Module):
    """One pre-norm transformer layer inside blocks: attention, then an MLP, each on a residual branch."""

    def __init__(self, config: NestConfig, level: int, drop_path: float) -> None:
        super().__init__()
        dim = config.dims[level]
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attention = Attention(dim, config.heads[level], config.attention)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, dim * config.mlp_ratio, config.activation)
        self.drop_path = DropPath(drop_path)

    def forward(self, blocks: Tensor) -> Tensor:
        """blocks: (batch, blocks, tokens, dim). Returns the same shape."""
        blocks = blocks + self.drop_path(self.attention(self.norm1(blocks)))
        return blocks + self.drop_path(self.mlp(self.norm2(blocks)))


class _Function(NamedTuple):
    """An aggregation function: convolution (0: none), its stride, norm, and pooling."""

    kernel: int
    stride: int = 1
    norm: bool = False
    pool: Literal["max", "average", "none"] = "none"


_FUNCTIONS: dict[str, _Function] = {
    "conv3_norm_max3": _Function(3, norm=True, pool="max"),
    "conv3_norm_avg3": _Function(3, norm=True, pool="average"),
    "conv1_norm_max3": _Function(1, norm=True, pool="max"),
    "conv5_norm_max3": _Function(5, norm=True, pool="max"),
    "max3": _Function(0, pool="max"),
    "strided_conv3": _Function(3, stride=2),
}


class ConvolutionPool(nn.Module):
    """Halves a feature map by convolution, norm and 3 x 3 pooling with stride 2, or by the parts that `function` names.

    Padding is "SAME" of the official code: nothing before and one after an even side, so that output i of the
    pooling sees inputs 2i .. 2i + 2. Without a convolution a linear layer after the pooling changes the width.
    """

    def __init__(self, dim: int, next_dim: int, function: str, padding: Literal["same", "symmetric"]) -> None:
        super().__init__()
        self.kernel, self.stride, norm, self.pool = _FUNCTIONS[function]
        self.padding = 1 if padding == "symmetric" else 0
        self.convolution: nn.Module = nn.Identity()
        self.widen: nn.Module = nn.Identity()
        if self.kernel:
            outside = self.kernel // 2 if self.stride == 1 else self.padding
            self.convolution = nn.Conv2d(dim, next_dim, self.kernel, self.stride, outside)
        elif dim != next_dim:
            self.widen = nn.Linear(dim, next_dim)
        self.norm = nn.LayerNorm(next_dim, eps=1e-6) if norm else nn.Identity()

    def forward(self, feature_map: Tensor, seen: Tensor | None = None) -> Tensor:
        """feature_map: (batch, 2 * rows, 2 * columns, dim). Returns (batch, rows, columns, next_dim).

        seen: bool (batch, 2 * rows, 2 * columns), False where the map is zero because nothing was computed: pooling
        then sees nothing there, as outside the map.
        """
        maps = feature_map.permute(0, 3, 1, 2)
        if self.stride == 2 and not self.padding:
            maps = F.pad(maps, (0, 1, 0, 1))
        return self.after_convolution(self.convolution(maps).permute(0, 2, 3, 1), seen)

    def after_convolution(self, convolved: Tensor, seen: Tensor | None = None) -> Tensor:
        """The rest of `forward`, from the convolution's result with channels last."""
        maps = self.norm(convolved).permute(0, 3, 1, 2)
        if self.pool != "none":
            maps = self._pool(maps) if seen is None else self._pool_seen(maps, seen[:, None])
        return apply(self.widen, maps.permute(0, 2, 3, 1))

    def _pool(self, maps: Tensor) -> Tensor:
        # ceil_mode lets the last window hang one over the edge: SAME padding without a padded copy.
        if self.pool == "max":
            return F.max_pool2d(maps, 3, 2, self.padding, ceil_mode=not self.padding)
        return F.avg_pool2d(maps, 3, 2, self.padding, ceil_mode=not self.padding, count_include_pad=False)

    def _pool_seen(self, maps: Tensor, seen: Tensor) -> Tensor:
        if self.pool == "max":
            pooled = self._pool(maps.masked_fill(~seen, -torch.inf))
            return pooled.masked_fill(pooled == -torch.inf, 0.0)
        share = self._pool(seen.to(maps.dtype))
        return self._pool(maps * seen) / share.clamp_min(1 / 9)


class PatchMerge(nn.Module):
    """Halves a feature map by concatenating 2 x 2 tokens, a norm and a linear layer (Swin, arXiv 2103.14030)."""

    def __init__(self, dim: int, next_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim, eps=1e-6)
        self.reduction = nn.Linear(4 * dim, next_dim)

    def forward(self, feature_map: Tensor, seen: Tensor | None = None) -> Tensor:
        """feature_map: (batch, 2 * rows, 2 * columns, dim). Returns (batch, rows, columns, next_dim).

        seen: as for `ConvolutionPool`; nothing is to be done for it, four tokens of one block become one.
        """
        return apply(self.reduction, self.norm(merge_pairs(feature_map)))


class BlockAggregation(nn.Module):
    """Merges every four blocks into one: on the image plane (section 3 of the paper), inside each group of four blocks
    that become one (the parent plane), or inside every block."""

    def __init__(self, config: NestConfig, level: int) -> None:
        super().__init__()
        dim, next_dim = config.dims[level - 1], config.dims[level]
        side = config.block_side
        self.tile = {"image": None, "parent": 2 * side, "block": side}[config.aggregation_plane]
        self.function: nn.Module = (
            PatchMerge(dim, next_dim)
            if config.aggregation == "merge2"
            else ConvolutionPool(dim, next_dim, config.aggregation, config.pool_padding)
        )

    def forward(self, feature_map: Tensor, seen: Tensor | None = None) -> Tensor:
        """feature_map: (batch, 2 * rows, 2 * columns, dim). Returns (batch, rows, columns, next_dim).

        seen: as for `ConvolutionPool`, on the image plane only.
        """
        if self.tile is None:
            return self.function(feature_map, seen)
        return batch_to_tiles(self.function(tiles_to_batch(feature_map, self.tile)), feature_map.shape[1] // self.tile)


class Hierarchy(nn.Module):
    """One level of the tree: aggregation of the level below (except at the bottom), positions, transformer layers."""

    def __init__(self, config: NestConfig, level: int, drop_paths: list[float]) -> None:
        super().__init__()
        self.side = config.block_shape
        blocks = 4 ** (len(config.depths) - 1 - level)
        self.aggregation = BlockAggregation(config, level) if level else nn.Identity()
        self.positions = nn.Parameter(torch.zeros(1, blocks, prod(self.side), config.dims[level]))
        self.layers = nn.Sequential(*(TransformerLayer(config, level, rate) for rate in drop_paths))

    def forward(self, below: Tensor, exists: Tensor | None = None, seen: Tensor | None = None) -> Tensor:
        """below: the map of the level below, (batch, rows, columns, dim). Returns blocks (batch, blocks, tokens, dim).

        exists, seen: where some tokens exist only, as many in every block, or in the first level whole blocks: bool,
        where tokens exist on that map (batch, rows, columns), and on this level's. Map and blocks are zero where
        nothing exists.
        """
        if exists is None or seen is None:
            return self.layers(grid_to_blocks(self.aggregation(below), self.side) + self.positions)
        joined = below if isinstance(self.aggregation, nn.Identity) else self.aggregation(below, exists)
        blocks = grid_to_blocks(joined, self.side) + self.positions
        exist = grid_to_blocks(seen[..., None], self.side)[..., 0]
        rows = int(exist[:1].any(-1).sum())
        many = int(exist[:1].sum()) // max(rows, 1)
        tokens = self.layers(blocks[exist].view(len(blocks), rows, many, blocks.shape[-1]))
        laid = tokens.new_zeros(blocks.shape)
        laid[exist] = tokens.flatten(0, 2)
        return laid


class Nest(Encoder):
    """The nested hierarchical transformer, as a classifier.

    The feature map of a level is that before the next aggregation, (batch, rows, columns, dim), of which a block has
    `block_shape` and there are 2 ** (levels above) along both axes; the last one is after the final norm. Mask units
    are the blocks of the first level. In sparse encoding the same number of every two by two blocks is visible;
    aggregation sees zeros where a block is masked, and visible neighbours as they are.
    """

    config: NestConfig
    position_resizes = ("plane", "block")

    def __init__(self, config: NestConfig) -> None:
        super().__init__()
        self.config = config
        rates = drop_path_rates(config.drop_path, sum(config.depths))
        ends = list(accumulate(config.depths))
        self.patch_embed = nn.Conv2d(config.in_channels, config.dims[0], config.patch_size, config.patch_size)
        self.hierarchies = nn.ModuleList(
            Hierarchy(config, level, rates[end - depth : end])
            for level, (end, depth) in enumerate(zip(ends, config.depths, strict=True))
        )
        self.norm = nn.LayerNorm(config.dims[-1], eps=1e-6)
        self.head = head_of(config.dims[-1], class_count(config))
        self.initialise()

    def initialise(self) -> None:
        """Random initialisation as published.

        | what | how |
        | --- | --- |
        | kernels, position embeddings, head | normal, std 0.02, cut at two standard deviations |
        | biases | 0 |
        | norm scales | 1 |
        """
        for name, parameter in self.named_parameters():
            if name.endswith("positions") or parameter.ndim > 1:
                truncated_normal_(parameter)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.ones_(parameter)

    def level_sizes(self, level: int) -> tuple[int, ...]:
        """Rows and columns of the feature map of a level."""
        return tuple(tokens * 2 ** (len(self.config.depths) - 1 - level) for tokens in self.config.block_shape)

    def _first_level(self, images: Tensor, mask: Mask | None) -> Tensor:
        images = self.check_images(images)
        if mask is not None:
            self._check_mask(mask, images.shape[0])
            images = zero_masked(images, mask.visible)
        tokens = self.patch_embed(images).permute(0, 2, 3, 1)
        if mask is None or mask.token is None:
            return self._run_level(0, tokens, None if mask is None else mask.visible)
        return self._run_level(0, fill_masked(tokens, mask.visible, mask.token), None)

    def _next_level(self, level: int, below: Tensor, visible: Tensor | None) -> Tensor:
        return self._run_level(level, below if visible is None else place_units(below, visible), visible)

    def _run_level(self, level: int, below: Tensor, visible: Tensor | None) -> Tensor:
        """A level's feature map, from the whole map below, which is zero where no block is visible."""
        if visible is None:
            blocks = self.hierarchies[level](below)
        else:
            exists = spread_mask(visible, tuple(below.shape[1:3]))
            blocks = self.hierarchies[level](below, exists, exists[:, ::2, ::2] if level else exists)
        if level == len(self.hierarchies) - 1:
            blocks = self.norm(blocks)
        grid = blocks_to_grid(blocks, self.config.block_shape)
        return grid if visible is None else visible_units(grid_to_units(grid, self.config.unit_side(level)), visible)

    def _check_mask(self, mask: Mask, batch: int) -> None:
        """Refuses (UserError) a mask that does not fit, and in sparse encoding blocks that cannot be computed alone."""
        config = self.config
        side = 2 ** (len(config.depths) - 1)
        check_mask(mask, batch, (side, side), self.level_sizes(0), config.dims[0])
        if not mask.is_sparse:
            return
        if config.unit_size is None:
            raise UserError(
                f"NesT computes whole blocks alone only where they are whole tokens in every level; blocks of "
                f"{config.block_shape[0]} x {config.block_shape[1]} tokens are not"
            )
        visible = mask.visible
        fours = visible.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).sum((2, 4)) if side > 1 else visible.sum((1, 2))
        if fours.numel() and int(fours.min()) != int(fours.max()):
            raise UserError(
                "the mask must leave as many blocks of every two by two visible: all nodes of the tree are alike"
            )

    def convolution_of(self, level: int) -> nn.Conv2d | None:
        """The convolution, of stride 1, by which a level begins to read the map below on the image plane, if it does.

        As a convolution is linear, what it makes of a map that is put together is the sum of what it makes of the parts
        (see `levels_from_convolution`). None where the level begins otherwise, or the layer is not torch's own.
        """
        aggregation = self.hierarchies[level].aggregation
        if not isinstance(aggregation, BlockAggregation) or aggregation.tile is not None:
            return None
        function = aggregation.function
        if not isinstance(function, ConvolutionPool) or function.stride != 1 or is_hooked(function):
            return None
        convolution = function.convolution
        return convolution if is_plain(convolution, nn.Conv2d) else None  # pyright: ignore[reportReturnType]

    def levels_from_convolution(self, level: int, convolved: Tensor) -> list[Tensor]:
        """The feature maps of a level and those above, as `levels_from`, where `convolution_of` the level was computed.

        convolved: (batch, rows, columns, dim), what the convolution makes of the map of the level below.
        """
        hierarchy = cast(Hierarchy, self.hierarchies[level])
        function = cast(ConvolutionPool, cast(BlockAggregation, hierarchy.aggregation).function)
        joined = function.after_convolution(convolved)
        blocks = hierarchy.layers(grid_to_blocks(joined, hierarchy.side) + hierarchy.positions)
        last = level == len(self.hierarchies) - 1
        feature_map = blocks_to_grid(self.norm(blocks) if last else blocks, hierarchy.side)
        return [feature_map, *self._levels_above(level, feature_map, None)]

    def classify(self, last_map: Tensor) -> Tensor:
        """Logits (batch, num_classes): a linear head on the mean of the last map (batch, rows, columns, dim)."""
        return self.head(self.pool(last_map))

    def pool(self, last_map: Tensor) -> Tensor:
        """The mean over the last feature map: (batch, dim)."""
        return last_map.mean(dim=(1, 2))

    def resize_positions(self, name: str, tensor: Tensor, shape: tuple[int, ...], how: PositionResize) -> Tensor | None:
        """As `Encoder.resize_positions`; "plane" as timm, "block" as the official code (see `grids.resize_blocks`)."""
        old = tuple(tensor.shape)
        if not name.endswith(".positions") or len(old) != 4 or (old[:2], old[3]) != (shape[:2], shape[3]):
            return None
        return resize_blocks(tensor, self.config.block_shape, how) if isqrt(old[2]) ** 2 == old[2] else None

    def level_of(self, parameter_name: str) -> int:
        """Depth of a parameter: 0 the stem, i + 1 layer i counted from the image, one more the norm and head."""
        parts = parameter_name.split(".")
        if parts[0] == "patch_embed":
            return 0
        if parts[0] != "hierarchies":
            return sum(self.config.depths) + 1
        level = int(parts[1])
        before = sum(self.config.depths[:level])
        if parts[2] == "layers":
            return before + int(parts[3]) + 1
        return before + 1 if level else 0
