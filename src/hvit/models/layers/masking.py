"""Masks of mask units: what an encoder sees of its input, checked, spread over tokens, and applied."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from hvit.errors import UserError
from hvit.models.layers.grids import units_to_grid


@dataclass(frozen=True)
class Mask:
    """What an encoder sees of its input, and how it encodes that.

    Without a token, encoding is sparse: only the visible mask units are computed, by models that can. With a token it
    is dense: all tokens are computed, and the token stands in the place of masked ones from the stem on (MaskFeat,
    arXiv 2112.09133). Masked content has no effect in either.
    """

    visible: Tensor
    """bool (batch, *unit grid), True for the visible mask units: the same number, at least one, in every sample."""
    token: Tensor | None = None
    """(dim of the first level,); for dense encoding, whose unit grid may be any that divides the tokens."""

    @property
    def is_sparse(self) -> bool:
        """Whether only the visible mask units are computed."""
        return self.token is None


def check_mask(mask: Mask, batch: int, unit_grid: tuple[int, ...], token_grid: tuple[int, ...], dim: int) -> None:
    """Refuses (UserError) a mask that does not fit a batch and a model.

    unit_grid: the model's mask units along every axis, for sparse encoding. token_grid, dim: tokens along every axis
    and their width in the first level.
    """
    if not isinstance(mask, Mask) or not isinstance(mask.visible, Tensor):
        found = mask.visible if isinstance(mask, Mask) else mask
        raise UserError(
            f"a mask is Mask(visible), visible a bool tensor (batch, *mask units); got a {type(found).__name__}"
        )
    visible = mask.visible
    if not mask.is_sparse:
        unit_grid = tuple(visible.shape[1:])
        if len(unit_grid) != len(token_grid) or any(
            units < 1 or side % units for side, units in zip(token_grid, unit_grid, strict=True)
        ):
            raise UserError(
                f"the mask units of dense encoding must divide the {token_grid} tokens of this model along every axis; "
                f"got {unit_grid}"
            )
        if not isinstance(mask.token, Tensor) or tuple(mask.token.shape) != (dim,):
            found = tuple(mask.token.shape) if isinstance(mask.token, Tensor) else type(mask.token).__name__
            raise UserError(f"the mask token of this model is a tensor of shape ({dim},); got {found}")
    if visible.dtype != torch.bool or tuple(visible.shape) != (batch, *unit_grid):
        raise UserError(
            f"visible must be a bool tensor of shape {(batch, *unit_grid)} (batch, *mask units); got "
            f"{str(visible.dtype).removeprefix('torch.')} {tuple(visible.shape)}"
        )
    counts = visible.flatten(1).sum(1)
    if counts.numel() and (int(counts.min()) != int(counts.max()) or int(counts.min()) == 0):
        raise UserError("visible must show the same number of mask units, at least one, in every sample")


def spread_mask(mask: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """A mask of units as a mask of what they are made of: bool (batch, *unit grid) -> (batch, *sizes).

    sizes: multiples of the unit grid, such as tokens or pixels along every axis.
    """
    for axis, size in enumerate(sizes, start=1):
        mask = mask.repeat_interleave(size // mask.shape[axis], axis)
    return mask


def zero_masked(images: Tensor, visible: Tensor) -> Tensor:
    """Images whose masked pixels are zero, so that an overlapping stem cannot see them.

    images: (batch, channels, *sizes). visible: bool (batch, *unit grid), dividing the sizes. Returns the shape of
    images.
    """
    return images * spread_mask(visible, tuple(images.shape[2:]))[:, None]


def fill_masked(tokens: Tensor, visible: Tensor, token: Tensor) -> Tensor:
    """Tokens whose masked ones are one learned token.

    tokens: (batch, *sizes, dim). visible: bool (batch, *unit grid), dividing the sizes. token: (dim,).
    """
    return torch.where(spread_mask(visible, tuple(tokens.shape[1:-1]))[..., None], tokens, token.to(tokens.dtype))


def visible_units(units: Tensor, visible: Tensor) -> Tensor:
    """The visible ones of all mask units, in their order.

    units: (batch, units, ..., dim). visible: bool (batch, *unit grid), the same number of True in every sample.
    Returns (batch, visible units, ..., dim), of no samples with one unit each.
    """
    chosen, batch = units[visible.flatten(1)], units.shape[0]
    return chosen.unflatten(0, (batch, len(chosen) // batch if batch else 1))


def place_units(units: Tensor, visible: Tensor, fill: Tensor | None = None) -> Tensor:
    """Visible mask units in their places on the whole feature map; the other places are zero, or `fill` (dim,).

    units: (batch, visible units, *unit, dim), as `visible_units` gives them. visible: bool (batch, *unit grid). Returns
    (batch, *sizes, dim).
    """
    batch, _, *unit, dim = units.shape
    shape = (batch, prod(visible.shape[1:]), *unit, dim)
    whole = units.new_zeros(shape) if fill is None else fill.to(units.dtype).expand(shape).clone()
    whole[visible.flatten(1)] = units.flatten(0, 1)
    return units_to_grid(whole, tuple(visible.shape[1:]))
