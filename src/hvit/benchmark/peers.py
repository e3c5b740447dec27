"""Other implementations of a model of hvit, with the same weights on both sides."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from hvit.errors import UserError, did_you_mean
from hvit.models import catalogue
from hvit.models.build import build
from hvit.models.hiera.config import HieraConfig
from hvit.models.layers.encoder import Encoder
from hvit.models.mvit.config import MvitConfig
from hvit.models.nest.config import NestConfig
from hvit.models.weights.load import load_weights
from hvit.models.weights.timm import timm_arguments, to_timm

Logits = Callable[[Tensor], Tensor]

_MODULES = {
    "timm": "timm", "transformers": "transformers", "torchvision": "torchvision", "hiera-transformer": "hiera",
}  # fmt: skip
PEERS = tuple(_MODULES)
_TIMM_CLASSES = {
    NestConfig: ("nest", "Nest"), MvitConfig: ("mvitv2", "MultiScaleVit"), HieraConfig: ("hiera", "Hiera"),
}  # fmt: skip
_TORCHVISION = {"mvit_base_16x224": "mvit_v1_b", "mvitv2_small_16x224": "mvit_v2_s"}


def check_peers(names: list[str]) -> None:
    """Refuses (UserError) peers that are unknown or not installed."""
    for name in names:
        if name not in PEERS:
            near = did_you_mean(name, PEERS)
            raise UserError(f"--against {name!r} is not known{near or ';'} it takes {', '.join(PEERS)}")
        if find_spec(_MODULES[name]) is None:
            raise UserError(f"--against {name} needs the package {name}: pip install {name}")


def import_peer(name: str) -> None:
    """Imports a peer's modules, so that they do not count as memory of a model."""
    import_module(_MODULES[name])
    if name == "transformers":
        from transformers import HieraForImageClassification  # noqa: F401


def same_weights(model: Encoder, peer: str) -> tuple[Encoder, nn.Module, Logits]:
    """A model of hvit and its peer with the same weights, both in evaluation mode, and what gives the peer's logits.

    Of timm the peer takes the weights of the model; of the others a copy of the model takes the peer's, which are
    random. Raises UserError where the peer does not have the model.
    """
    if peer == "timm":
        theirs = _of_timm(model)
        return model.eval(), theirs, theirs
    torch.manual_seed(0)
    theirs, logits = _BUILDERS[peer](model)
    ours = build(model.config)
    report = load_weights(ours, theirs.state_dict())
    if report.resized or report.missing or report.reinitialised:
        raise _absent(model, peer)
    return ours.eval(), theirs.eval(), logits


def _of_timm(model: Encoder) -> nn.Module:
    state, arguments = to_timm(model), timm_arguments(model)
    file, name = _TIMM_CLASSES[type(model.config)]
    theirs: Any = getattr(import_module(f"timm.models.{file}"), name)(**arguments)
    theirs.load_state_dict(state)
    return theirs.eval()


def _of_transformers(model: Encoder) -> tuple[nn.Module, Logits]:
    config = model.config
    if not isinstance(config, HieraConfig) or len(config.input_size) != 2:
        raise _absent(model, "transformers")
    from transformers import HieraConfig as TheirConfig
    from transformers import HieraForImageClassification

    fields: dict[str, Any] = {
        "embed_dim": config.dims[0], "depths": list(config.depths), "num_heads": list(config.heads),
        "image_size": list(config.input_size), "num_channels": config.in_channels, "num_labels": config.num_classes,
    }  # fmt: skip
    theirs = HieraForImageClassification(TheirConfig(**fields))
    return theirs, lambda images: theirs(images).logits


def _of_torchvision(model: Encoder) -> tuple[nn.Module, Logits]:
    name = _TORCHVISION.get(catalogue.name_of(model.config))
    if name is None:
        raise _absent(model, "torchvision")
    from torchvision.models import video

    arguments: dict[str, Any] = {"dropout": 0.0, "stochastic_depth_prob": 0.0}
    theirs: nn.Module = getattr(video, name)(weights=None, num_classes=model.config.num_classes, **arguments)
    return theirs, theirs


def _of_hiera(model: Encoder) -> tuple[nn.Module, Logits]:
    name = catalogue.name_of(model.config)
    hiera = import_module("hiera")
    if not isinstance(model.config, HieraConfig) or not hasattr(hiera, name):
        raise _absent(model, "hiera-transformer")
    theirs = getattr(hiera, name)(num_classes=model.config.num_classes)
    theirs.head.act_func = nn.Identity()  # a softmax
    return theirs, theirs


_BUILDERS: dict[str, Callable[[Encoder], tuple[nn.Module, Logits]]] = {
    "transformers": _of_transformers,
    "torchvision": _of_torchvision,
    "hiera-transformer": _of_hiera,
}


def _absent(model: Encoder, peer: str) -> UserError:
    return UserError(f"{peer} has no {catalogue.name_of(model.config)}; omit it from --against, or name another model")
