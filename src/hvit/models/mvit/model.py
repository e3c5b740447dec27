"""MViT and MViTv2: multiscale vision transformers with pooling attention, for images and clips.

Fan et al., "Multiscale Vision Transformers", ICCV 2021, arXiv 2104.11227; Li et al., "MViTv2: Improved Multiscale
Vision Transformers for Classification and Detection", CVPR 2022, arXiv 2112.01526. Numerically the authors' PyTorch
code. The same blocks, with their parts taken away one by one, are the path to Hiera ("Hiera: A Hierarchical Vision
Transformer without the Bells-and-Whistles", ICML 2023, arXiv 2306.00989, Table 1): see `simplification`.

Queries, keys and values are pooled before attention: pooled keys and values make it affordable on fine feature
maps, pooled queries shorten the sequence from level to level while the width grows.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.models.layers.attention import attend
from hvit.models.layers.blocks import Dropout, DropPath, drop_path_rates, truncated_normal_
from hvit.models.layers.encoder import Encoder
from hvit.models.layers.grids import (
    PositionResize,
    channels_last,
    grid_to_units,
    resize_plane,
    units_to_grid,
)
from hvit.models.layers.linear import Mlp, apply, split_rows
from hvit.models.layers.masking import Mask, check_mask, fill_masked, visible_units, zero_masked
from hvit.models.mvit.config import Axes, BlockPlan, MvitConfig, Pooling, plan_blocks
from hvit.models.mvit.pooling import PoolFunction, pool_projections, pool_tokens
from hvit.models.mvit.relative import attend_relative
from hvit.models.sizes import class_count, head_of


class Attention(nn.Module):
    """Pooling attention: self-attention whose queries, keys and values are pooled first (arXiv 2104.11227, 3.1)."""

    applied_in_parts = ("qkv",)

    def __init__(self, config: MvitConfig, plan: BlockPlan) -> None:
        super().__init__()
        dim, width = plan.dim_attention, plan.dim_attention // plan.heads
        self.plan = plan
        self.extra = int(config.class_token)
        self.query_residual = config.query_residual
        self.class_token_residual = config.class_token_residual
        self.kind: PoolFunction = "max_zero" if config.pool == "max" and config.max_padding == "zero" else config.pool
        self.qkv = nn.Linear(plan.dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.pool_q, self.norm_q = self._pool_layers(width, plan.query_pooling)
        self.pool_k, self.norm_k = self._pool_layers(width, plan.key_pooling)
        self.pool_v, self.norm_v = self._pool_layers(width, plan.key_pooling)
        self.relative = config.positions == "relative"
        if self.relative:
            *time, rows, columns = (nn.Parameter(torch.zeros(length, width)) for length in plan.tables)
            if time:
                self.relative_time_positions = time[0]
            self.relative_row_positions = rows
            self.relative_column_positions = columns

    def _pool_layers(self, width: int, pooling: Pooling | None) -> tuple[nn.Module | None, nn.Module | None]:
        """The depthwise convolution and the norm of a pooling; None where it has none to learn."""
        if pooling is None or self.kind != "conv":
            return None, None
        convolution = nn.Conv2d if len(self.plan.grid) == 2 else nn.Conv3d
        kernel, stride, padding = pooling
        pool = convolution(width, width, kernel, stride, padding, groups=width, bias=False)  # pyright: ignore[reportArgumentType]
        return pool, nn.LayerNorm(width, eps=1e-6)

    def pool_queries(self, tokens: Tensor, units: int) -> tuple[Tensor, Axes]:
        """tokens: (batch, tokens, dim). Returns (batch, pooled tokens, 1, heads, width), and the new grid."""
        plan, layers, norms = self.plan, [self.pool_q], [self.norm_q]
        grid, pooling = plan.grid, plan.query_pooling
        return pool_projections(tokens, self.extra, units, grid, pooling, self.kind, plan.heads, layers, norms)

    def pool_keys_values(self, tokens: Tensor, units: int) -> tuple[Tensor, Axes]:
        """tokens: (batch, tokens, 2 * dim). Returns (batch, pooled tokens, 2, heads, width), and the new grid."""
        plan, layers, norms = self.plan, [self.pool_k, self.pool_v], [self.norm_k, self.norm_v]
        grid, pooling = plan.grid, plan.key_pooling
        return pool_projections(tokens, self.extra, units, grid, pooling, self.kind, plan.heads, layers, norms)

    def forward(self, tokens: Tensor, units: int) -> tuple[Tensor, Axes]:
        """tokens: (batch, class token + units * prod(grid), dim). Returns the same with the new grid, and that grid."""
        plan, extra, dim = self.plan, self.extra, self.plan.dim_attention
        queries, keys_values = split_rows(self.qkv, tokens, (dim, 2 * dim))
        queries, grid = self.pool_queries(queries, units)
        keys_values, key_grid = self.pool_keys_values(keys_values, units)
        if plan.unit_attention:
            queries, keys_values = (part.unflatten(1, (units, -1)).flatten(0, 1) for part in (queries, keys_values))
        (q,), (k, v) = queries.unbind(2), keys_values.unbind(2)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        if self.relative:
            time = [self.relative_time_positions] if len(grid) == 3 else []
            tables = (*time, self.relative_row_positions, self.relative_column_positions)
            mixed = attend_relative(q, k, v, tables, extra, grid, key_grid)
        else:
            mixed = attend(q, k, v)
        if self.query_residual and (not extra or self.class_token_residual):
            mixed = mixed + q
        elif self.query_residual:
            mixed = torch.cat((mixed[:, :, :extra], mixed[:, :, extra:] + q[:, :, extra:]), 2)
        tokens = mixed.transpose(1, 2).flatten(2)
        return apply(self.proj, tokens.unflatten(0, (-1, units)).flatten(1, 2) if plan.unit_attention else tokens), grid


class Block(nn.Module):
    """Pooling attention and an MLP, each pre-normed and on a residual branch; the skip is pooled and widened, too."""

    def __init__(self, config: MvitConfig, plan: BlockPlan, drop_path: float) -> None:
        super().__init__()
        self.plan = plan
        self.extra = int(config.class_token)
        self.skip_kind: PoolFunction = "max_zero" if config.max_padding == "zero" else "max"
        self.widens_first = plan.dim != plan.dim_attention
        self.widens_last = plan.dim_attention != plan.dim_out
        self.norm1 = nn.LayerNorm(plan.dim, eps=1e-6)
        self.attention = Attention(config, plan)
        self.norm2 = nn.LayerNorm(plan.dim_attention, eps=1e-6)
        self.mlp = Mlp(plan.dim_attention, plan.dim_attention * config.mlp_ratio, "gelu", plan.dim_out)
        if self.widens_first or self.widens_last:
            self.widen = nn.Linear(plan.dim, plan.dim_out)
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor, units: int) -> tuple[Tensor, Axes]:
        """tokens: (batch, class token + units * prod(grid), dim). Returns the same with the new grid, and that grid."""
        normed = self.norm1(tokens)
        mixed, grid = self.attention(normed, units)
        skip = apply(self.widen, normed) if self.widens_first else tokens
        if self.plan.skip_pooling:
            pooling = self.plan.skip_pooling
            skip, _ = pool_tokens(skip, self.extra, units, self.plan.grid, pooling, self.skip_kind)
        tokens = skip + self.drop_path(mixed)
        normed = self.norm2(tokens)
        skip = apply(self.widen, normed) if self.widens_last else tokens
        return skip + self.drop_path(self.mlp(normed)), grid


class Mvit(Encoder):
    """The multiscale vision transformer, as a classifier.

    The last feature map is after the final norm, unless that follows the mean (`norm_after_mean`).
    """

    config: MvitConfig

    def __init__(self, config: MvitConfig) -> None:
        super().__init__()
        self.config = config
        dim, rank = config.dims[0], len(config.input_size)
        convolution = nn.Conv2d if rank == 2 else nn.Conv3d
        padding = tuple(side // 2 for side in config.patch_kernel)
        self.patch_embed = convolution(
            config.in_channels,
            dim,
            config.patch_kernel,  # pyright: ignore[reportArgumentType]  (tuples of two or three, as the rank is)
            config.patch_size,  # pyright: ignore[reportArgumentType]
            padding,  # pyright: ignore[reportArgumentType]
        )
        if config.class_token:
            self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        if config.positions == "absolute":
            self.positions = nn.Parameter(torch.zeros(1, *config.token_grid[-2:], dim))
            if rank == 3:
                self.temporal_positions = nn.Parameter(torch.zeros(1, config.token_grid[0], dim))
            if config.class_token:
                self.class_positions = nn.Parameter(torch.zeros(1, 1, dim))
        self.norm_follows_mean = config.norm_after_mean
        if any(config.unit_attention):
            self.position_resizes = ("unit", "plane")
        rates = drop_path_rates(config.drop_path, sum(config.depths))
        self.plans = plan_blocks(config)
        self.blocks = nn.ModuleList(Block(config, *sizes) for sizes in zip(self.plans, rates, strict=True))
        self.norm = nn.LayerNorm(config.dims[-1], eps=1e-6)
        self.dropout = Dropout(config.head_dropout)
        self.head = head_of(config.dims[-1], class_count(config))
        self.initialise()

    def initialise(self) -> None:
        """Random initialisation as published ("normal"), or by their fan ("xavier").

        | what | normal | xavier |
        | --- | --- | --- |
        | linear weights, stem | normal, std 0.02, cut at two standard deviations | uniform by fan-in plus fan-out |
        | pooling kernels, positions, class token | normal, as above | normal, as above |
        | biases of linear layers and norms | 0.02 | 0 |
        | bias of the stem | as PyTorch draws it | the same |
        | norm scales | 1 | 1 |

        The micro sizes are "xavier": at their widths std 0.02 lets too little of the image through to train on.
        """
        xavier = self.config.initialisation == "xavier"
        for name, parameter in self.named_parameters():
            drawn = name.endswith(("positions", "class_token")) or ".pool_" in name
            if xavier and parameter.ndim > 1 and not drawn:
                nn.init.xavier_uniform_(parameter.detach().flatten(1))
            elif drawn or parameter.ndim > 1:
                truncated_normal_(parameter)
            elif name.endswith("weight"):
                nn.init.ones_(parameter)
            elif name != "patch_embed.bias":
                nn.init.constant_(parameter, 0.0 if xavier else 0.02)

    @property
    def level_dims(self) -> tuple[int, ...]:
        """Width of the feature map of each level, fine to coarse: the next level's where the MLP widens."""
        dims = self.config.dims
        return (*dims[1:], dims[-1]) if self.config.expansion == "mlp" else dims

    def encode(self, images: Tensor, mask: Mask | None = None) -> tuple[list[Tensor], Tensor | None]:
        """The levels (see `levels`), and the class token (batch, dim) after the final norm where the model has one."""
        feature_map, token = self._stem(images, mask)
        feature_maps, sparse = [], mask is not None and mask.is_sparse
        for level in range(len(self.config.depths)):
            feature_map, token = self._run_level(level, feature_map, token, sparse)
            feature_maps.append(feature_map)
        return feature_maps, token

    def level_sizes(self, level: int) -> tuple[int, ...]:
        """Positions along every axis of the feature map of a level."""
        sides = zip(self.config.unit_grid, self.config.unit_side(level), strict=True)
        return tuple(count * side for count, side in sides)

    def _run_level(self, level: int, below: Tensor, token: Tensor | None, sparse: bool) -> tuple[Tensor, Tensor | None]:
        """A level's feature map and class token (batch, dim), from the feature map and class token below."""
        config, start = self.config, sum(self.config.depths[:level])
        units = below if sparse else grid_to_units(below, self.plans[start].grid)
        tokens, side = units.flatten(1, -2), self.plans[start].grid
        count = units.shape[1] if sparse else prod(config.unit_grid)
        if token is not None:
            tokens = torch.cat((token[:, None], tokens), 1)
        for number in range(start, start + config.depths[level]):
            tokens, side = self.blocks[number](tokens, count)
        if level == len(config.depths) - 1 and not config.norm_after_mean:
            tokens = self.norm(tokens)
        if token is not None:
            token, tokens = tokens[:, 0], tokens[:, 1:]
        units = tokens.unflatten(1, (count, *side))
        return units if sparse else units_to_grid(units, config.unit_grid), token

    def _stem(self, images: Tensor, mask: Mask | None) -> tuple[Tensor, Tensor | None]:
        """The tokens as a feature map, of visible units only in sparse encoding, and the class token (batch, dim)."""
        config = self.config
        images = self.check_images(images)
        if mask is not None:
            check_mask(mask, images.shape[0], config.unit_grid, config.token_grid, config.dims[0])
            if config.unit_size is None and mask.is_sparse:
                raise UserError(
                    "this model's pooling crosses mask units, so that it has no sparse encoding; give the mask a token"
                )
            images = zero_masked(images, mask.visible)
        grid = channels_last(self.patch_embed(images))
        if mask is not None and mask.token is not None:
            grid = fill_masked(grid, mask.visible, mask.token)
        if config.positions == "absolute" and len(config.input_size) == 2:
            grid = grid + self.positions
        elif config.positions == "absolute":
            grid = grid + (self.positions[:, None] + self.temporal_positions[:, :, None, None])
        if mask is not None and mask.is_sparse:
            grid = visible_units(grid_to_units(grid, config.unit_size or config.token_grid), mask.visible)
        if not config.class_token:
            return grid, None
        token = self.class_token + self.class_positions if config.positions == "absolute" else self.class_token
        return grid, token[:, 0].expand(images.shape[0], -1)

    def levels(self, images: Tensor, mask: Mask | None = None) -> list[Tensor]:
        """As `Encoder.levels`; a sparse mask is for models with mask units (UserError for others)."""
        return self.encode(images, mask)[0]

    def levels_from(self, level: int, feature_map: Tensor) -> list[Tensor]:
        """As `Encoder.levels_from`, for models without a class token (UserError for others)."""
        if self.config.class_token:
            raise UserError(
                "this model classifies a class token, which is no part of a feature map, so that the levels above a "
                "feature map cannot be run alone; use a model whose class_token is False"
            )
        return super().levels_from(level, feature_map)

    def _first_level(self, images: Tensor, mask: Mask | None) -> Tensor:
        return self._run_level(0, *self._stem(images, mask), mask is not None and mask.is_sparse)[0]

    def _next_level(self, level: int, below: Tensor, visible: Tensor | None) -> Tensor:
        return self._run_level(level, below, None, visible is not None)[0]

    def classify(self, last_map: Tensor, class_token: Tensor | None = None) -> Tensor:
        """Logits (batch, num_classes) of the last feature map (batch, *sizes, dim), or of the class token (batch, dim).

        A model with a class token needs that, as `encode` gives it (UserError).
        """
        if self.config.class_token:
            if class_token is None:
                raise UserError("this model classifies its class token, which `encode` returns with the levels")
            return self.head(self.dropout(class_token))
        return self.head(self.pool(last_map))

    def pool(self, last_map: Tensor) -> Tensor:
        """The mean over the last feature map after norm and dropout: (batch, dim); of models without a class token."""
        pooled = last_map.flatten(1, -2).mean(1)
        return self.dropout(self.norm(pooled) if self.config.norm_after_mean else pooled)

    def forward_features(self, images: Tensor) -> Tensor:
        """As `Encoder.forward_features`; with a class token (batch, 1 + positions, dim), the class token first."""
        feature_maps, token = self.encode(images)
        if token is None:
            return feature_maps[-1]
        return torch.cat((token[:, None], feature_maps[-1].flatten(1, -2)), 1)

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """As `Encoder.forward_head`."""
        pooled = self.dropout(features[:, 0]) if self.config.class_token else self.pool(features)
        return pooled if pre_logits else self.head(pooled)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, num_classes) of images (batch, channels, *input_size), never softmaxed."""
        feature_maps, token = self.encode(images)
        return self.classify(feature_maps[-1], token)

    def resize_positions(self, name: str, tensor: Tensor, shape: tuple[int, ...], how: PositionResize) -> Tensor | None:
        """As `Encoder.resize_positions`: maps bicubic (or window by window, "unit"), lines and tables linear."""
        old = tuple(tensor.shape)
        if not name.endswith("positions") or len(old) != len(shape) or old[-1] != shape[-1]:
            return None
        if len(old) == 2:
            return resize_plane(tensor[None], shape[:1])[0]
        unit = self.config.unit_size[-2:] if how == "unit" and len(old) == 4 and self.config.unit_size else None
        if unit and any(side % step for side, step in zip(old[1:3], unit, strict=True)):
            return None
        return resize_plane(tensor, shape[1:-1], unit)

    def level_of(self, parameter_name: str) -> int:
        """Depth of a parameter: 0 the stem, i + 1 block i, one more the norm and head."""
        parts = parameter_name.split(".")
        if parts[0] == "blocks":
            return int(parts[1]) + 1
        return sum(self.config.depths) + 1 if parts[0] in ("norm", "head") else 0
