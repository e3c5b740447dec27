"""NesT weights of others: names, layouts and sizes of the official Flax code and of timm, and the way back to timm.

Sources: google-research/nested-transformer (checkpoints of its training loop), timm's `models/nest.py`.
"""

from __future__ import annotations

import re
from functools import partial
from itertools import accumulate
from math import isqrt

import torch
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.models.formats import Format, State, our_format
from hvit.models.input_sizes import with_input_size
from hvit.models.layers.encoder import Encoder
from hvit.models.layers.linear import Activation
from hvit.models.nest.config import NEST_SIZES, AttentionKind, NestConfig

# (timm's part of a name, ours); the aggregation is stored in the level that it feeds, in both.
_TIMM_NAMES = (
    ("patch_embed.proj.", "patch_embed."),
    ("levels.", "hierarchies."),
    (".pos_embed", ".positions"),
    (".pool.conv.", ".aggregation.function.convolution."),
    (".pool.norm.", ".aggregation.function.norm."),
    (".transformer_encoder.", ".layers."),
    (".attn.", ".attention."),
)
_PROJECTION = re.compile(r"hierarchies\.(\d{1,4})\.layers\.\d+\.attention\.proj\.weight")

_FLAX_TOP = {"PatchEmbedding_0/Conv_0": "patch_embed", "LayerNorm_0": "norm", "Dense_0": "head"}
_FLAX_POOL = {"Conv_0": "convolution", "LayerNorm_0": "norm"}
_FLAX_LAYER = {
    "LayerNorm_0": "norm1",
    "LayerNorm_1": "norm2",
    "MlpBlock_0/Dense_0": "mlp.fc1",
    "MlpBlock_0/Dense_1": "mlp.fc2",
    "MultiHeadAttention_0": "attention.proj",
    "MultiHeadAttention_0/DenseGeneral_0": "attention.query",
    "MultiHeadAttention_0/DenseGeneral_1": "attention.key_value",
    "MultiQueryAttention_0": "attention.proj",
    "MultiQueryAttention_0/DenseGeneral_0": "attention.query",
    "MultiQueryAttention_0/Dense_0": "attention.key_value",
}
_FLAX_LEAF = {
    "kernel": "weight",
    "proj_kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "pos_embedding": "positions",
}


def from_timm(state: State, config: NestConfig | None) -> dict[str, Tensor]:
    """timm's tensors under our names. config: that of our model, whose heads the layout of timm's projections needs.

    timm gathers the heads of one channel side by side (channel = position in head * heads + head) before the output
    projection, we gather the channels of one head.
    """
    ours = {}
    for name, tensor in state.items():
        for timm_name, own in _TIMM_NAMES:
            name = name.replace(timm_name, own)
        heads = _projection_heads(name, config)
        if tensor.ndim == 2 and heads and tensor.shape[1] % heads == 0:
            tensor = tensor.unflatten(1, (-1, heads)).transpose(1, 2).flatten(1)
        ours[name] = tensor
    return ours


def nest_to_timm(model: Encoder) -> dict[str, Tensor]:
    """The weights of a NesT under timm's names and in timm's layout, for `Nest(**nest_timm_arguments(model))` of timm.

    Raises UserError for a model that timm's NesT cannot be.
    """
    config = _timm_config(model)
    theirs = {}
    for name, tensor in model.state_dict().items():
        heads = _projection_heads(name, config)
        if heads:
            tensor = tensor.unflatten(1, (heads, -1)).transpose(1, 2).flatten(1)
        for timm_name, own in _TIMM_NAMES:
            name = name.replace(own, timm_name)
        theirs[name] = tensor.clone(memory_format=torch.contiguous_format)
    return with_input_size(theirs, config.input_size)


def nest_timm_arguments(model: Encoder) -> dict[str, object]:
    """The keyword arguments with which timm's class `Nest` is the same network as ours; raises as `nest_to_timm`."""
    config = _timm_config(model)
    return {
        "img_size": config.input_size[0],
        "in_chans": config.in_channels,
        "patch_size": config.patch_size[0],
        "num_levels": len(config.depths),
        "embed_dims": config.dims,
        "num_heads": config.heads,
        "depths": config.depths,
        "num_classes": config.num_classes,
        "mlp_ratio": config.mlp_ratio,
        "drop_path_rate": config.drop_path,
        "pad_type": "same" if config.pool_padding == "same" else "",
        "act_layer": nn.GELU if config.activation == "gelu" else partial(nn.GELU, approximate="tanh"),
    }


def from_flax(state: State, config: NestConfig) -> dict[str, Tensor]:
    """The official code's tensors under our names. config: that of our model; its depths say where a layer belongs."""
    return _flax_to_ours(state, config.depths)


def choices_of_timm(state: State, config: NestConfig) -> dict[str, object]:
    """Fields of timm's model that the shapes of our tensors do not show; it has nothing else."""
    return {"aggregation": "conv3_norm_max3", "aggregation_plane": "image"}


def note_on_timm(config: NestConfig) -> str:
    """The two kinds of NesT in timm have the same names and shapes."""
    return (
        "timm's nest_*_jx is pool_padding='same' and activation='gelu', nest_* is 'symmetric' and 'gelu'; "
        f"this model is {config.pool_padding!r} and {config.activation!r}"
    )


def choices_of_flax(state: State, config: NestConfig) -> dict[str, object]:
    """Fields of the official model that the shapes of our tensors do not show, once these fit a model of `config`."""
    kernels = _flax_projections(state)
    heads = tuple(kernels[end - 1].shape[0] for end in accumulate(config.depths))
    always = {"activation": "gelu_tanh", "pool_padding": "same"}
    return choices_of_timm(state, config) | always | {"heads": heads}


def config_of_timm(state: State) -> NestConfig | None:
    """The configuration of timm's model; pooling and GELU, which the file does not show, are those of nest_*_jx."""
    return config_of_ours(from_timm(state, None), "gelu")


def config_of_ours(ours: State, activation: Activation = "gelu_tanh") -> NestConfig | None:
    """The configuration that tensors under our names belong to, as far as shapes show it; heads by the catalogue."""
    levels = range(sum(name.endswith(".positions") for name in ours))
    dims = tuple(ours[f"hierarchies.{level}.positions"].shape[-1] for level in levels)
    layers = [re.match(r"hierarchies\.(\d+)\.layers\.(\d+)\.", name) for name in ours]
    depths = tuple(len({found[2] for found in layers if found and found[1] == str(level)}) for level in levels)
    qkv = ours["hierarchies.0.layers.0.attention.qkv.weight"]
    attention: AttentionKind = "multi_head" if qkv.shape[0] == 3 * qkv.shape[1] else "multi_query"
    known = [size.heads for size in NEST_SIZES.values() if size.dims == dims and size.attention == attention]
    return _config(ours, depths, known[0], attention, activation) if known else None


def config_of_flax(state: State) -> NestConfig | None:
    """The configuration of an official model; None if levels are equally wide and the catalogue has no such size."""
    levels = range(sum(path.endswith("/pos_embedding") for path in state))
    kernels = _flax_projections(state)
    multi_head = "EncoderNDBlock_0/MultiHeadAttention_0/proj_kernel" in state
    attention: AttentionKind = "multi_head" if multi_head else "multi_query"
    widths = [kernel.shape[2] for kernel in kernels]
    dims = tuple(state[f"PositionEmbedding_{level}/pos_embedding"].shape[-1] for level in levels)
    depths = None
    if len(set(dims)) == len(dims):
        depths = tuple(widths.count(dim) for dim in dims)
    elif len(dims) == len(kernels):
        depths = (1,) * len(dims)
    else:
        for size in NEST_SIZES.values():
            if size.dims == dims and size.attention == attention and sum(size.depths) == len(kernels):
                depths = size.depths
    if depths is None:
        return None
    heads = tuple(kernels[end - depth].shape[0] for end, depth in zip(accumulate(depths), depths, strict=True))
    return _config(_flax_to_ours(state, depths), depths, heads, attention, "gelu_tanh")


def _flax_projections(state: State) -> list[Tensor]:
    """The output projections (heads, channels of a head, dim) of all layers, from the image upwards."""
    kernels = {}
    for path, kernel in state.items():
        found = re.fullmatch(r"EncoderNDBlock_(\d{1,4})/Multi(?:Head|Query)Attention_0/proj_kernel", path)
        if found:
            kernels[int(found[1])] = kernel
    return [kernels[layer] for layer in range(len(kernels))]


def _config(
    ours: State, depths: tuple[int, ...], heads: tuple[int, ...], attention: AttentionKind, activation: Activation
) -> NestConfig:
    dim, channels, patch, _ = ours["patch_embed.weight"].shape
    positions = [ours[f"hierarchies.{level}.positions"].shape for level in range(len(depths))]
    side = isqrt(positions[0][2]) * patch * 2 ** (len(depths) - 1)
    return NestConfig(
        input_size=(side, side),
        in_channels=channels,
        num_classes=ours["head.weight"].shape[0],
        patch_size=(patch, patch),
        dims=tuple(shape[-1] for shape in positions),
        heads=heads,
        depths=depths,
        mlp_ratio=ours["hierarchies.0.layers.0.mlp.fc1.weight"].shape[0] // dim,
        attention=attention,
        activation=activation,
    )


def _projection_heads(name: str, config: NestConfig | None) -> int | None:
    found = _PROJECTION.fullmatch(name)
    return config.heads[int(found[1])] if found and config and int(found[1]) < len(config.heads) else None


def _timm_config(model: Encoder) -> NestConfig:
    config = model.config
    if not isinstance(config, NestConfig):
        raise UserError(f"only NesT models can be turned into timm's NesT; this one is of the family {config.family!r}")
    for field, wanted in (
        ("attention", "multi_head"),
        ("aggregation", "conv3_norm_max3"),
        ("aggregation_plane", "image"),
    ):
        if getattr(config, field) != wanted:
            raise UserError(f"timm's NesT has {field}={wanted!r} only; this model has {getattr(config, field)!r}")
    if config.input_size[0] != config.input_size[1]:
        raise UserError(f"timm's NesT takes square images only; this model takes {config.input_size}")
    return config


def _flax_to_ours(state: State, depths: tuple[int, ...]) -> dict[str, Tensor]:
    ours = {}
    for path, tensor in state.items():
        module, _, leaf = path.rpartition("/")
        own = _flax_module(module, depths)
        if own is None or leaf not in _FLAX_LEAF:
            ours[path] = tensor
        elif own.endswith(("attention.query", "attention.key_value")) or not leaf.endswith("kernel"):
            ours[f"{own}.{_FLAX_LEAF[leaf]}"] = tensor
        else:
            ours[f"{own}.weight"] = _turn_kernel(tensor)
    for query in [name for name in ours if ".attention.query." in name]:
        key_value = query.replace(".query.", ".key_value.")
        if key_value in ours:
            ours[query.replace(".query.", ".qkv.")] = _fuse(query, ours.pop(query), ours.pop(key_value))
    return ours


def nest_to_flax(model: Encoder) -> dict[str, Tensor]:
    """The weights of a NesT under the names and in the layout of the official Flax code.

    Raises UserError for a model that the official NesT cannot be.
    """
    config = model.config
    if not isinstance(config, NestConfig):
        raise UserError(f"only NesT models can be turned into the official NesT; this one is {config.family!r}")
    always = {"aggregation": "conv3_norm_max3", "aggregation_plane": "image", "activation": "gelu_tanh"}
    for field, wanted in {**always, "pool_padding": "same"}.items():
        if getattr(config, field) != wanted:
            raise UserError(f"the official NesT has {field}={wanted!r} only; this model has {getattr(config, field)!r}")
    layers = {own: theirs for theirs, own in _FLAX_LAYER.items() if _is_of(theirs, config.attention)}
    theirs: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        own, _, leaf = name.rpartition(".")
        found = re.fullmatch(r"hierarchies\.(\d+)(?:\.(layers)\.(\d+)\.(.+)|\.aggregation\.function\.(.+))?", own)
        if not found:
            module, inner = {ours: top for top, ours in _FLAX_TOP.items()}[own], own
        elif found[2]:
            number = sum(config.depths[: int(found[1])]) + int(found[3])
            block, inner = f"EncoderNDBlock_{number}", found[4]
            if inner == "attention.qkv":
                for part, value in _divide(tensor, config, int(found[1])).items():
                    kind = "kernel" if leaf == "weight" else leaf
                    theirs[f"{block}/{layers[f'attention.{part}']}/{kind}"] = value
                continue
            module = f"{block}/{layers[inner]}"
        elif found[5]:
            inner = found[5]
            module = f"ConvPool_{int(found[1]) - 1}/{ {ours: pool for pool, ours in _FLAX_POOL.items()}[inner] }"
        else:
            module, inner, leaf = f"PositionEmbedding_{found[1]}", "", "positions"
        kind = {"positions": "pos_embedding", "bias": "bias", "weight": "kernel"}[leaf]
        if leaf == "weight" and tensor.ndim == 1:
            kind = "scale"
        elif inner == "attention.proj" and leaf == "weight":
            kind, heads = "proj_kernel", config.heads[int(found[1])]  # pyright: ignore[reportOptionalSubscript]
            tensor = tensor.T.unflatten(0, (heads, -1))
        elif leaf == "weight":
            tensor = tensor.permute(2, 3, 1, 0) if tensor.ndim == 4 else tensor.T
        theirs[f"{module}/{kind}"] = tensor
    return {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in theirs.items()}


def _is_of(module: str, attention: AttentionKind) -> bool:
    other = "MultiQuery" if attention == "multi_head" else "MultiHead"
    return not module.startswith(other)


def _divide(rows: Tensor, config: NestConfig, level: int) -> dict[str, Tensor]:
    """The inverse of `_fuse`: kernels or biases of the queries, and of keys and values together."""
    heads, dim = config.heads[level], config.dims[level]
    several = config.attention == "multi_head"
    width = dim // heads
    query, key, value = rows.split((dim, *(2 * [dim if several else width])))
    sizes = {"query": (heads, width), "key": (heads, width) if several else (width,)}
    query, key, value = (part.unflatten(0, sizes["query" if part is query else "key"]) for part in (query, key, value))
    both = torch.cat([key, value], dim=1 if several else 0)
    if rows.ndim == 2:  # (dim of the input) first
        query, both = query.movedim(-1, 0), both.movedim(-1, 0)
    return {"query": query, "key_value": both}


def _flax_module(module: str, depths: tuple[int, ...]) -> str | None:
    found = re.fullmatch(r"(PositionEmbedding|ConvPool|EncoderNDBlock)_(\d{1,4})(?:/(.+))?", module)
    if not found:
        return _FLAX_TOP.get(module)
    kind, number, inner = found[1], int(found[2]), found[3]
    if kind == "PositionEmbedding":
        return f"hierarchies.{number}"
    if kind == "ConvPool":
        return f"hierarchies.{number + 1}.aggregation.function.{_FLAX_POOL[inner]}" if inner in _FLAX_POOL else None
    if inner not in _FLAX_LAYER:
        return None
    # Layers are numbered through all levels; those past the last level's end make that level deeper than the model's.
    level = min(sum(end <= number for end in accumulate(depths)), len(depths) - 1)
    return f"hierarchies.{level}.layers.{number - sum(depths[:level])}.{_FLAX_LAYER[inner]}"


def _turn_kernel(kernel: Tensor) -> Tensor:
    """Flax keeps inputs first: (height, width, in, out), (in, out), or (heads, channels of a head, out)."""
    if kernel.ndim == 4:
        return kernel.permute(3, 2, 0, 1)
    return kernel.flatten(0, -2).T if kernel.ndim > 1 else kernel


def _fuse(name: str, query: Tensor, key_value: Tensor) -> Tensor:
    """Rows of all queries, keys and values, each head after head, out of kernels (dim, heads, width) or biases.

    Keys and values share a kernel (dim, heads, 2 * width) and are split inside every head; with multi-query attention
    it is (dim, 2 * width).
    """
    if query.ndim < 2 or key_value.ndim < 1 or key_value.shape[-1] != 2 * query.shape[-1]:
        shapes = f"{tuple(query.shape)} and {tuple(key_value.shape)}"
        raise UserError(f"queries and keys of {name} have shapes {shapes}, which fit no NesT attention")
    key, value = key_value.chunk(2, dim=-1)
    if name.endswith("bias"):
        return torch.cat([part.flatten() for part in (query, key, value)])
    return torch.cat([part.flatten(1) for part in (query, key, value)], dim=1).T


NEST_FORMATS = (
    our_format(r"hierarchies\.", config_of_ours),
    Format(
        name="timm nest",
        pattern=r"levels\.\d+\.transformer_encoder\.",
        translate=from_timm,
        config=lambda state, _: config_of_timm(state),
        choices=choices_of_timm,
        note=note_on_timm,
    ),
    Format(
        name="official NesT (Flax)",
        pattern=r"EncoderNDBlock_\d+/",
        translate=from_flax,
        config=lambda state, _: config_of_flax(state),
        choices=choices_of_flax,
    ),
)
