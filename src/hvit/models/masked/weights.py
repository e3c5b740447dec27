"""Weights of masked autoencoders: ours, the authors' Hiera and transformers', into autoencoders and into classifiers.

A classifier takes the encoder. Where the final norm of its family follows the mean, as Hiera's does, it takes the norm
that the autoencoder has after its encoder, as timm does; decoder and fusion are reported as unused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from torch import Tensor

from hvit.models.baselines import VitConfig
from hvit.models.formats import Format, State, renamed
from hvit.models.hiera.weights import HIERA_FORMATS
from hvit.models.masked.config import MaskedConfig
from hvit.models.masked.model import present_name

# (their part of a name, ours); what is left after these is the encoder's.
_OFFICIAL = (
    (r"^multi_scale_fusion_heads\.", "fusion."),
    (r"^decoder_embed\.", "embed."),
    (r"^decoder_pos_embed$", "decoder_positions"),
    (r"^decoder_blocks\.(\d+)\.attn\.", r"decoder.\1."),
    (r"^decoder_blocks\.", "decoder."),
    (r"^decoder_pred\.", "prediction."),
)
_TRANSFORMERS = (
    (r"^multiscale_fusion\.multi_scale_fusion_heads\.", "fusion."),
    (r"^decoder\.decoder_embeddings\.", "embed."),
    (r"^decoder\.mask_token$", "mask_token"),
    (r"^decoder\.decoder_position_embeddings$", "decoder_positions"),
    (r"^decoder\.decoder_block\.layers\.(\d+)\.attn\.", r"decoder.\1."),
    (r"^decoder\.decoder_block\.layers\.(\d+)\.layernorm_before\.", r"decoder.\1.norm1."),
    (r"^decoder\.decoder_block\.layers\.(\d+)\.layernorm_after\.", r"decoder.\1.norm2."),
    (r"^decoder\.decoder_block\.layers\.", "decoder."),
    (r"^decoder\.decoder_norm\.", "decoder_norm."),
    (r"^decoder\.decoder_pred\.", "prediction."),
)
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
