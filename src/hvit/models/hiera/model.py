"""Hiera: a hierarchical vision transformer without the bells and whistles.

Ryali et al., ICML 2023, arXiv 2306.00989; its absolute-window positions are those of Bolya et al., "Window Attention
is Bugged", arXiv 2311.05613. Numerically the authors' code (and timm's, and SAM 2's image encoder at the sizes below):
the same weights give the same logits, levels and gradients to 1e-5.

An image or a clip becomes tokens, and the token grid becomes mask units. Tokens are ordered so that a unit's own lie
together and every pooling is a maximum over one axis; nothing but attention crosses a unit's border. So units can be
dropped before the first layer, which makes masked pretraining fast.
"""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvit.models.hiera.config import HieraConfig
from hvit.models.layers.attention import attend
from hvit.models.layers.blocks import Dropout, DropPath, drop_path_rates, truncated_normal_
from hvit.models.layers.encoder import Encoder
from hvit.models.layers.grids import (
    PositionResize,
    channels_last,
    reroll,
    resize_plane,
    unit_windows,
    unroll,
    unroll_units,
    window_plane,
)
from hvit.models.layers.linear import Mlp, apply, is_plain
from hvit.models.layers.masking import Mask, check_mask, fill_masked, zero_masked
from hvit.models.sizes import class_count, head_of


def _pool(units: Tensor, window: int) -> Tensor:
    """The maximum over the slowest part of the tokens: (batch, units, tokens, ...) -> tokens / window."""
    return units.unflatten(2, (window, -1)).amax(2) if window > 1 else units


class UnitAttention(nn.Module):
    """Self-attention inside mask units or among all tokens, with queries that may be max-pooled.

    The rows of `qkv` are all queries, then keys, then values, each head after head.
    """

    def __init__(self, dim: int, next_dim: int, heads: int, window: int, inside_units: bool) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.inside_units = inside_units
        self.qkv = nn.Linear(dim, 3 * next_dim)
        self.proj = nn.Linear(next_dim, next_dim)

    def forward(self, units: Tensor) -> Tensor:
        """units: (batch, units, tokens, dim). Returns (batch, units, tokens / window, next_dim)."""
        batch, count, tokens, _ = units.shape
        rows = batch * count if self.inside_units else batch
        # Units join the batch, by views.
        qkv = apply(self.qkv, units)
        width = qkv.shape[-1] // (3 * self.heads)
        q, k, v = qkv.view(batch, count, tokens, 3, self.heads, width).unbind(3)
        q = _pool(q, self.window)
        joined = 1 if self.inside_units else count
        q, k, v = (part.reshape(rows, joined * part.shape[2], self.heads, width).transpose(1, 2) for part in (q, k, v))
        mixed = attend(q, k, v)
        return apply(self.proj, mixed.transpose(1, 2).reshape(batch, count, tokens // self.window, self.heads * width))


class HieraLayer(nn.Module):
    """One pre-norm transformer layer; the first of a level pools the queries and widens the tokens."""

    def __init__(self, config: HieraConfig, level: int, first: bool, drop_path: float) -> None:
        super().__init__()
        grows = first and level > 0
        dim, next_dim = config.dims[level - grows], config.dims[level]
        self.window = prod(config.query_stride) if grows and level <= config.query_pools else 1
        self.mean_max = config.expansion == "mean_max" and dim != next_dim
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attention = UnitAttention(
            dim, next_dim, config.heads[level], self.window, config.unit_attention[level - grows]
        )
        self.norm2 = nn.LayerNorm(next_dim, eps=1e-6)
        self.mlp = Mlp(next_dim, next_dim * config.mlp_ratio, "gelu")
        self.widen = nn.Linear(dim, next_dim) if dim != next_dim and not self.mean_max else None
        self.scale1 = nn.Parameter(torch.empty(next_dim)) if config.layer_scale else None
        self.scale2 = nn.Parameter(torch.empty(next_dim)) if config.layer_scale else None
        self.drop_path = DropPath(drop_path)

    def forward(self, units: Tensor) -> Tensor:
        """units: (batch, units, tokens, dim). Returns (batch, units, tokens / window, next_dim)."""
        normed = self.norm1(units)
        units = self._skip(units, normed) + self._branch(self.attention(normed), self.scale1)
        return units + self._branch(self.mlp(self.norm2(units)), self.scale2)

    def _skip(self, units: Tensor, normed: Tensor) -> Tensor:
        if self.widen is not None:
            return _pool(apply(self.widen, normed), self.window)
        if self.mean_max:
            mean = units.unflatten(2, (self.window, -1)).mean(2)
            return torch.cat([_pool(units, self.window), mean], dim=-1)
        return _pool(units, self.window)

    def _branch(self, branch: Tensor, scale: Tensor | None) -> Tensor:
        return self.drop_path(branch if scale is None else branch * scale)


class Hiera(Encoder):
    """The hierarchical vision transformer for images and clips, as a classifier.

    The last feature map is before the mean and the norm.
    """

    config: HieraConfig
    position_resizes = ("unit", "plane")
    norm_follows_mean = True

    def __init__(self, config: HieraConfig) -> None:
        super().__init__()
        self.config = config
        rank, dim = len(config.input_size), config.dims[0]
        convolution = nn.Conv2d if rank == 2 else nn.Conv3d
        padding = tuple(kernel // 2 for kernel in config.patch_kernel)
        self.patch_embed = convolution(config.in_channels, dim, config.patch_kernel, config.patch_size, padding)  # pyright: ignore[reportArgumentType]
        time, space = config.token_grid[:-2] if rank == 3 else (), config.token_grid[-2:]
        self.positions = nn.Parameter(torch.empty(1, *(config.position_grid or space), dim))
        self.temporal_positions = nn.Parameter(torch.empty(1, *time, dim)) if time else None
        window = config.positions == "window"
        self.window_positions = nn.Parameter(torch.empty(1, *config.unit_size, dim)) if window else None
        rates = iter(drop_path_rates(config.drop_path, sum(config.depths)))
        self.blocks = nn.ModuleList(
            HieraLayer(config, level, layer == 0, next(rates))
            for level, depth in enumerate(config.depths)
            for layer in range(depth)
        )
        self.norm = nn.LayerNorm(config.dims[-1], eps=1e-6)
        self.dropout = Dropout(config.head_dropout)
        self.head = head_of(config.dims[-1], class_count(config))
        self.initialise()

    def initialise(self) -> None:
        """Initialises as published for classifiers ("normal"), or for masked autoencoders ("xavier").

        | what | normal | xavier |
        | --- | --- | --- |
        | kernels | normal, std 0.02, cut at two standard deviations | uniform by fan-in plus fan-out |
        | position embeddings | normal, as above | normal, as above |
        | biases of linear layers and norms | 0.02 | 0 |
        | bias of the stem | uniform, as convolutions have it | the same |
        | norm scales, layer scales | 1, 1e-5 | 1, 1e-5 |
        | head | normal, and bias as above, times 0.001 | the same |

        The micro sizes are "xavier": at their widths std 0.02 lets too little of the image through to train on.
        """
        xavier = self.config.initialisation == "xavier"
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if "scale" in name:
                    parameter.fill_(1e-5)
                elif xavier and parameter.ndim > 1 and not name.endswith("positions") and name != "head.weight":
                    nn.init.xavier_uniform_(parameter.flatten(1))
                elif name.endswith("positions") or parameter.ndim > 1:
                    truncated_normal_(parameter)
                elif name != "patch_embed.bias":
                    parameter.fill_(1.0 if name.endswith("weight") else 0.0 if xavier else 0.02)
            for parameter in self.head.parameters():
                parameter.mul_(0.001)

    def level_sizes(self, level: int) -> tuple[int, ...]:
        """Positions along every axis of the feature map of a level."""
        sides = zip(self.config.unit_grid, self.config.unit_side(level), strict=True)
        return tuple(count * side for count, side in sides)

    def _first_level(self, images: Tensor, mask: Mask | None) -> Tensor:
        return self._run_level(0, self._stem(images, mask), sparse=mask is not None and mask.is_sparse)

    def _next_level(self, level: int, below: Tensor, visible: Tensor | None) -> Tensor:
        strides, sparse = self.config.strides(level - 1), visible is not None
        return self._run_level(level, unroll_units(below, strides) if sparse else unroll(below, strides), sparse)

    def _run_level(self, level: int, units: Tensor, sparse: bool) -> Tensor:
        """A level's feature map, from units (batch, units, tokens, dim) unrolled for the poolings to come."""
        start = sum(self.config.depths[:level])
        for layer in range(start, start + self.config.depths[level]):
            units = self.blocks[layer](units)
        return reroll(units, self.config.strides(level), None if sparse else self.config.unit_grid)

    def classify(self, last_map: Tensor) -> Tensor:
        """Logits (batch, num_classes) of the last feature map (batch, ..., dim): mean, norm, dropout, linear head."""
        return self.head(self.pool(last_map))

    def pool(self, last_map: Tensor) -> Tensor:
        """The mean over the last feature map after norm and dropout: (batch, dim)."""
        return self.dropout(self.norm(last_map.flatten(1, -2).mean(1)))

    def level_of(self, parameter_name: str) -> int:
        """Depth of a parameter: 0 the stem and positions, i + 1 layer i, one more the norm and head."""
        parts = parameter_name.split(".")
        if parts[0] == "blocks":
            return int(parts[1]) + 1
        return sum(self.config.depths) + 1 if parts[0] in ("norm", "head") else 0

    def resize_positions(self, name: str, tensor: Tensor, shape: tuple[int, ...], how: PositionResize) -> Tensor | None:
        """As `Encoder.resize_positions`; "unit" keeps what repeats per mask unit in step (see `grids.resize_plane`).

        Positions over time are resized linearly; of window positions only the coarse map is resized.
        """
        old, size = tuple(tensor.shape), tuple(shape[1:-1])
        if len(old) != len(shape) or (old[0], old[-1]) != (shape[0], shape[-1]):
            return None
        if name == "temporal_positions":
            return resize_plane(tensor, size)
        unit = self.config.unit_size[-len(size) :]
        if name != "positions" or how == "plane" or self.config.positions == "window":
            return resize_plane(tensor, size) if name == "positions" else None
        divides = all(side % one == 0 for side, one in zip(old[1:-1], unit, strict=True))
        return resize_plane(tensor, size, unit) if divides else None

    def _stem(self, images: Tensor, mask: Mask | None) -> Tensor:
        """Images (batch, channels, *input_size) as units (batch, units, tokens, dim), all or the visible ones."""
        config = self.config
        images = self.check_images(images)
        if mask is not None:
            check_mask(mask, images.shape[0], config.unit_grid, config.token_grid, config.dims[0])
            images = zero_masked(images, mask.visible)
            if mask.is_sparse:
                return self._stem_of_visible(images, mask.visible)
        tokens = channels_last(self.patch_embed(images))
        if mask is not None and mask.token is not None:
            tokens = fill_masked(tokens, mask.visible, mask.token)
        return unroll(tokens + self._position_embedding(), config.strides(0))

    def _stem_of_visible(self, images: Tensor, visible: Tensor) -> Tensor:
        """The same for visible units only: their windows of pixels are convolved, and no others."""
        config, strides, chosen = self.config, self.config.strides(0), visible.flatten(1)
        rank = len(config.input_size)
        if is_plain(self.patch_embed, nn.Conv2d, nn.Conv3d):
            convolve = F.conv2d if rank == 2 else F.conv3d
            windows = unit_windows(images, config.unit_grid, config.patch_kernel, config.patch_size)[visible]
            tokens = channels_last(convolve(windows, self.patch_embed.weight, self.patch_embed.bias, config.patch_size))
            units = unroll(tokens, strides)[:, 0]
        else:
            units = unroll(channels_last(self.patch_embed(images)), strides)[chosen]
        positions = unroll(self._position_embedding().expand(1, *config.token_grid, -1), strides)[0]
        units = units + positions[chosen.nonzero()[:, 1]]
        return units.unflatten(0, (len(images), len(units) // max(len(images), 1)))

    def _position_embedding(self) -> Tensor:
        """The position embeddings, (1, *token_grid, dim) or of a shape that broadcasts to it."""
        if self.window_positions is not None:
            config = self.config
            return window_plane(self.positions, self.window_positions, config.token_grid, config.position_antialias)
        if self.temporal_positions is not None:
            return self.positions[:, None] + self.temporal_positions[:, :, None, None]
        return self.positions
