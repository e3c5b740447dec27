"""Every classifier of timm behind the encoder contract: trained, probed and explained as our own models are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import isqrt
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from hvit.errors import UserError, did_you_mean
from hvit.fields import check_fields
from hvit.models.layers.blocks import draw_by_sample
from hvit.models.layers.masking import Mask
from hvit.models.layers.timm_network import TimmNetworkEncoder
from hvit.models.sizes import check_rate, class_count, known_classes
from hvit.models.timm_sizes import read_settings, without_shift


@dataclass(frozen=True)
class TimmConfig:
    """A model of timm by its name there, for images."""

    family: Literal["timm"] = "timm"
    """The model family."""
    name: str = "tf_efficientnet_lite0"
    """timm's name of the architecture, such as swin_tiny_patch4_window7_224."""
    input_size: tuple[int, int] = (224, 224)
    """Height and width of the input in pixels."""
    in_channels: int = 3
    """Channels of the input image: 3 for colour, 1 for grey."""
    num_classes: int | None = 1000
    """Number of classes of the head; None in a recipe: as many as the data has."""
    drop_path: float = 0.0
    """Stochastic-depth rate of the last layer, for architectures that have one."""
    settings: str = ""
    """Sizes in place of the architecture's own, as a JSON object of timm's arguments, such as {"embed_dim": 32}."""

    def __post_init__(self) -> None:
        check_fields(self)
        read_settings(self.settings)
        if min(self.in_channels, *known_classes(self), *self.input_size) < 1:
            raise UserError("the input size, channels and classes of a timm model must be 1 or more")
        check_rate("drop_path", self.drop_path)
        if (self.name, self.input_size, self.settings) != _KNOWN:  # timm takes two seconds to load, at every start
            _shape_of(self)

    @property
    def dims(self) -> tuple[int, ...]:
        """Width of the feature map of each level, fine to coarse."""
        return _shape_of(self).dims

    @property
    def depths(self) -> tuple[int, ...]:
        """Layers of the network, as timm's layer decay counts them, as one level."""
        return (_shape_of(self).layers,)

    @property
    def class_token(self) -> bool:
        """Whether the logits are those of a class token, so that they do not follow from the last feature map."""
        return _shape_of(self).prefix_tokens > 0


_KNOWN = (TimmConfig.name, TimmConfig.input_size, TimmConfig.settings)
"""The defaults: an architecture that the installed timm is known to have, and that takes images of this size."""


def timm_config(name: str) -> TimmConfig:
    """The configuration of a model of timm at the input size of its published weights (UserError for other names)."""
    import timm

    published = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    return TimmConfig(name=name, input_size=published.input_size[1:] if published else (224, 224))


@dataclass(frozen=True)
class _Shape:
    dims: tuple[int, ...]
    sizes: tuple[tuple[int, ...], ...]
    layers: int
    layer_of: dict[str, int]
    prefix_tokens: int


class _Network(nn.Module):
    """What classifiers of timm have, most of them all of it; timm names no such class, and none is made of this one."""

    forward_features: Callable[[Tensor], Tensor]
    forward_head: Callable[..., Tensor]
    forward_intermediates: Callable[..., tuple[Tensor, list[Tensor]]]
    get_classifier: Callable[[], nn.Module]
    group_matcher: Callable[..., dict[str, object]]


class TimmEncoder(TimmNetworkEncoder):
    """A model of timm as an encoder; its parameters are timm's, under `network.`.

    The last level is what timm's `forward_features` gives, and what its head takes. The levels below are those of
    `forward_intermediates`, for reading: of some architectures they are copies that the logits do not follow from.
    """

    config: TimmConfig

    def __init__(self, config: TimmConfig) -> None:
        super().__init__()
        self.config = config
        self.network = _create(config, class_count(config))
        draw_by_sample(self.network)

    @property
    def head(self) -> nn.Module:
        """The layer that gives the logits."""
        return self.network.get_classifier()

    def levels(self, images: Tensor, mask: Mask | None = None) -> list[Tensor]:
        """Feature maps (batch, rows, columns, dim), fine to coarse. Raises UserError for a mask: timm's take none."""
        return self.encode(images, mask)[0]

    def encode(self, images: Tensor, mask: Mask | None = None) -> tuple[list[Tensor], Tensor]:
        """The levels, and the features as timm's head takes them, class token included."""
        images = self.check_images(images)
        if mask is not None:
            raise UserError(f"timm's {self.config.name} takes no mask; masked pretraining needs a model of hvit")
        features, below = _all_features(self.network, images)
        maps = [one.movedim(1, -1) for one in below]
        last = _as_map(self.network, features)
        if maps and maps[-1].shape[1:3] == last.shape[1:3]:
            maps.pop()
        return [*maps, last], features

    def level_sizes(self, level: int) -> tuple[int, ...]:
        """Rows and columns of the feature map of a level."""
        return _shape_of(self.config).sizes[level]

    def _first_level(self, images: Tensor, mask: Mask | None) -> Tensor:
        return self.levels(images, mask)[0]

    def _next_level(self, level: int, below: Tensor, visible: Tensor | None) -> Tensor:
        raise UserError(
            f"timm's {self.config.name} computes its levels in one piece, so that the levels above a feature map "
            f"cannot be run alone; use a model of hvit"
        )

    def classify(self, last_map: Tensor, features: Tensor | None = None) -> Tensor:
        """Logits (batch, num_classes) of the last feature map (batch, rows, columns, dim).

        Of a model with a class token they are those of the features that `encode` gives with the levels (UserError
        without).
        """
        if self.config.class_token:
            if features is None:
                raise UserError(f"{self.config.name} classifies its class token, which `encode` gives with the levels")
            return self.network.forward_head(features)
        return self.network.forward_head(_as_features(self.network, last_map))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, num_classes) of images (batch, channels, height, width), never softmaxed."""
        images = self.check_images(images)
        return self.network(images)

    def features(self, images: Tensor) -> Tensor:
        """What the linear head takes: pooled features (batch, dim) of images (batch, channels, height, width)."""
        images = self.check_images(images)
        return self.network.forward_head(self.network.forward_features(images), pre_logits=True)

    def with_our_names(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """A state dict of timm's own network of this architecture under this model's names; others as they are."""
        own = self.network.state_dict().keys()
        return {f"network.{name}": tensor for name, tensor in state.items()} if own & state.keys() else state

    @property
    def level_dims(self) -> tuple[int, ...]:
        """Width of the feature map of each level, fine to coarse."""
        return self.config.dims

    def level_of(self, parameter_name: str) -> int:
        """Depth of a parameter as timm's layer decay counts it: 0 the stem, one more than the last layer the head."""
        return _shape_of(self.config).layer_of[parameter_name.removeprefix("network.")]


def _create(config: TimmConfig, num_classes: int) -> _Network:
    """timm's network of a configuration. Raises UserError for a name or a size that timm does not have."""
    import timm  # takes seconds to import

    if not timm.is_model(config.name):
        meant = did_you_mean(config.name, timm.list_models())
        raise UserError(f"timm has no model called {config.name!r}{meant or ';'} timm.list_models() lists them")
    chosen: dict[str, Any] = {"num_classes": num_classes, "in_chans": config.in_channels}
    if config.drop_path:
        chosen["drop_path_rate"] = config.drop_path
    published = timm.get_pretrained_cfg(config.name)
    if published is not None and published.input_size[1:] != config.input_size and published.fixed_input_size:
        chosen["img_size"] = config.input_size
    settings = read_settings(config.settings)
    shift = settings.pop("shift", True)
    try:
        network = cast(_Network, timm.create_model(config.name, **chosen, **settings))
        if not shift:
            without_shift(network)
        return network
    except (AssertionError, TypeError, ValueError, RuntimeError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"timm cannot make {config.name} with {chosen | settings}: {first[:200]}") from error


def _all_features(network: _Network, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The features that the head takes, and the maps (batch, dim, rows, columns) that timm gives, one per size."""
    if not hasattr(network, "forward_intermediates"):
        return network.forward_features(images), []
    try:
        features, maps = network.forward_intermediates(images, output_fmt="NCHW")
    except (AssertionError, TypeError):
        return network.forward_features(images), []
    coarser: list[Tensor] = []
    for one in maps:  # one map per size, the last
        if coarser and coarser[-1].shape[2:] == one.shape[2:]:
            coarser.pop()
        coarser.append(one)
    # Of some networks the head takes more layers than the last map has seen.
    wanted = network.forward_features(images) if features.shape[1:] == maps[-1].shape[1:] else features
    return wanted, coarser


def _is_channels_last(network: _Network) -> bool:
    return getattr(network, "output_fmt", "NCHW") == "NHWC"


def _as_map(network: _Network, features: Tensor) -> Tensor:
    """Features of timm's `forward_features` as a map (batch, rows, columns, dim), without class tokens."""
    if features.ndim == 4:
        return features if _is_channels_last(network) else features.movedim(1, -1)
    if features.ndim == 3:
        patches = features[:, getattr(network, "num_prefix_tokens", 0) :]
        side = isqrt(patches.shape[1])
        rows, columns = getattr(getattr(network, "patch_embed", None), "grid_size", (side, side))
        # The tokens of timm's Hiera and MViT are not in rows; hvit has these models itself.
        if rows * columns == patches.shape[1] and not hasattr(network, "unroll") and not hasattr(network, "stages"):
            return patches.unflatten(1, (rows, columns))
    raise UserError(f"the features of this {type(network).__name__}, {tuple(features.shape)}, are no feature map")


def _as_features(network: _Network, last_map: Tensor) -> Tensor:
    """The inverse of `_as_map`, for networks without a class token."""
    if hasattr(network, "num_prefix_tokens") and not _is_channels_last(network):
        return last_map.flatten(1, 2)
    return last_map if _is_channels_last(network) else last_map.movedim(-1, 1)


@lru_cache(maxsize=256)
def _shape_of(config: TimmConfig) -> _Shape:
    """What follows from the architecture; the network is built without memory to find out."""
    from timm.models import group_parameters

    with torch.device("meta"):
        network = _create(config, 1 if config.num_classes is None else config.num_classes).eval()
        images = torch.empty(1, config.in_channels, *config.input_size)
    try:
        with torch.no_grad():
            features, below = _all_features(network, images)
            last = _as_map(network, features)
    except (AssertionError, RuntimeError, ValueError, TypeError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"timm's {config.name} does not take images of {config.input_size} pixels: {first[:200]}"
        ) from error
    if below and below[-1].shape[2:] == last.shape[1:3]:
        below.pop()
    dims = (*(one.shape[1] for one in below), last.shape[-1])
    sizes = (*(tuple(one.shape[2:]) for one in below), tuple(last.shape[1:-1]))
    matcher = network.group_matcher(coarse=False) if hasattr(network, "group_matcher") else {}
    layers = cast(dict[str, int], group_parameters(network, matcher, reverse=True)) if matcher else {}
    # Where timm names no layers, only the head is a part of its own.
    of_head = {id(parameter) for parameter in network.get_classifier().parameters()} if not layers else set()
    layer_of = {name: int(layers.get(name, id(one) in of_head)) for name, one in network.named_parameters()}
    prefix = getattr(network, "num_prefix_tokens", 0) if last.ndim == 4 and features.ndim == 3 else 0
    return _Shape(dims, sizes, max(layer_of.values(), default=1), layer_of, prefix)
