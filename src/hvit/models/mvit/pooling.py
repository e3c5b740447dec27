"""How tokens are pooled: queries, keys and values by their own layers, keys and values in one convolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from hvit.models.layers.grids import channels_first, channels_last, pool_grids
from hvit.models.layers.linear import is_plain
from hvit.models.layers.tracing import is_symbolic
from hvit.models.mvit.config import Axes, Pooling

PoolFunction = Literal["conv", "max", "average", "max_zero"]


def pooled_grid(grid: Axes, pooling: Pooling) -> Axes:
    """How many tokens a pooling leaves along every axis."""
    sides = zip(grid, *pooling, strict=True)
    return tuple((side + 2 * padding - kernel) // step + 1 for side, kernel, step, padding in sides)


def pool_tokens(
    tokens: Tensor,
    extra: int,
    units: int,
    grid: Axes,
    pooling: Pooling,
    kind: PoolFunction,
    weight: Tensor | None = None,
) -> tuple[Tensor, Axes]:
    """Pools the feature map of every unit by itself, and leaves `extra` class tokens before them alone.

    tokens: (batch, extra + units * prod(grid), dim). Returns the same with the new grid, and that grid.
    """
    grids = tokens[:, extra:].unflatten(1, (units, *grid)).flatten(0, 1)
    pooled = pool_grids(grids, *pooling, kind, weight)
    flat = pooled.unflatten(0, (-1, units)).flatten(1, -2)
    return torch.cat((tokens[:, :extra], flat), 1) if extra else flat, pooled_grid(grid, pooling)


def pool_projections(
    tokens: Tensor,
    extra: int,
    units: int,
    grid: Axes,
    pooling: Pooling | None,
    kind: PoolFunction,
    heads: int,
    convolutions: Sequence[nn.Module | None],
    norms: Sequence[nn.Module | None],
) -> tuple[Tensor, Axes]:
    """Pools queries, or keys and values side by side, head by head; norms follow the convolutions.

    tokens: (batch, extra class tokens + units * prod(grid), parts * dim), where a part has a convolution and a norm in
    the two lists if kind is "conv". Returns (batch, pooled tokens, parts, heads, width), and the new grid.
    """
    apart = (len(norms), heads, tokens.shape[2] // (len(norms) * heads))
    if pooling is None:
        return tokens.unflatten(2, apart), grid
    if kind != "conv":
        tokens, grid = pool_tokens(tokens, extra, units, grid, pooling, kind)
        return tokens.unflatten(2, apart), grid
    layers = [layer for layer in convolutions if layer is not None]
    weights = None if is_symbolic(tokens) else _shared_kernels(layers, pooling)  # a trace shows the layers
    if weights is not None:
        weight = weights[:, None].expand(-1, heads, *weights.shape[1:]).flatten(0, 2)
        tokens, grid = pool_tokens(tokens, extra, units, grid, pooling, kind, weight)
        parts = tokens.unflatten(2, apart).unbind(2)
    else:
        unbound = tokens.unflatten(2, apart).unbind(2)
        pooled = [_pool_heads(unbound[one], extra, units, grid, layer, pooling) for one, layer in enumerate(layers)]
        parts, grid = [part for part, _ in pooled], pooled[0][1]
    normed = [part if norm is None else norm(part) for norm, part in zip(norms, parts, strict=True)]
    return torch.stack(normed, 2), grid


def _shared_kernels(layers: Sequence[nn.Module], pooling: Pooling) -> Tensor | None:
    """The kernels of all layers (layers, width, 1, *kernel) where each is the convolution built for the pooling."""
    if all(_convolves_alone(layer, pooling) for layer in layers):
        return torch.stack([layer.weight for layer in layers if isinstance(layer, nn.Conv2d | nn.Conv3d)])
    return None


def _convolves_alone(layer: nn.Module, pooling: Pooling) -> bool:
    """Whether a layer is the depthwise convolution that was built for a pooling, and nothing observes it."""
    if not isinstance(layer, nn.Conv2d | nn.Conv3d) or not is_plain(layer, nn.Conv2d, nn.Conv3d):
        return False
    sizes = (layer.kernel_size, layer.stride, layer.padding, max(layer.dilation), layer.padding_mode)
    depthwise = layer.groups == layer.in_channels == layer.out_channels
    return depthwise and layer.bias is None and sizes == (*pooling, 1, "zeros")


def _pool_heads(
    part: Tensor, extra: int, units: int, grid: Axes, layer: nn.Module, pooling: Pooling
) -> tuple[Tensor, Axes]:
    """Pools the feature map of every unit and head by a call of the layer, and leaves class tokens before them alone.

    part: (batch, extra + units * prod(grid), heads, width). Returns the same with the new grid, and that grid: of a
    layer in the place of the one that was built for the pooling, as it comes.
    """
    heads = part.shape[2]
    grids = part[:, extra:].transpose(1, 2).unflatten(2, (units, *grid)).flatten(0, 2)
    pooled = channels_last(layer(channels_first(grids)))
    flat = pooled.unflatten(0, (-1, heads, units)).flatten(2, -2).transpose(1, 2)
    new_grid = pooled_grid(grid, pooling) if is_symbolic(part) else tuple(pooled.shape[1:-1])
    return torch.cat((part[:, :extra], flat), 1) if extra else flat, new_grid
