"""Every model by name: its configuration, and what was published about it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from typing import Annotated, Any

import torch
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as validated_dataclass
from torch.utils.flop_counter import FlopCounterMode

from hvit.errors import UserError
from hvit.models import translate
from hvit.models.baselines import VIT_SIZES, Vit, VitConfig
from hvit.models.layers import Encoder
from hvit.models.nest import NEST_SIZES, Nest, NestConfig

ModelConfig = NestConfig | VitConfig

_FAMILIES: dict[type, type[Encoder]] = {NestConfig: Nest, VitConfig: Vit}


@dataclass(frozen=True)
class Published:
    """What a model's authors report: ours to compare with, not a claim of ours."""

    score: str
    """Accuracy with its data set."""
    source: str
    """Where it is written."""


_NEST_SOURCE = "arXiv 2105.12723"
_PUBLISHED: dict[str, Published] = {
    "nest_tiny_224": Published("ImageNet-1K top-1 81.5", _NEST_SOURCE),
    "nest_small_224": Published("ImageNet-1K top-1 83.3", _NEST_SOURCE),
    "nest_base_224": Published("ImageNet-1K top-1 83.8", _NEST_SOURCE),
    "nest_tiny_32_block8": Published("-", f"{_NEST_SOURCE}, its CIFAR table"),
    "nest_tiny_32": Published("CIFAR-10 96.04, CIFAR-100 78.69", _NEST_SOURCE),
    "nest_small_32": Published("CIFAR-10 96.97, CIFAR-100 81.70", _NEST_SOURCE),
    "nest_base_32": Published("CIFAR-10 97.20, CIFAR-100 82.56", _NEST_SOURCE),
}
_CONFIGS: dict[str, ModelConfig] = {**NEST_SIZES, **VIT_SIZES}

# Fields a user, or another library's copy of the weights, changes without leaving the named architecture.
_FREE_FIELDS = ("input_size", "in_channels", "num_classes", "drop_path", "activation", "pool_padding")


@dataclass(frozen=True)
class Entry:
    """One row of the catalogue."""

    name: str
    config: ModelConfig
    published: Published | None


def list_models(pattern: str = "*") -> list[str]:
    """Names of the catalogue that match a shell pattern such as "nest*", in catalogue order."""
    return [name for name in _CONFIGS if fnmatchcase(name, pattern)]


def entry(name: str) -> Entry:
    """The catalogue's row for a model name. Raises UserError for an unknown one."""
    if name not in _CONFIGS:
        raise UserError(f"there is no model called {name!r}; `hvit models` lists them: {', '.join(_CONFIGS)}")
    return Entry(name, _CONFIGS[name], _PUBLISHED.get(name))


def name_of(config: ModelConfig) -> str:
    """The catalogue's name for a configuration, whatever the fields that leave its weights' shapes mostly alone.

    A configuration that is in no row is called "custom <family>".
    """

    def architecture(one: ModelConfig) -> dict[str, Any]:
        return {field.name: getattr(one, field.name) for field in fields(one) if field.name not in _FREE_FIELDS}

    alike = [
        (name, row)
        for name, row in _CONFIGS.items()
        if type(row) is type(config) and architecture(row) == architecture(config)
    ]
    exact = [name for name, row in alike if row.input_size == config.input_size]
    return (exact or [name for name, _ in alike] or [f"custom {config.family}"])[0]


def change(config: ModelConfig, **changes: Any) -> ModelConfig:
    """A configuration with some fields changed; a single number stands for a square where a pair is wanted.

    Raises UserError for a field the family does not have, and for values that cannot be built.
    """
    known = [field.name for field in fields(config) if field.name != "family"]
    for field, value in changes.items():
        if field not in known:
            raise UserError(f"{config.family} models have no field {field!r}; their fields: {', '.join(known)}")
        if field in ("input_size", "patch_size") and isinstance(value, int):
            changes[field] = (value, value)
        elif isinstance(value, list):
            changes[field] = tuple(value)
    return replace(config, **changes)


def build(config: ModelConfig) -> Encoder:
    """A newly initialised model of a configuration."""
    return _FAMILIES[type(config)](config)


def create_model(
    name: str, weights: Any = None, *, position_resize: translate.PositionResize = "auto", **changes: Any
) -> Encoder:
    """A model of the catalogue, with new weights or with somebody's.

    name: as `list_models` gives it. weights: None for new ones; a file or state dict in any known format; or "timm"
    for the published weights as timm's authors converted them. position_resize: how position embeddings are
    resized where the weights were made for another input size. changes: any field of the model's configuration,
    such as `num_classes=10`.
    Raises UserError for an unknown name or field, an impossible size, and weights that do not fit.
    """
    config = change(entry(name).config, **changes)
    if isinstance(weights, str) and weights == "timm":
        weights = translate.download_timm(name)
    model = build(config)
    if weights is not None:
        translate.load_weights(model, weights, position_resize=position_resize)
    return model


def build_empty(config: ModelConfig) -> Encoder:
    """A model whose weights take no memory (on torch's meta device), for counting."""
    with torch.device("meta"):
        return build(config)


@validated_dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class _Stored:
    config: Annotated[ModelConfig, Field(discriminator="family")]


_STORED = TypeAdapter(_Stored)


def config_from_json(text: str) -> ModelConfig:
    """The configuration that `{"config": {...}}` describes; unknown fields and wrong types are refused (UserError)."""
    try:
        return _STORED.validate_json(text).config
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(f"the stored model configuration is not valid at {place}: {first['msg']}") from error


def count_parameters(model: torch.nn.Module) -> int:
    """Number of parameters, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def multiply_adds(config: ModelConfig) -> int:
    """Multiply-adds of one forward pass on one image: convolutions, linear layers and both attention products."""
    model = build_empty(config).eval()
    images = torch.empty(1, config.in_channels, *config.input_size, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images)
    return counter.get_total_flops() // 2
