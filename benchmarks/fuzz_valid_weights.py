"""Valid weights of micro models in every known format, from which `fuzz.py` makes damaged ones. Run that, not this."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hvit.models import catalogue
from hvit.models.build import build_network
from hvit.models.weights.load import to_timm
from hvit.models.weights.save import save_weights

State = dict[str, Tensor]
_OURS = (
    "nest_micro_32", "mvit_micro_32", "mvitv2_micro_32", "mvitv2_micro_16x64", "hiera_micro_32", "hiera_micro_16x64",
    "vit_micro_32", "resnet_micro_32", "mae_hiera_micro_32", "nest_generator_micro_32", "conv_generator_micro_32",
)  # fmt: skip
_OFFICIAL_MVIT = (
    (r"^patch_embed\.", "patch_embed.proj."), ("^class_token$", "cls_token"), ("^positions$", "pos_embed_spatial"),
    ("^class_positions$", "pos_embed_class"), (r"\.attention\.", ".attn."), (r"^head\.", "head.projection."),
    (r"\.widen\.", ".proj."), ("relative_row_positions", "rel_pos_h"), ("relative_column_positions", "rel_pos_w"),
    ("relative_time_positions", "rel_pos_t"),
)  # fmt: skip
_TORCHVISION_MVIT = (
    (r"^patch_embed\.proj\.", "conv_proj."), ("^cls_token$", "pos_encoding.class_token"),
    ("^pos_embed_spatial$", "pos_encoding.spatial_pos"), ("^pos_embed_class$", "pos_encoding.class_pos"),
    (r"\.attn\.proj\.", ".attn.project.0."), (r"\.pool_([qkv])\.", r".pool_\1.pool."),
    (r"\.norm_([qkv])\.", r".pool_\1.norm_act.0."), (r"\.mlp\.fc1\.", ".mlp.0."), (r"\.mlp\.fc2\.", ".mlp.3."),
    (r"^(blocks\.\d+)\.proj\.", r"\1.project."), (r"^head\.projection\.", "head.1."),
)  # fmt: skip
_OFFICIAL_HIERA = (
    (r"^patch_embed\.", "patch_embed.proj."), ("^positions$", "pos_embed"), (r"\.attention\.", ".attn."),
    (r"\.widen\.", ".proj."), (r"^head\.", "head.projection."),
)  # fmt: skip
_TRANSFORMERS_HIERA = (
    (r"^patch_embed\.proj\.", "hiera.embeddings.patch_embeddings.projection."),
    ("^pos_embed$", "hiera.embeddings.position_embeddings"), (r"^norm\.", "hiera.pooler.layernorm."),
    (r"^blocks\.(\d+)\.", r"hiera.encoder.stages.\1.layers.0."), (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."), (r"^head\.projection\.", "classifier."),
)  # fmt: skip
FLAX_FOLDER = Path(__file__).resolve().parents[1] / "tests" / "data" / "nest_flax_fixture"


@dataclass(frozen=True)
class Source:
    """Valid weights, and what they are used for."""

    name: str
    config: Any
    """Of our model that they belong to."""
    state: State
    ours: bytes = b""
    """Our own file of them."""

    @property
    def role(self) -> str:
        """Of a classifier, an autoencoder or a generator."""
        return {"mae": "autoencoder", "generator": "generator"}.get(self.name.split()[-1], "classifier")


@cache
def valid_weights(folder: Path) -> list[Source]:
    """Weights of micro models in every known format, the widths of which are recognised."""
    torch.manual_seed(0)
    sources = []
    for name in _OURS:
        config = shallow(catalogue.entry(name).config)
        model, file = build_network(config), folder / "valid.safetensors"
        classes = [f"class {number}" for number in range(getattr(config, "num_classes", 0))]
        clips = len(config.input_size) == 3
        preprocess = {
            "input_size": list(config.input_size), "mean": [0.5] * 3, "std": [0.25] * 3, "crop": 0.875,
            "interpolation": "bilinear", "sampling": None,
        } | ({"sampling": {"num_frames": config.input_size[0], "stride": 2}} if clips else {})  # fmt: skip
        save_weights(model, file, classes=classes, preprocess=preprocess)
        kind = "mae" if name.startswith("mae") else "generator" if "generator" in name else "ours"
        sources.append(Source(f"{name} {kind}", config, _half(model.state_dict()), file.read_bytes()))
        for layout, state in _foreign(name, model).items():
            sources.append(Source(f"{name} {layout}", config, _half(state)))
    return [source for source in sources if source.state]


def shallow(config: Any) -> Any:
    """The same widths with a layer a level, which is still recognised; of generators smaller ones, too."""
    if config.family == "mvit":
        return config
    if hasattr(config, "encoder"):
        return replace(config, encoder=shallow(config.encoder), decoder_dim=24, decoder_depth=1)
    fields: dict[str, Any] = {}
    if hasattr(config, "output_size"):
        fields["dims"] = tuple(width // 4 for width in config.dims)
    if any(field.name == "depths" for field in dataclasses.fields(config)):
        fields["depths"] = (1,) * len(config.depths)
    return replace(config, **fields)


def _half(state: State) -> State:
    return {name: one.bfloat16() if one.dtype == torch.float32 else one for name, one in state.items()}


def _foreign(name: str, model: Any) -> dict[str, State]:
    """The same weights under other names: those of timm, the authors, torchvision, transformers and SAM 2."""
    found: dict[str, State] = {}
    state = model.state_dict()
    if name in ("nest_micro_32", "mvitv2_micro_32", "hiera_micro_32"):
        found["timm"] = to_timm(model)
    if name.startswith("mvit"):
        found["official"] = _renamed(state, _OFFICIAL_MVIT)
    if name == "mvit_micro_32":
        found["torchvision"] = _renamed(found["official"], _TORCHVISION_MVIT)
    if name == "resnet_micro_32":
        found["torchvision"] = {key.removeprefix("network."): one for key, one in state.items()}
    if name == "hiera_micro_32":
        official = _renamed(state, _OFFICIAL_HIERA)
        official["pos_embed"] = official["pos_embed"].flatten(1, 2)
        encoder = {key: one for key, one in official.items() if not key.startswith(("head.", "norm."))}
        decoder = {"multi_scale_fusion_heads.0.weight": torch.zeros(128, 32, 4, 4), "mask_token": torch.zeros(1, 1, 16)}
        plane = {"pos_embed": torch.zeros(1, 32, 7, 7), "pos_embed_window": torch.zeros(1, 32, 4, 4)}
        found["official"] = official
        norm = {f"encoder_norm.{part}": official[f"norm.{part}"] for part in ("weight", "bias")}
        found["official autoencoder"] = encoder | norm | decoder
        found["transformers"] = _renamed(official, _TRANSFORMERS_HIERA)
        found["SAM 2"] = {f"image_encoder.trunk.{key}": one for key, one in (encoder | plane).items()}
    return found


def _renamed(state: State, names: tuple[tuple[str, str], ...]) -> State:
    for pattern, other in names:
        state = {re.sub(pattern, other, key): one for key, one in state.items()}
    return state
