"""Masks of mask units: checked, spread over tokens, and applied."""

from __future__ import annotations

import torch
from torch import Tensor

from hvit.errors import UserError


def check_kept(kept: Tensor, batch: int, unit_grid: tuple[int, ...]) -> None:
    """Refuses (UserError) a mask that is no bool tensor (batch, *unit_grid) with equally many True in every sample."""
    if not isinstance(kept, Tensor):
        raise UserError(f"kept must be a bool tensor (batch, *mask units); got {type(kept).__name__}")
    if kept.dtype != torch.bool or tuple(kept.shape) != (batch, *unit_grid):
        raise UserError(
            f"kept must be a bool tensor of shape {(batch, *unit_grid)} (batch, *mask units); got "
            f"{str(kept.dtype).removeprefix('torch.')} {tuple(kept.shape)}"
        )
    counts = kept.flatten(1).sum(1)
    if counts.numel() and (int(counts.min()) != int(counts.max()) or int(counts.min()) == 0):
        raise UserError("kept must keep the same number of mask units, at least one, in every sample")


def spread_mask(kept: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """A mask of units as a mask of what they are made of: (batch, *unit grid) -> (batch, *sizes).

    sizes: multiples of the unit grid, such as tokens or pixels along every axis.
    """
    for axis, size in enumerate(sizes, start=1):
        kept = kept.repeat_interleave(size // kept.shape[axis], axis)
    return kept


def hide_masked(images: Tensor, kept: Tensor) -> Tensor:
    """Images whose pixels under the units that are not kept are zero, so that an overlapping stem cannot see them.

    images: (batch, channels, *sizes). kept: bool (batch, *unit grid), dividing the sizes. Returns the shape of images.
    """
    return images * spread_mask(kept, tuple(images.shape[2:]))[:, None]


def fill_masked(grid: Tensor, kept: Tensor, mask_token: Tensor) -> Tensor:
    """A grid whose tokens under the units that are not kept are one learned token (MaskFeat, arXiv 2112.09133).

    grid: (batch, *sizes, dim). kept: bool (batch, *unit grid), dividing the sizes. mask_token: (dim,).
    """
    return torch.where(spread_mask(kept, tuple(grid.shape[1:-1]))[..., None], grid, mask_token.to(grid.dtype))
