"""Weights of masked autoencoders: ours, the authors' Hiera and transformers', into autoencoders and into classifiers.

A classifier takes the encoder. Where the final norm of its family follows the mean, as Hiera's does, it takes the norm
that the autoencoder has after its encoder, as timm does; decoder and fusion are reported as unused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from hvit.errors import UserError
from hvit.models.baselines import VitConfig
from hvit.models.formats import Format, State, renamed, turned_round
from hvit.models.hiera.config import HieraConfig
from hvit.models.hiera.weights import (
    HIERA_FORMATS,
    check_official,
    official_arguments,
    transformers_arguments,
    under_official_names,
    under_transformers_names,
)
from hvit.models.input_sizes import with_input_size
from hvit.models.masked.config import MaskedConfig
from hvit.models.masked.model import MaskedAutoencoder, present_name

# (their part of a name, ours); what is left after these is the encoder's. `turned_round` goes back.
_OFFICIAL = (
    (r"^multi_scale_fusion_heads\.", "fusion."),
    (r"^decoder_embed\.", "embed."),
    (r"^decoder_pos_embed$", "decoder_positions"),
    (r"^decoder_pred\.", "prediction."),
    (r"^decoder_blocks\.(\d+)\.attn\.(qkv|proj)\.", r"decoder_blocks.\1.\2."),
    (r"^decoder_blocks\.", "decoder."),
)
_TRANSFORMERS = (
    (r"^multiscale_fusion\.multi_scale_fusion_heads\.", "fusion."),
    (r"^decoder\.decoder_embeddings\.", "embed."),
    (r"^decoder\.mask_token$", "mask_token"),
    (r"^decoder\.decoder_position_embeddings$", "decoder_positions"),
    (r"^decoder\.decoder_norm\.", "decoder_norm."),
    (r"^decoder\.decoder_pred\.", "prediction."),
    (r"^decoder\.decoder_block\.layers\.(\d+)\.attn\.(qkv|proj)\.", r"decoder.decoder_block.layers.\1.\2."),
    (r"^decoder\.decoder_block\.layers\.(\d+)\.layernorm_before\.", r"decoder.decoder_block.layers.\1.norm1."),
    (r"^decoder\.decoder_block\.layers\.(\d+)\.layernorm_after\.", r"decoder.decoder_block.layers.\1.norm2."),
    (r"^decoder\.decoder_block\.layers\.", "decoder."),
)
_NORM = ((r"^encoder_norm\.", "norm."),)
_OWN = r"(fusion|embed|decoder|decoder_norm|prediction|norm)\.|(mask_token|decoder_positions)$"


def from_hiera(layout: Format, names: Sequence[tuple[str, str]], state: State, config: object) -> dict[str, Tensor]:
    """The tensors of a third-party Hiera autoencoder, for ours or, as `layout` has them, for a classifier."""
    if not isinstance(config, MaskedConfig):
        return layout.translate(state, config)
    ours = {}
    for name, tensor in layout.translate(state, config.encoder).items():
        name = renamed(name, names)
        if name == "mask_token":
            tensor = tensor.flatten()
        ours[name if re.match(_OWN, name) else f"encoder.{name}"] = tensor
    return ours


def from_ours(state: State, config: object) -> dict[str, Tensor]:
    """The tensors of an autoencoder of ours, as they are, or for a classifier."""
    state = {present_name(name): tensor for name, tensor in state.items()}
    if isinstance(config, MaskedConfig):
        return state
    ours = {}
    follows = not {"encoder.norm.weight", "encoder.network.norm.weight"} & state.keys()
    norm = "norm."
    if isinstance(config, VitConfig):
        norm = "network.fc_norm." if config.norm_after_mean else "network.norm."
    for name, tensor in state.items():
        if name.startswith("encoder."):
            ours[name.removeprefix("encoder.")] = tensor
        else:
            is_last_norm = follows and name.startswith("norm.")
            ours[norm + name.removeprefix("norm.") if is_last_norm else f"autoencoder.{name}"] = tensor
    return ours


def masked_to_official(model: MaskedAutoencoder) -> dict[str, Tensor]:
    """The weights of a Hiera autoencoder under the authors' names, for their `MaskedAutoencoderHiera`.

    Raises UserError for an autoencoder that theirs cannot be.
    """
    encoder = _hiera_encoder(model)
    parts = _apart(model)
    theirs = under_official_names(parts.encoder, encoder)
    names = (*turned_round(_OFFICIAL), *turned_round(_NORM))
    theirs |= {renamed(name, names): tensor for name, tensor in parts.own.items()}
    return with_input_size(theirs, model.config.encoder.input_size)


def masked_to_transformers(model: MaskedAutoencoder) -> dict[str, Tensor]:
    """The weights of a Hiera autoencoder under the names of transformers' `HieraForPreTraining`.

    Raises UserError for an autoencoder that theirs cannot be.
    """
    encoder = _hiera_encoder(model)
    if len(encoder.input_size) == 3:
        raise UserError("transformers' Hiera takes images; this autoencoder takes clips")
    parts = _apart(model)
    theirs = under_transformers_names(parts.encoder, encoder)
    names = (*turned_round(_TRANSFORMERS), *turned_round(_NORM))
    return theirs | {renamed(name, names): tensor for name, tensor in parts.own.items()}


def masked_official_arguments(model: MaskedAutoencoder) -> dict[str, object]:
    """The keyword arguments with which the authors' `MaskedAutoencoderHiera` is the same network."""
    config, arguments = model.config, official_arguments(_hiera_encoder(model))
    return {
        **{name: value for name, value in arguments.items() if name != "num_classes"},
        "decoder_embed_dim": config.decoder_dim,
        "decoder_depth": config.decoder_depth,
        "decoder_num_heads": config.decoder_heads,
    }


def masked_transformers_arguments(model: MaskedAutoencoder) -> dict[str, object]:
    """The keyword arguments of transformers' `HieraConfig` for `HieraForPreTraining`."""
    config = model.config
    return {
        **transformers_arguments(_hiera_encoder(model)),
        "decoder_hidden_size": config.decoder_dim,
        "decoder_depth": config.decoder_depth,
        "decoder_num_heads": config.decoder_heads,
        "mask_ratio": config.mask_ratio,
    }


class _Parts(NamedTuple):
    """The tensors of an autoencoder, in the others' shapes."""

    encoder: dict[str, Tensor]
    own: dict[str, Tensor]


def _apart(model: MaskedAutoencoder) -> _Parts:
    parts = _Parts({}, {})
    for name, tensor in model.state_dict().items():
        if name.startswith("encoder."):
            parts.encoder[name.removeprefix("encoder.")] = tensor
            continue
        if name == "mask_token":
            tensor = tensor.reshape(1, 1, -1)
        elif name == "decoder_positions":
            tensor = tensor.flatten(1, -2)
        parts.own[name] = tensor.clone(memory_format=torch.contiguous_format)
    return parts


def _hiera_encoder(model: MaskedAutoencoder) -> HieraConfig:
    """The encoder of an autoencoder that the authors' code has. Raises UserError for another one."""
    encoder = model.config.encoder
    if not isinstance(encoder, HieraConfig):
        raise UserError(
            f"only autoencoders of Hiera are known to other libraries; this one is of the family {encoder.family!r}"
        )
    if not hasattr(model, "decoder_positions"):
        raise UserError("the authors' autoencoder has a decoder of transformer layers; this one has none")
    check_official(encoder, "the authors' autoencoder")
    return encoder


def _note(layout: Format, config: object) -> str:
    return "" if isinstance(config, MaskedConfig) else layout.note(config)


_NAMES = {"official Hiera MAE": _OFFICIAL, "transformers Hiera MAE": _TRANSFORMERS}

MASKED_FORMATS = (
    Format(
        name="hvit masked autoencoder",
        pattern=r"encoder\.(network\.blocks\.\d+\.attn|(blocks|hierarchies)\.\d+\.\S*(attention|layers))\.",
        translate=from_ours,
        config=lambda state, size: None,
    ),
    *(
        replace(
            layout,
            translate=partial(from_hiera, layout, _NAMES[layout.name]),
            choices=lambda state, config: {},  # window positions, which they are about, are not autoencoders'
            note=partial(_note, layout),
        )
        for layout in HIERA_FORMATS
        if layout.name in _NAMES
    ),
)
