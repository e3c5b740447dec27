"""Every model by name: its configuration, and what was published about it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as validated_dataclass

from hvit.errors import UserError, did_you_mean
from hvit.fields import plain
from hvit.markup import quoted, shown
from hvit.models import counts
from hvit.models.baselines import RESNET_SIZES, VIT_SIZES, ResnetConfig, VitConfig
from hvit.models.clip_baselines import ClipBaselineConfig
from hvit.models.gan.config import GENERATOR_SIZES, GeneratorConfig
from hvit.models.hiera.config import HIERA_SIZES, HieraConfig
from hvit.models.masked.config import MASKED_SIZES, MaskedConfig
from hvit.models.mvit.config import MVIT_SIZES, MvitConfig
from hvit.models.mvit.simplification import SIMPLIFIED
from hvit.models.nest.config import NEST_SIZES, NestConfig
from hvit.models.timm_baselines import MICRO, baseline, settings_of
from hvit.models.timm_encoder import TimmConfig, timm_config
from hvit.moved import old_names_of
from hvit.renames import rename_json

ModelConfig = NestConfig | MvitConfig | HieraConfig | VitConfig | ResnetConfig | TimmConfig | ClipBaselineConfig
NetworkConfig = ModelConfig | MaskedConfig | GeneratorConfig


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
    **{
        f"nest_{size}_32_block8": Published("-", f"{_NEST_SOURCE}, its CIFAR table")
        for size in ("tiny", "small", "base")
    },
    "nest_tiny_32": Published("CIFAR-10 96.04, CIFAR-100 78.69", _NEST_SOURCE),
    "nest_small_32": Published("CIFAR-10 96.97, CIFAR-100 81.70", _NEST_SOURCE),
    "nest_base_32": Published("CIFAR-10 97.20, CIFAR-100 82.56", _NEST_SOURCE),
}
_PUBLISHED |= {
    name: Published(f"ImageNet-1K top-1 {score}", source)
    for source, scores in {
        "arXiv 2104.11227": {"mvit_base_224": 83.0, "mvit_base24_wide_320": 84.8},
        "arXiv 2112.01526": {
            "mvit_base24_224": 83.4,
            "mvitv2_tiny_224": 82.3,
            "mvitv2_small_224": 83.6,
            "mvitv2_base_224": 84.4,
            "mvitv2_large_224": 85.3,
        },
        "arXiv 2306.00989": {
            "hiera_tiny_224": 82.8,
            "hiera_small_224": 83.8,
            "hiera_base_224": 84.5,
            "hiera_base_plus_224": 85.2,
            "hiera_large_224": 86.1,
            "hiera_huge_224": 86.9,
        },
        "arXiv 2110.00476": {"resnet50_224": 80.4},
        "arXiv 2111.06377, after masked pretraining": {
            "vit_base_224": 83.6,
            "vit_large_224": 85.9,
            "vit_huge_224": 86.9,
        },
        "arXiv 2306.00989, Table 1": {
            "mvitv2_large_224_step_0": 85.3,
            "mvitv2_large_224_step_a": 85.6,
            "mvitv2_large_224_step_b": 84.4,
            "mvitv2_large_224_step_c": 85.4,
            "mvitv2_large_224_step_d": 85.7,
            "mvitv2_large_224_step_e": 85.6,
            "mvitv2_large_224_step_f": 85.6,
        },
    }.items()
    for name, score in scores.items()
}
_PUBLISHED |= {
    name: Published(f"Kinetics-400 top-1 {score}", source)
    for source, scores in {
        "arXiv 2104.11227": {"mvit_base_16x224": 78.4, "mvit_base_32x224": 80.2, "mvit_base_64x224": 81.2},
        "arXiv 2112.09133, without pretraining 80.5": {"mvitv2_large_16x224": 84.3},
        "facebookresearch/SlowFast": {"mvit_base24_32x224": 80.4},
        "arXiv 2112.09133, after MaskFeat": {"mvitv2_small_mean_16x224": 82.2, "mvitv2_large_mean_16x224": 84.3},
        "arXiv 2112.01526": {"mvitv2_small_16x224": 81.0, "mvitv2_base_32x224": 82.9, "mvitv2_large_40x312": 86.1},
        "arXiv 2306.00989": {
            "hiera_base_16x224": 84.0,
            "hiera_base_plus_16x224": 85.0,
            "hiera_large_16x224": 87.3,
            "hiera_huge_16x224": 87.8,
        },
        "arXiv 2306.00989, Table 1": {
            "mvitv2_large_16x224_step_0": 80.5,
            "mvitv2_large_16x224_step_a": 85.3,
            "mvitv2_large_16x224_step_b": 84.1,
            "mvitv2_large_16x224_step_c": 84.3,
            "mvitv2_large_16x224_step_d": 85.5,
            "mvitv2_large_16x224_step_e": 85.5,
            "mvitv2_large_16x224_step_f": 85.5,
        },
    }.items()
    for name, score in scores.items()
}
# Models that others have, with no score of their own here, and where they are.
_PUBLISHED |= {
    name: Published("-", source)
    for source, names in {
        "arXiv 2112.01526, ImageNet-21K weights": [name for name in MVIT_SIZES if name.endswith("_cls_224")],
        "arXiv 2104.11227, MViT-S as near as its printed counts": ("mvit_small_16x224",),
        "timm": ("hiera_small_abswin_256", "hiera_base_abswin_256"),
        "arXiv 2408.00714 (SAM 2), image encoder": (
            "hiera_tiny_sam2_224",
            "hiera_small_sam2_224",
            "hiera_base_plus_sam2_224",
            "hiera_large_sam2_256",
        ),
        "arXiv 2111.06377, masked pretraining": [f"mae_vit_{size}_224" for size in ("base", "large", "huge")],
        "arXiv 2112.09133, masked pretraining": [
            name for name in MASKED_SIZES if name.startswith("maskfeat") and "micro" not in name
        ],
        "after arXiv 2306.00989": [name for name in SIMPLIFIED if name.startswith("mvitv2_base")],
    }.items()
    for name in names
}
_PUBLISHED |= {
    name: Published("-", "arXiv 2306.00989, masked pretraining")
    for name in MASKED_SIZES
    if name.startswith("mae_hiera") and "micro" not in name
}
_PUBLISHED["nest_generator_64"] = Published("-", "after arXiv 2105.12723 and its talk")
_PUBLISHED["transgan_like_64"] = Published("-", "after arXiv 2102.07074")
_CONFIGS: dict[str, NetworkConfig] = {
    **NEST_SIZES,
    **MVIT_SIZES,
    **HIERA_SIZES,
    **SIMPLIFIED,
    **VIT_SIZES,
    **RESNET_SIZES,
    **MASKED_SIZES,
    **GENERATOR_SIZES,
}
_NAMES = (*_CONFIGS, *MICRO)
"""In the order in which they are listed; what timm has to be imported for is made when it is asked for."""

# Fields a user, or another library's copy of the weights, changes without leaving the named architecture.
_FREE_FIELDS = (
    "input_size",
    "in_channels",
    "out_channels",
    "num_classes",
    "drop_path",
    "head_dropout",
    "initialisation",
    "query_pools",
    "activation",
    "pool_padding",
    "class_token_residual",
)


@dataclass(frozen=True)
class Entry:
    """One row of the catalogue."""

    name: str
    config: NetworkConfig
    published: Published | None

    @property
    def parameters(self) -> int:
        """Number of parameters, as stored when it was counted."""
        return counts.stored()[self.name]["parameters"]

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one forward pass on one input, as stored when they were counted."""
        return counts.stored()[self.name]["multiply_adds"]


def list_models(pattern: str = "*") -> list[str]:
    """Lists the names of the catalogue that match a shell pattern such as `"nest*"`, in catalogue order."""
    if not isinstance(pattern, str):
        raise UserError(f"a pattern of names is text, such as 'nest*'; got {pattern!r:.100}")
    return [name for name in _NAMES if fnmatchcase(name, pattern)]


def entry(name: str) -> Entry:
    """The catalogue's row for a model name, or that of `timm/NAME`. Raises UserError for an unknown one."""
    if isinstance(name, str) and name.startswith("timm/"):
        return Entry(name, timm_config(name.removeprefix("timm/")), None)
    if isinstance(name, str) and name in MICRO:
        return Entry(name, baseline(MICRO[name]), None)
    if not isinstance(name, str) or name not in _CONFIGS:
        meant = did_you_mean(name, _NAMES) if isinstance(name, str) else ""
        raise UserError(f"there is no model called {quoted(str(name))}{meant or ';'} `hvit models` lists them")
    return Entry(name, _CONFIGS[name], _PUBLISHED.get(name))


def name_of(config: NetworkConfig) -> str:
    """The catalogue's name for a configuration, whatever the fields that leave its weights' shapes mostly alone.

    A configuration that is in no row is called "custom <family>", a masked autoencoder "mae_" and its encoder, or
    "maskfeat_" where it has no decoder.
    """
    if isinstance(config, MaskedConfig):
        return f"{'mae' if config.decoder_depth else 'maskfeat'}_{name_of(config.encoder)}"
    if isinstance(config, TimmConfig):
        same = (name for name, own in MICRO.items() if config.settings and config.settings == settings_of(own))
        return next(same, f"timm/{config.name}")
    if isinstance(config, ClipBaselineConfig):
        return config.name

    def architecture(one: NetworkConfig) -> dict[str, object]:
        return {field.name: getattr(one, field.name) for field in fields(one) if field.name not in _FREE_FIELDS}

    alike = [
        (name, row)
        for name, row in _CONFIGS.items()
        if type(row) is type(config) and architecture(row) == architecture(config)
    ]
    exact = [name for name, row in alike if row.input_size == config.input_size]
    return (exact or [name for name, _ in alike] or [f"custom {config.family}"])[0]


def change(config: NetworkConfig, **changes: object) -> NetworkConfig:
    """A configuration with some fields changed; a single number as input or patch size stands for a square.

    Of a clip's sizes such a number changes height and width, and leaves the time. Of a masked autoencoder the fields
    of its encoder can be changed like its own.

    Raises UserError for a field the family does not have, and for values that cannot be built.
    """
    if isinstance(config, MaskedConfig):
        own = {field.name for field in fields(config)}
        encoders = {name: changes.pop(name) for name in list(changes) if name not in own}
        if encoders:
            changes["encoder"] = change(config.encoder, **encoders)
    known = [field.name for field in fields(config) if field.name != "family"]
    for field, value in changes.items():
        if field not in known:
            raise UserError(f"{config.family} models have no field {field!r}; their fields: {', '.join(known)}")
        value = plain(value)
        if field in ("input_size", "patch_size", "output_size") and isinstance(value, int):
            changes[field] = (*getattr(config, field)[:-2], value, value)
    return replace(config, **changes)


@validated_dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class _Stored:
    config: Annotated[NetworkConfig, Field(discriminator="family")]


_STORED = TypeAdapter(_Stored)


def config_from_json(text: str) -> NetworkConfig:
    """The configuration that `{"config": {...}}` describes; unknown fields and wrong types are refused (UserError)."""
    try:
        return _STORED.validate_json(rename_json(text)[0]).config
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = shown(".".join(str(part)[:60] for part in first["loc"]))
        raise UserError(
            f"the stored model configuration is not valid at {place}: {shown(first['msg'][:400])}"
        ) from error


__getattr__ = old_names_of(__name__)
