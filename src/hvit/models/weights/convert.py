"""Our weights as other libraries have them, by family and library, and the libraries' models to compare with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.models.build import Network
from hvit.models.hiera.config import HieraConfig
from hvit.models.hiera.weights import (
    hiera_official_arguments,
    hiera_timm_arguments,
    hiera_to_official,
    hiera_to_timm,
    hiera_to_transformers,
    hiera_transformers_arguments,
)
from hvit.models.masked.config import MaskedConfig
from hvit.models.masked.model import MaskedAutoencoder
from hvit.models.masked.weights import (
    masked_official_arguments,
    masked_to_official,
    masked_to_transformers,
    masked_transformers_arguments,
)
from hvit.models.mvit.config import MvitConfig
from hvit.models.mvit.weights import (
    mvit_timm_arguments,
    mvit_to_official,
    mvit_to_timm,
    mvit_to_torchvision,
    mvit_torchvision_arguments,
)
from hvit.models.nest.config import NestConfig
from hvit.models.nest.weights import nest_timm_arguments, nest_to_flax, nest_to_timm

Target = Literal["hvit", "timm", "transformers", "torchvision", "official"]


@dataclass(frozen=True)
class Way:
    """How weights of a family become another library's."""

    state: Callable[[Any], dict[str, Tensor]]
    """The tensors under its names; raises UserError for a model that it cannot be."""
    suffixes: tuple[str, ...]
    """What its files are called; none for a folder."""
    package: str
    """The package that has the model, imported by this name."""
    peer: Callable[[Any], nn.Module] | None = None
    """Its model, without the weights; None for code that no package has."""
    arguments: Callable[[Any], dict[str, object]] | None = None
    """Of transformers, the fields of config.json."""


def _timm(module: str, kind: str, arguments: Callable[[Any], dict[str, object]]) -> Callable[[Any], nn.Module]:
    return lambda model: getattr(import_module(module), kind)(**arguments(model))


def _transformers(kind: str, arguments: Callable[[Any], dict[str, object]]) -> Callable[[Any], nn.Module]:
    def build(model: Any) -> nn.Module:
        library = import_module("transformers")
        return getattr(library, kind)(library.HieraConfig(**arguments(model), normalize_pixel_loss=True))

    return build


_STATE_DICTS = (".safetensors", ".pth", ".pt", ".bin")
_CHECKPOINTS = (".pyth", ".pth", ".pt")
WAYS: dict[tuple[type, Target], Way] = {
    (NestConfig, "timm"): Way(
        nest_to_timm, _STATE_DICTS, "timm", _timm("timm.models.nest", "Nest", nest_timm_arguments)
    ),
    (NestConfig, "official"): Way(nest_to_flax, (".flax",), "google-research/nested-transformer"),
    (MvitConfig, "timm"): Way(
        mvit_to_timm, _STATE_DICTS, "timm", _timm("timm.models.mvitv2", "MultiScaleVit", mvit_timm_arguments)
    ),
    (MvitConfig, "torchvision"): Way(
        mvit_to_torchvision,
        _STATE_DICTS,
        "torchvision",
        _timm("torchvision.models.video.mvit", "MViT", mvit_torchvision_arguments),
    ),
    (MvitConfig, "official"): Way(mvit_to_official, _CHECKPOINTS, "facebookresearch/SlowFast"),
    (HieraConfig, "timm"): Way(
        hiera_to_timm, _STATE_DICTS, "timm", _timm("timm.models.hiera", "Hiera", hiera_timm_arguments)
    ),
    (HieraConfig, "official"): Way(
        hiera_to_official, _CHECKPOINTS, "hiera", _timm("hiera", "Hiera", hiera_official_arguments)
    ),
    (HieraConfig, "transformers"): Way(
        hiera_to_transformers,
        (),
        "transformers",
        _transformers("HieraForImageClassification", hiera_transformers_arguments),
        hiera_transformers_arguments,
    ),
    (MaskedConfig, "official"): Way(
        masked_to_official,
        _CHECKPOINTS,
        "hiera",
        _timm("hiera.hiera_mae", "MaskedAutoencoderHiera", masked_official_arguments),
    ),
    (MaskedConfig, "transformers"): Way(
        masked_to_transformers,
        (),
        "transformers",
        _transformers("HieraForPreTraining", masked_transformers_arguments),
        masked_transformers_arguments,
    ),
}


def way_of(model: Network, target: Target) -> Way:
    """How a model's weights become another library's. Raises UserError for a library that does not have the family."""
    kind = type(model.config)
    if (kind, target) not in WAYS:
        known = [name for one, name in WAYS if one is kind]
        have = f"they are converted to {', '.join(known)}" if known else "no other library has them"
        raise UserError(f"weights of the family {model.config.family!r} are not converted to {target}: {have}")
    return WAYS[kind, target]


@torch.no_grad()
def difference_from(peer: nn.Module, model: Network) -> float:
    """The largest difference of the logits of two models on random inputs, relative to the largest; of autoencoders
    that of the losses.
    """
    numbers = torch.Generator().manual_seed(0)
    peer, model = peer.eval(), model.eval()
    if isinstance(model, MaskedAutoencoder):
        return _difference_of_losses(peer, model, numbers)
    config = model.config
    images = torch.randn(2, config.in_channels, *config.input_size, generator=numbers)
    wanted, found = model(images), peer(images)
    found = getattr(found, "logits", found)
    if hasattr(getattr(peer, "head", None), "act_func"):  # the authors' Hiera gives probabilities in evaluation
        wanted = wanted.softmax(1)
    return float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-12))


def _difference_of_losses(peer: nn.Module, model: MaskedAutoencoder, numbers: torch.Generator) -> float:
    config = model.config
    images = torch.randn(2, config.encoder.in_channels, *config.encoder.input_size, generator=numbers)
    visible = model.draw_masks(2, numbers)
    wanted = model.loss(model(images, visible), images, visible)
    if hasattr(peer, "hiera"):  # transformers keeps the units of the lowest noise
        noise = (~visible).float().flatten(1) + 0.1 * torch.rand(visible.flatten(1).shape, generator=numbers)
        found = peer(images, noise=noise).loss
    else:
        found = peer(images, mask=visible.flatten(1))[0]
    return float((found - wanted).abs() / wanted.abs())
