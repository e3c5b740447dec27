"""Hiera weights of others: the authors' classifiers and masked autoencoders, timm's, transformers' and SAM 2's.

Sources: facebookresearch/hiera (files `.pth`, state dict under "model_state"), timm's `models/hiera.py` and
`models/hieradet_sam2.py`, transformers' `models/hiera`, facebookresearch/sam2 (its `image_encoder.trunk`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby

import torch
from torch import Tensor

from hvit.errors import UserError
from hvit.models.formats import Axes, Format, State, in_one_row, in_stages, renamed, turned_round
from hvit.models.hiera.config import HIERA_SIZES, HieraConfig
from hvit.models.input_sizes import grid_at, square, with_input_size
from hvit.models.layers.encoder import Encoder
from hvit.models.layers.grids import window_plane

_Translate = Callable[[State, object], dict[str, Tensor]]

# (their part of a name, ours), applied one after the other; `turned_round` goes back. The authors, timm and SAM 2
# hardly differ, and are read by one table.
_TRUNK = (
    (r"^(blocks\.\d+)\.proj\.", r"\1.widen."),
    (r"^(blocks\.\d+)\.attn\.", r"\1.attention."),
)
_STEM = (
    (r"^patch_embed\.proj\.", "patch_embed."),
    (r"^pos_embed$", "positions"),
    (r"^pos_embed_temporal$", "temporal_positions"),
)
_OFFICIAL = (*_STEM, *_TRUNK, (r"^head\.projection\.", "head."))
_OFFICIAL_MAE = (*_OFFICIAL, (r"^encoder_norm\.", "norm."))
_TIMM = (
    *_STEM,
    (r"^pos_embed_win$", "window_positions"),
    *_TRUNK,
    (r"^(blocks\.\d+)\.ls([12])\.gamma$", r"\1.scale\2"),
    (r"^head\.norm\.", "norm."),
    (r"^head\.fc\.", "head."),
)
_SAM2 = (
    (r"^image_encoder\.trunk\.", ""),
    (r"^pos_embed_window$", "window_positions"),
    (r"^(blocks\.\d+)\.mlp\.layers\.0\.", r"\1.mlp.fc1."),
    (r"^(blocks\.\d+)\.mlp\.layers\.1\.", r"\1.mlp.fc2."),
)
_NAMES = tuple(dict.fromkeys((*_SAM2, (r"^pos_embed_(spatial|abs)$", "positions"), *_OFFICIAL_MAE, *_TIMM)))
_TRANSFORMERS = (
    *_TRUNK,
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed."),
    (r"^embeddings\.position_embeddings$", "positions"),
    (r"^(blocks\.\d+)\.layernorm_before\.", r"\1.norm1."),
    (r"^(blocks\.\d+)\.layernorm_after\.", r"\1.norm2."),
    (r"^pooler\.layernorm\.", "norm."),
    (r"^classifier\.", "head."),
)


def from_official(state: State, config: object, antialias: bool = False) -> dict[str, Tensor]:
    """Tensors of the authors, of timm or of SAM 2 under our names; flat tables of positions stay flat.

    config: that of our model, or None. Where the model has learned positions, but the file a coarse map and a window,
    these become learned ones, so that the model computes the same (antialias: whether the map is interpolated with
    antialiasing).
    """
    ours = {renamed(name, _NAMES): tensor for name, tensor in state.items()}
    positions, window = ours.get("positions"), ours.get("window_positions")
    if positions is not None and window is not None and positions.ndim == window.ndim == 4:
        ours["positions"], ours["window_positions"] = positions.permute(0, 2, 3, 1), window.permute(0, 2, 3, 1)
        if isinstance(config, HieraConfig) and config.positions == "learned" and len(config.input_size) == 2:
            window = ours.pop("window_positions").float()
            ours["positions"] = window_plane(ours["positions"].float(), window, config.token_grid, antialias)
    return ours


def from_transformers(state: State, config: object) -> dict[str, Tensor]:
    """transformers' tensors under our names: its stages become one row of blocks."""
    row = in_one_row(state, r"(?:hiera\.)?encoder\.stages\.(\d{1,4})\.layers\.(\d{1,4})\.")
    ours = {renamed(name.removeprefix("hiera."), _TRANSFORMERS): tensor for name, tensor in row.items()}
    return from_official(ours, config)


def with_fresh_norm(state: State, config: object, translate: _Translate = from_official) -> dict[str, Tensor]:
    """Tensors of an encoder that ends without a norm (SAM 2's, transformers' backbone); ours starts as a fresh one."""
    ours = translate(state, config)
    if isinstance(config, HieraConfig):
        ours.setdefault("norm.weight", torch.ones(config.dims[-1]))
        ours.setdefault("norm.bias", torch.zeros(config.dims[-1]))
    return ours


def config_of(ours: State, antialias: bool = False, input_size: Axes | None = None) -> HieraConfig | None:
    """The configuration that tensors under our names belong to; None where the catalogue has no such widths.

    The catalogue has what no shape shows: heads, which levels attend inside units, and the input size of a model with
    window positions. input_size: height and width of the input where they are known; otherwise a flat table of
    positions is a square.
    """
    layers = sum(re.fullmatch(r"blocks\.\d+\.norm2\.weight", name) is not None for name in ours)
    widths = [ours[f"blocks.{layer}.norm2.weight"].shape[0] for layer in range(layers)]
    dims, depths = zip(*((dim, len(list(run))) for dim, run in groupby(widths)), strict=True)
    stem, window = ours["patch_embed.weight"], "window_positions" in ours
    grid = tuple(ours["positions"].shape[1:-1])
    if len(grid) == 1 and stem.ndim > 3:
        grid = (grid_at(grid[0], input_size) if input_size else None) or square(grid[0]) or ()
    alike = [size for size in HIERA_SIZES.values() if (size.dims, size.patch_kernel) == (dims, tuple(stem.shape[2:]))]
    if not alike:
        return None
    known = max(alike, key=lambda size: (size.depths == depths, (size.position_grid == grid) == window))
    tokens = (*(ours[name].shape[1] for name in ("temporal_positions",) if name in ours), *grid)
    learned = tuple(side * patch for side, patch in zip(tokens, known.patch_size, strict=True))
    return replace(
        known,
        input_size=(input_size or known.input_size) if window else learned,
        in_channels=stem.shape[1],
        num_classes=ours["head.weight"].shape[0] if "head.weight" in ours else known.num_classes,
        depths=depths,
        mlp_ratio=ours["blocks.0.mlp.fc1.weight"].shape[0] // dims[0],
        unit_size=tuple(ours["window_positions"].shape[1:-1]) if window else known.unit_size,
        positions="window" if window else "learned",
        position_grid=grid if window else None,
        position_antialias=antialias and window,
        expansion="linear" if any(".widen." in name for name in ours) else "mean_max",
        layer_scale="blocks.0.scale1" in ours,
        drop_path=0.0,
    )


def hiera_to_timm(model: Encoder) -> dict[str, Tensor]:
    """The weights of a Hiera under timm's names, for timm's class `Hiera(**hiera_timm_arguments(model))`.

    Raises UserError for a model that timm's Hiera cannot be.
    """
    config = _timm_config(model)
    return with_input_size(_under_their_names(model.state_dict(), config, _TIMM), config.input_size)


def hiera_to_official(model: Encoder) -> dict[str, Tensor]:
    """The weights of a Hiera under the authors' names, for `Hiera(**hiera_official_arguments(model))` of their package.

    Raises UserError for a model that the authors' Hiera cannot be.
    """
    config = _official_config(model, "the authors' Hiera")
    return with_input_size(_under_their_names(model.state_dict(), config, _OFFICIAL), config.input_size)


def hiera_official_arguments(model: Encoder) -> dict[str, object]:
    """The keyword arguments with which the authors' `Hiera` is the same network; raises as `hiera_to_official`."""
    return official_arguments(_official_config(model, "the authors' Hiera"))


def official_arguments(config: HieraConfig) -> dict[str, object]:
    """The keyword arguments of the authors' `Hiera` for a network."""
    return {
        "input_size": config.input_size,
        "in_chans": config.in_channels,
        "embed_dim": config.dims[0],
        "num_heads": config.heads[0],
        "num_classes": config.num_classes,
        "stages": config.depths,
        "q_pool": config.query_pools,
        "q_stride": config.query_stride,
        "mask_unit_size": config.unit_size,
        "mask_unit_attn": config.unit_attention,
        "patch_kernel": config.patch_kernel,
        "patch_stride": config.patch_size,
        "patch_padding": tuple(kernel // 2 for kernel in config.patch_kernel),
        "mlp_ratio": config.mlp_ratio,
        "sep_pos_embed": len(config.input_size) == 3,
    }


def hiera_to_transformers(model: Encoder) -> dict[str, Tensor]:
    """The weights of a Hiera under the names of transformers' `HieraForImageClassification`.

    Its configuration is `HieraConfig(**hiera_transformers_arguments(model))`. Raises UserError for a model that it
    cannot be.
    """
    config = _transformers_config(model)
    return under_transformers_names(model.state_dict(), config)


def under_transformers_names(state: State, config: HieraConfig) -> dict[str, Tensor]:
    """Tensors of an encoder under the names of transformers' classifier."""
    names = turned_round(_TRANSFORMERS)
    theirs = {renamed(name, names): tensor for name, tensor in state.items()}
    theirs = {
        name: (tensor.flatten(1, 2) if name.endswith("position_embeddings") else tensor).contiguous()
        for name, tensor in in_stages(theirs, config.depths, "encoder.stages.{stage}.layers.{place}.").items()
    }
    return {name if name.startswith("classifier.") else f"hiera.{name}": tensor for name, tensor in theirs.items()}


def hiera_transformers_arguments(model: Encoder) -> dict[str, object]:
    """The keyword arguments of transformers' `HieraConfig` for the same network; raises as `hiera_to_transformers`."""
    return transformers_arguments(_transformers_config(model))


def transformers_arguments(config: HieraConfig) -> dict[str, object]:
    """The keyword arguments of transformers' `HieraConfig` for a network."""
    return {
        "image_size": list(config.input_size),
        "num_channels": config.in_channels,
        "embed_dim": config.dims[0],
        "depths": list(config.depths),
        "num_heads": list(config.heads),
        "num_labels": config.num_classes,
        "num_query_pool": config.query_pools,
        "query_stride": list(config.query_stride),
        "masked_unit_size": list(config.unit_size),
        "masked_unit_attention": list(config.unit_attention),
        "patch_size": list(config.patch_kernel),
        "patch_stride": list(config.patch_size),
        "patch_padding": [kernel // 2 for kernel in config.patch_kernel],
        "mlp_ratio": float(config.mlp_ratio),
        "layer_norm_eps": 1e-6,
    }


def under_official_names(state: State, config: HieraConfig) -> dict[str, Tensor]:
    """Tensors of an encoder under the authors' names."""
    return _under_their_names(state, config, _OFFICIAL)


def _under_their_names(state: State, config: HieraConfig, table: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    """Tensors under the names of a table and in the authors' and timm's layout."""
    names, theirs = turned_round(table), {}
    for name, tensor in state.items():
        if name in ("positions", "window_positions"):
            tensor = tensor.flatten(1, 2) if config.positions == "learned" else tensor.permute(0, 3, 1, 2)
        name = renamed(name, names)
        if name == "pos_embed" and len(config.input_size) == 3:
            name = "pos_embed_spatial"
        theirs[name] = tensor.clone(memory_format=torch.contiguous_format)
    return theirs


def _official_config(model: Encoder, whose: str) -> HieraConfig:
    """The configuration of a model that has what the authors' code has. Raises UserError for another one."""
    config = _timm_config(model, whose)
    check_official(config, whose)
    return config


def check_official(config: HieraConfig, whose: str) -> None:
    """Refuses (UserError) what the authors' code does not have. whose: code, as the message calls it."""
    for field, wanted in (("positions", "learned"), ("expansion", "linear"), ("layer_scale", False)):
        if getattr(config, field) != wanted:
            raise UserError(f"{whose} has {field}={wanted!r} only; this model has {getattr(config, field)!r}")


def _transformers_config(model: Encoder) -> HieraConfig:
    config = _official_config(model, "transformers' Hiera")
    if len(config.input_size) == 3:
        raise UserError("transformers' Hiera takes images; this model takes clips")
    return config


def hiera_timm_arguments(model: Encoder) -> dict[str, object]:
    """The keyword arguments with which timm's class `Hiera` is the same network as ours; raises as `hiera_to_timm`."""
    config = _timm_config(model)
    window = {"abs_win_pos_embed": True, "global_pos_size": config.position_grid} if config.position_grid else {}
    shared = official_arguments(config)
    return {
        "img_size": shared.pop("input_size"),
        **shared,
        "use_expand_proj": config.expansion == "linear",
        "drop_path_rate": config.drop_path,
        "drop_rate": config.head_dropout,
        "init_values": 1e-5 if config.layer_scale else None,
        **window,
    }


def _timm_config(model: Encoder, whose: str = "timm's Hiera") -> HieraConfig:
    config = model.config
    if not isinstance(config, HieraConfig):
        raise UserError(f"only Hiera models can be turned into {whose}; this one is of the family {config.family!r}")
    levels = range(len(config.depths))
    pools = len(config.depths) - 1
    for field, wanted in (
        ("dims", tuple(config.dims[0] * 2**level for level in levels)),
        ("heads", tuple(config.heads[0] * 2**level for level in levels)),
        ("unit_size", tuple(stride**pools for stride in config.query_stride)),
        ("position_antialias", config.positions == "window"),
    ):
        if getattr(config, field) != wanted:
            raise UserError(f"{whose} has {field}={wanted!r} here; this model has {getattr(config, field)!r}")
    return config


def _antialiased(state: State, config: HieraConfig, antialias: bool) -> dict[str, object]:
    return {"position_antialias": antialias} if config.positions == "window" else {}


def _note_on_norm(config: HieraConfig) -> str:
    return "the norm that masked pretraining ends with became the final norm, as in timm; the authors' code drops it"


def _note_on_backbone(config: HieraConfig) -> str:
    return (
        "a backbone of transformers has no final norm and no head, so these start fresh; its norms of levels are left"
    )


def _note_on_sam2(config: HieraConfig) -> str:
    exact = (256, 256) if config.dims[0] == HIERA_SIZES["hiera_large_sam2_256"].dims[0] else (224, 224)
    fresh = "SAM 2's own files have no final norm and no head, so these start fresh"
    if config.input_size == exact:
        return fresh
    return f"{fresh}; at inputs other than {exact} SAM 2 attends inside windows where this model sees the whole grid"


def _foreign(
    name: str,
    pattern: str,
    translate: _Translate,
    antialias: bool = False,
    note: Callable[[HieraConfig], str] = lambda config: "",
) -> Format:
    return Format(
        name=name,
        pattern=pattern,
        translate=translate,
        config=lambda state, size: config_of(translate(state, None), antialias, size),
        choices=partial(_antialiased, antialias=antialias),
        note=note,
    )


_backbone = partial(with_fresh_norm, translate=from_transformers)
_antialiased_map = partial(from_official, antialias=True)
_OF_TRANSFORMERS = r"(hiera\.)?encoder\.stages\.\d+\.layers\.\d+\.layernorm_before\."

# What has more comes before what has less: autoencoders and backbones before the models whose names they contain.
HIERA_FORMATS = (
    _foreign("SAM 2 image encoder", r"(image_encoder\.trunk\.)?pos_embed_window$", with_fresh_norm, note=_note_on_sam2),
    _foreign("official Hiera MAE", r"multi_scale_fusion_heads\.", from_official, note=_note_on_norm),
    _foreign("transformers Hiera MAE", r"multiscale_fusion\.", from_transformers, note=_note_on_norm),
    _foreign("transformers Hiera backbone", r"hidden_states_norms\.stage\d", _backbone, note=_note_on_backbone),
    _foreign("transformers Hiera", _OF_TRANSFORMERS, from_transformers),
    _foreign("timm hiera", r"head\.norm\.|pos_embed_win$", _antialiased_map, antialias=True),
    _foreign("official Hiera", r"blocks\.\d+\.proj\.|pos_embed_spatial$", from_official),
)
