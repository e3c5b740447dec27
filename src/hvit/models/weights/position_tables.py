"""Flat tables of positions, as third-party weights and the plain ViT have them: the rows and columns of their entries.

A table (1, entries, dim) is the same for 16 x 16 tokens, for 8 x 32 and for 32 x 8. What decides, in this order: the
input size that the caller names; the one that the file states; the model's own token grid or a square where only one of
them has as many entries. Where both have, the table is refused; whatever was assumed is said in a note.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from torch import Tensor

from hvit.errors import UserError
from hvit.models.baselines import VitConfig
from hvit.models.hiera.config import HieraConfig
from hvit.models.input_sizes import Axes, grid_at, square
from hvit.models.masked.config import MaskedConfig
from hvit.models.mvit.config import MvitConfig

_FLAT_HERE = "network.pos_embed"
"""The table that is flat in our own model, too: the plain ViT's, which is timm's network."""


def lay_out_positions(
    ours: Mapping[str, Tensor], config: Any, where: str, named: Axes | None = None, stated: Axes | None = None
) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors under our names with their flat tables as (1, *grid, dim), and notes on what was assumed for that.

    The table of a plain ViT stays flat where it has the model's own token grid.

    config: that of our model. where: the source, as messages call it. named, stated: height and width of the input
    that the weights were made for, according to the caller and to the file. Raises UserError where a table fits no
    token grid of `named`, where two grids are as likely, and where one table stands for time and space.
    """
    grids, laid, notes = _grids(config), dict(ours), []
    encoder = getattr(config, "encoder", config)
    for name, own in grids.items():
        table = ours.get(name)
        if table is None or table.ndim != 3 or table.shape[2] != encoder.dims[0]:
            continue
        prefix = name.removesuffix("positions")
        stem = ours.get(f"{prefix}patch_embed.weight")
        if stem is not None and stem.ndim == 5 and f"{prefix}temporal_positions" not in ours:
            raise UserError(
                f"{where} has one table for all {table.shape[1]} positions in time and space; models of clips have one "
                "for time and one for space here, so that it cannot be loaded"
            )
        grid, note = _grid_of(name, table.shape[1], own, encoder.patch_size, where, named, stated)
        if grid != own or name != _FLAT_HERE:
            laid[name] = table.unflatten(1, grid)
        notes += [note] if note else []
    if isinstance(config, MaskedConfig) and "decoder_positions" in ours and ours["decoder_positions"].ndim == 3:
        grid = _decoder_grid(laid, config)
        if grid and prod(grid) == ours["decoder_positions"].shape[1]:
            laid["decoder_positions"] = ours["decoder_positions"].unflatten(1, grid)
    return laid, notes


def _grids(config: object) -> dict[str, Axes]:
    """Rows and columns that the model has for every table of an encoder that other formats store flat."""
    if isinstance(config, MaskedConfig):
        return {f"encoder.{name}": grid for name, grid in _grids(config.encoder).items()}
    if isinstance(config, HieraConfig) and len(config.input_size) > 1 and config.positions == "learned":
        return {"positions": config.token_grid[-2:]}
    if isinstance(config, MvitConfig) and config.positions == "absolute":
        return {"positions": config.token_grid[-2:]}
    if isinstance(config, VitConfig) and not config.distillation_token:
        rows, columns = (side // patch for side, patch in zip(config.input_size, config.patch_size, strict=True))
        return {_FLAT_HERE: (rows, columns)}
    return {}


def _decoder_grid(laid: Mapping[str, Tensor], config: MaskedConfig) -> Axes | None:
    """The grid of the file's decoder, whose patches cover the same image as the encoder's tokens."""
    tokens = laid.get("encoder.positions")
    if tokens is None or tokens.ndim != 4:
        return None
    times = laid.get("encoder.temporal_positions")
    sides = (*(() if times is None else times.shape[1:2]), *tokens.shape[1:3])
    strides = config.encoder.total_stride[-len(sides) :]
    return tuple(side // step for side, step in zip(sides, strides, strict=True))


def _grid_of(
    name: str, entries: int, own: Axes, patch: Sequence[int], where: str, named: Axes | None, stated: Axes | None
) -> tuple[Axes, str]:
    """The grid of so many entries, and a note if it is only likely."""
    if named:
        grid = grid_at(entries, named, patch)
        if grid is None:
            raise UserError(
                f"the {entries} entries of {name} in {where} are no token grid of an input of {_times(named)} pixels; "
                "weights_input_size (--weights-input-size) is the height and width that the weights were made for"
            )
        return grid, ""
    grid = grid_at(entries, stated, patch) if stated else None
    if grid:
        return grid, ""
    even, fits = square(entries), prod(own) == entries
    if fits == bool(even) and even != own:
        either = (
            f"may be {_times(own)} or {_times(even)} tokens"
            if even
            else "are neither a square nor this model's token grid"
        )
        raise UserError(
            f"the {entries} entries of {name} in {where} {either}; give the height and width in pixels that the "
            "weights were made for as weights_input_size (--weights-input-size)"
        )
    grid = own if fits else even
    assert grid is not None
    return grid, (
        f"the file does not say how the {entries} entries of {name} lie; they are read as {_times(grid)} tokens, "
        "and weights_input_size gives another input size"
    )


def _times(axes: Sequence[int]) -> str:
    return " x ".join(map(str, axes))
