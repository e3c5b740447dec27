"""MViT and MViTv2 weights of others: SlowFast and mvit (the authors'), timm and torchvision.

Sources: facebookresearch/SlowFast and facebookresearch/mvit (files `.pyth`, state dict under "model_state"), timm's
`models/mvitv2.py`, torchvision's `models/video/mvit.py`.
"""

from __future__ import annotations

import re
from dataclasses import replace

import torch
from torch import Tensor

from hvit.errors import UserError
from hvit.models.formats import Axes, Format, State, in_one_row, in_stages, renamed, turned_round
from hvit.models.input_sizes import grid_at, square, with_input_size
from hvit.models.layers.encoder import Encoder
from hvit.models.mvit.config import MVIT_SIZES, MvitConfig, plan_blocks
from hvit.models.mvit.model import Mvit

# (their part of a name, ours), applied one after the other; `turned_round` goes back.
_BODY = (
    (r"^patch_embed\.proj\.", "patch_embed."),
    (r"^cls_token$", "class_token"),
    (r"^pos_embed_temporal$", "temporal_positions"),
    (r"^pos_embed_class$", "class_positions"),
    (r"^pos_embed_spatial$", "positions"),
    (r"\.attn\.", ".attention."),
    (r"\.rel_pos_h$", ".relative_row_positions"),
    (r"\.rel_pos_w$", ".relative_column_positions"),
    (r"\.rel_pos_t$", ".relative_time_positions"),
    (r"^(blocks\.\d+)\.proj\.", r"\1.widen."),
)
_OFFICIAL = (*_BODY, (r"^head\.projection\.", "head."))
_JOINT = ((r"^pos_embed$", "positions"),)
_TIMM = ((r"^head\.fc\.", "head."),)
_TIMM_SHORTCUT = ((r"\.shortcut_proj_(attn|mlp)\.", ".proj."),)
_TORCHVISION = (
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"^pos_encoding\.class_token$", "cls_token"),
    (r"^pos_encoding\.spatial_pos$", "pos_embed_spatial"),
    (r"^pos_encoding\.temporal_pos$", "pos_embed_temporal"),
    (r"^pos_encoding\.class_pos$", "pos_embed_class"),
    (r"\.attn\.project\.0\.", ".attn.proj."),
    (r"\.pool_([qkv])\.norm_act\.0\.", r".norm_\1."),
    (r"\.pool_([qkv])\.pool\.", r".pool_\1."),
    (r"\.mlp\.0\.", ".mlp.fc1."),
    (r"\.mlp\.3\.", ".mlp.fc2."),
    (r"^(blocks\.\d+)\.project\.", r"\1.proj."),
    (r"^head\.1\.", "head.projection."),
)


def from_official(state: State, config: MvitConfig | None) -> dict[str, Tensor]:
    """Tensors of SlowFast's or mvit's checkpoints under our names; joint positions are split from the class token's.

    Pooling kernels of one frame become those of images. Flat tables of positions stay flat.
    """
    ours = {renamed(name, (*_JOINT, *_OFFICIAL)): tensor for name, tensor in state.items()}
    images = ours["patch_embed.weight"].ndim == 4 if "patch_embed.weight" in ours else True
    for name, tensor in ours.items():
        if images and tensor.ndim == 5 and tensor.shape[2] == 1:
            ours[name] = tensor.squeeze(2)
    if "class_token" in ours and "class_positions" not in ours and "positions" in ours:
        ours["class_positions"], ours["positions"] = ours["positions"][:, :1], ours["positions"][:, 1:]
    return ours


def from_timm(state: State, config: MvitConfig | None) -> dict[str, Tensor]:
    """timm's tensors under our names: its stages become one row of blocks."""
    row = in_one_row(state, r"stages\.(\d{1,4})\.blocks\.(\d{1,4})\.")
    return from_official({renamed(name, (*_TIMM, *_TIMM_SHORTCUT)): tensor for name, tensor in row.items()}, config)


def mvit_to_timm(model: Encoder) -> dict[str, Tensor]:
    """The weights of an MViTv2 under timm's names, for timm's `MultiScaleVit(**mvit_timm_arguments(model))`.

    Raises UserError for a model that timm's MultiScaleVit cannot be.
    """
    config = _timm_config(model)
    shortcut = "shortcut_proj_attn" if config.expansion == "attention" else "shortcut_proj_mlp"
    names = (*turned_round(_TIMM), (r"\.widen\.", f".{shortcut}."), *turned_round(_BODY))
    stages = in_stages(model.state_dict(), config.depths, "stages.{stage}.blocks.{place}.")
    theirs = {
        renamed(name, names): tensor.clone(memory_format=torch.contiguous_format) for name, tensor in stages.items()
    }
    return with_input_size(theirs, config.input_size)


def mvit_timm_arguments(model: Encoder) -> dict[str, object]:
    """The keyword arguments with which timm's `MultiScaleVit` is the same network; raises as `mvit_to_timm`."""
    from timm.models.mvitv2 import MultiScaleVitCfg  # imported here because timm takes seconds to import

    config = _timm_config(model)
    return {
        "cfg": MultiScaleVitCfg(
            depths=config.depths, embed_dim=config.dims, num_heads=config.heads, mlp_ratio=config.mlp_ratio,
            expand_attn=config.expansion == "attention", use_cls_token=config.class_token,
            residual_pooling=config.query_residual, stride_kv_adaptive=config.key_stride,  # pyright: ignore[reportArgumentType]
            stride_q=((1, 1), *(config.query_stride for _ in config.depths[1:])),  # pyright: ignore[reportArgumentType]
            patch_kernel=config.patch_kernel, patch_stride=config.patch_size,  # pyright: ignore[reportArgumentType]
            patch_padding=tuple(side // 2 for side in config.patch_kernel),  # pyright: ignore[reportArgumentType]
        ),
        "img_size": config.input_size,
        "in_chans": config.in_channels,
        "num_classes": config.num_classes,
        "drop_path_rate": config.drop_path,
        "drop_rate": config.head_dropout,
    }  # fmt: skip


def _timm_config(model: Encoder) -> MvitConfig:
    config = model.config
    if not isinstance(config, MvitConfig):
        raise UserError(f"only MViTv2 models can be turned into timm's; this one is of the family {config.family!r}")
    for field, wanted in (
        ("pool", "conv"),
        ("pool_kernel", "three"),
        ("query_pooling", "every_block"),
        ("key_pooling", "every_block"),
        ("positions", "relative"),
        ("norm_after_mean", False),
        ("class_token_residual", config.class_token and config.query_residual),
    ):
        if getattr(config, field) != wanted:
            raise UserError(f"timm's MViTv2 has {field}={wanted!r}; this model has {getattr(config, field)!r}")
    if len(set(config.input_size)) > 1 or len(config.input_size) != 2:
        raise UserError(f"timm's MViTv2 takes square images; this model has input_size={config.input_size}")
    return config


def from_torchvision(state: State, config: MvitConfig | None) -> dict[str, Tensor]:
    """torchvision's tensors under our names; its embeddings have no batch axis."""
    theirs = {}
    for name, tensor in state.items():
        if name.startswith("pos_encoding."):
            tensor = tensor.reshape(1, -1, tensor.shape[-1])
        theirs[renamed(name, _TORCHVISION)] = tensor
    return from_official(theirs, config)


def mvit_to_official(model: Encoder) -> dict[str, Tensor]:
    """The weights of an MViT under the names of SlowFast and mvit, for the section "model_state" of their files.

    Positions of images with a class token are one table with it, and the pooling kernels of MViT for images have one
    frame, as in SlowFast. Raises UserError for a model that their code cannot be.
    """
    return with_input_size(_official_state(model), _official_config(model, "the authors' MViT").input_size)


def mvit_to_torchvision(model: Encoder) -> dict[str, Tensor]:
    """The weights of an MViT for clips under torchvision's names, for `MViT(**mvit_torchvision_arguments(model))`.

    Raises UserError for a model that torchvision's MViT cannot be.
    """
    _torchvision_config(model)
    names, theirs = turned_round(_TORCHVISION), {}
    for name, tensor in _official_state(model).items():
        name = renamed(name, names)
        if name.startswith("pos_encoding."):
            tensor = tensor.flatten() if tensor.shape[1] == 1 and "temporal" not in name else tensor[0]
        theirs[name] = tensor.contiguous()
    return theirs


def mvit_torchvision_arguments(model: Encoder) -> dict[str, object]:
    """The keyword arguments with which torchvision's `MViT` is the same network; raises as `mvit_to_torchvision`."""
    from torchvision.models.video.mvit import MSBlockConfig  # imported here because torchvision takes a second

    config = _torchvision_config(model)
    settings = [
        MSBlockConfig(
            num_heads=plan.heads, input_channels=plan.dim, output_channels=plan.dim_out,
            kernel_q=list(plan.query_pooling.kernel) if plan.query_pooling else [],
            stride_q=list(plan.query_pooling.stride) if plan.query_pooling else [],
            kernel_kv=list(plan.key_pooling.kernel) if plan.key_pooling else [],
            stride_kv=list(plan.key_pooling.stride) if plan.key_pooling else [],
        )
        for plan in plan_blocks(config)
    ]  # fmt: skip
    second = config.positions == "relative"
    return {
        "spatial_size": tuple(config.input_size[1:]), "temporal_size": config.input_size[0], "block_setting": settings,
        "residual_pool": second, "residual_with_cls_embed": False, "rel_pos_embed": second,
        "proj_after_attn": config.expansion == "attention", "num_classes": config.num_classes,
    }  # fmt: skip


def _official_state(model: Encoder) -> dict[str, Tensor]:
    config = _official_config(model, "the authors' MViT")
    state = dict(model.state_dict())
    images, absolute = len(config.input_size) == 2, config.positions == "absolute"
    if absolute:
        state["positions"] = state["positions"].flatten(1, -2)
    names = turned_round(_OFFICIAL)
    if absolute and images:
        if "class_positions" in state:
            state["positions"] = torch.cat([state.pop("class_positions"), state["positions"]], 1)
        names = (*turned_round(_JOINT), *names)
    theirs = {}
    for name, tensor in state.items():
        if absolute and images and re.search(r"\.pool_[qkv]\.", name) and tensor.ndim == 4:
            tensor = tensor.unsqueeze(2)
        theirs[renamed(name, names)] = tensor.clone(memory_format=torch.contiguous_format)
    return theirs


def _official_config(model: Encoder, whose: str) -> MvitConfig:
    config = model.config
    if not isinstance(config, MvitConfig):
        raise UserError(f"only MViT models can be turned into {whose}; this one is of the family {config.family!r}")
    for field, wanted in (("norm_after_mean", False), ("class_token_residual", False)):
        if getattr(config, field) != wanted:
            raise UserError(f"{whose} has {field}={wanted!r} only; this model has {getattr(config, field)!r}")
    if any(config.unit_attention):
        raise UserError(f"{whose} has no attention inside mask units; this model has it")
    return config


def _torchvision_config(model: Encoder) -> MvitConfig:
    config = _official_config(model, "torchvision's MViT")
    second = config.positions == "relative"
    for field, wanted in (
        ("in_channels", 3), ("class_token", True), ("query_residual", second), ("pool", "conv"),
    ):  # fmt: skip
        if getattr(config, field) != wanted:
            raise UserError(
                f"torchvision's MViT has {field}={wanted!r} here; this model has {getattr(config, field)!r}"
            )
    if len(config.input_size) != 3:
        raise UserError("torchvision's MViT takes clips; this model takes images")
    return config


def config_of(ours: State, input_size: Axes | None = None) -> MvitConfig | None:
    """The configuration of the published size that tensors under our names have the shapes of, or None.

    Names and shapes decide on width, depth, pooling kernels, where the width grows, class token and kind of positions;
    the published sizes on the rest. The input size follows from the positions; input_size: its height and width where
    they are known, otherwise a flat table of positions is a square.
    """
    if "positions" in ours and ours["positions"].ndim == 3:
        entries = ours["positions"].shape[1]
        grid = (grid_at(entries, input_size) if input_size else None) or square(entries)
        if grid is None:
            return None
        ours = {**ours, "positions": ours["positions"].unflatten(1, grid)}
    wanted = {name: tuple(tensor.shape) for name, tensor in ours.items() if not name.startswith("head.")}
    for size in MVIT_SIZES.values():
        if size.dims[0] != wanted["patch_embed.weight"][0] or f"blocks.{sum(size.depths)}.norm1.weight" in wanted:
            continue
        config = _with_input(size, ours)
        if config is None:
            continue
        with torch.device("meta"):
            model = Mvit(config)
        shapes = {name: tuple(t.shape) for name, t in model.state_dict().items() if not name.startswith("head.")}
        if shapes == wanted:
            classes = ours["head.weight"].shape[0] if "head.weight" in ours else config.num_classes
            return replace(config, num_classes=classes)
    return None


def _with_input(size: MvitConfig, ours: State) -> MvitConfig | None:
    """A published size with the input that the position embeddings were made for."""
    if len(size.input_size) + 2 != ours["patch_embed.weight"].ndim:
        return None
    if "positions" in ours and ours["positions"].ndim == 4:
        sides = tuple(ours["positions"].shape[1:3])
    else:
        tables = [ours.get(f"blocks.0.attention.relative_{axis}_positions") for axis in ("row", "column")]
        if tables[0] is None or tables[1] is None:
            return None
        sides = tuple((table.shape[0] + 1) // 2 for table in tables if table is not None)
    frames = ()
    if len(size.input_size) == 3:
        if "temporal_positions" in ours:
            frames = (ours["temporal_positions"].shape[1] * size.patch_size[0],)
        else:
            table = ours["blocks.0.attention.relative_time_positions"]
            frames = ((table.shape[0] + 1) // 2 * size.patch_size[0],)
    pixels = tuple(side * patch for side, patch in zip(sides, size.patch_size[-2:], strict=True))
    return replace(size, input_size=(*frames, *pixels))


def _note_on_timm(config: MvitConfig) -> str:
    if not config.class_token:
        return ""
    return (
        "timm adds the pooled queries to the class token, too, the authors' code does not; "
        f"class_token_residual=True is timm's way, this model has {config.class_token_residual}"
    )


# No choices besides shapes: heads show in the width of the pooling kernels.
MVIT_FORMATS = (
    Format(
        name="torchvision mvit",
        pattern=r"pos_encoding\.class_token",
        translate=from_torchvision,
        config=lambda state, size: config_of(from_torchvision(state, None), size),
    ),
    Format(
        name="timm mvitv2",
        pattern=r"stages\.\d+\.blocks\.\d+\.attn\.pool_k\.",
        translate=from_timm,
        config=lambda state, size: config_of(from_timm(state, None), size),
        note=_note_on_timm,
    ),
    Format(
        name="official MViT (SlowFast, mvit)",
        pattern=r"cls_token$|pos_embed_class$|blocks\.\d+\.attn\.(pool_[qkv]|norm_[qkv]|rel_pos_[hwt])",
        translate=from_official,
        config=lambda state, size: config_of(from_official(state, None), size),
    ),
)
