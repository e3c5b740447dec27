"""Registers hvit's image classifiers with timm, as `hvit_` and the catalogue's name: `import hvit.timm_models`.

    import timm, hvit.timm_models
    model = timm.create_model("hvit_nest_micro_32", num_classes=7)

timm reads a name with a slash as a repository of the hub, so that the prefix ends with an underscore. The models are
hvit's own, with the methods that timm's scripts and optimisers call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from timm.models import generate_default_cfgs, register_model
from timm.models._builder import resolve_pretrained_cfg
from timm.models._features import FeatureGetterNet, feature_take_indices
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.models.catalogue import ModelConfig, entry, list_models
from hvit.models.create import create_model
from hvit.models.hiera.config import HieraConfig
from hvit.models.hiera.model import Hiera
from hvit.models.layers.encoder import Encoder
from hvit.models.layers.grids import channels_first
from hvit.models.mvit.config import MvitConfig
from hvit.models.mvit.model import Mvit
from hvit.models.nest.config import NestConfig
from hvit.models.nest.model import Nest
from hvit.models.weights.load import load_weights
from hvit.models.weights.timm import DOWNLOADS, licence_of
from hvit.training.activations import checkpoint_activations, keep_activations

PREFIX = "hvit_"
_FAMILIES = (NestConfig, MvitConfig, HieraConfig)


class TimmMethods(Encoder):
    """What timm's scripts ask of a model and hvit's encoders do not have by themselves."""

    pretrained_cfg: dict[str, Any]

    @property
    def default_cfg(self) -> dict[str, Any]:
        """timm's older name of `pretrained_cfg`."""
        return self.pretrained_cfg

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """Width, stride and name of every level, fine to coarse."""
        height = self.config.input_size[0]
        return [
            {"num_chs": dim, "reduction": height // self.level_sizes(level)[0], "module": f"levels.{level}"}
            for level, dim in enumerate(self.level_dims)
        ]

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The feature maps of the levels as timm gives them, (batch, dim, rows, columns), and the features before.

        indices: of the levels; a number for the last ones; None for all. norm: must be False; the last map is as
        `Encoder.levels` gives it. output_fmt: "NCHW" or "NHWC".
        """
        if norm or output_fmt not in ("NCHW", "NHWC"):
            raise UserError("feature maps of hvit are given as they are, norm=False, as NCHW or NHWC")
        maps = self.levels(x)
        chosen, _ = feature_take_indices(len(maps), cast(Any, indices))
        taken = [channels_first(maps[one]) if output_fmt == "NCHW" else maps[one] for one in chosen]
        return taken if intermediates_only else (self.forward_features(x), taken)

    def no_weight_decay(self) -> set[str]:
        """Names of the position embeddings and class tokens, which are not decayed."""
        return {name for name, _ in self.named_parameters() if name.endswith(("positions", "class_token"))}

    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """The depth of a parameter by its name, for layer-wise learning rates: that of `level_of`."""
        return self.level_of

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Computes the blocks' activations again in the backward pass, or keeps them."""
        (checkpoint_activations if enable else keep_activations)([self])


class TimmNest(TimmMethods, Nest):
    """A NesT with timm's methods. These classes have names of their own, by which a pickle finds them."""


class TimmMvit(TimmMethods, Mvit):
    """An MViT or MViTv2 with timm's methods."""


class TimmHiera(TimmMethods, Hiera):
    """A Hiera with timm's methods."""


_CLASSES: dict[type[Encoder], type[TimmMethods]] = {Nest: TimmNest, Mvit: TimmMvit, Hiera: TimmHiera}


def _with_methods(model: Encoder) -> TimmMethods:
    model.__class__ = _CLASSES[type(model)]
    return cast(TimmMethods, model)


def _create(
    name: str,
    pretrained: bool = False,
    pretrained_cfg: Any = None,
    pretrained_cfg_overlay: dict[str, Any] | None = None,
    cache_dir: object = None,
    features_only: bool = False,
    out_indices: int | Sequence[int] | None = None,
    **arguments: Any,
) -> nn.Module:
    """A model of the catalogue with timm's arguments; other arguments are fields of its configuration."""
    placement = {key: arguments.pop(key) for key in ("device", "dtype") if key in arguments}
    arguments.pop("pretrained_model_args", None)
    changes = {_ARGUMENTS.get(key, key): value for key, value in arguments.items()}
    if "input_size" in changes and not isinstance(changes["input_size"], int):
        changes["input_size"] = tuple(changes["input_size"])
    if changes.get("head_dropout") == 0.0 and not hasattr(entry(name).config, "head_dropout"):
        del changes["head_dropout"]  # timm's script always names it
    own_pool = "token" if getattr(entry(name).config, "class_token", False) else "avg"
    if changes.pop("global_pool", own_pool) != own_pool:
        raise UserError(f"{PREFIX}{name} pools by {own_pool!r}; omit global_pool")
    settings = resolve_pretrained_cfg(PREFIX + name, pretrained_cfg, pretrained_cfg_overlay).to_dict()
    file = (settings.get("state_dict") or settings.get("file")) if pretrained else None
    model = _with_methods(cast(Encoder, create_model(name, pretrained=pretrained and file is None, **changes)))
    if file is not None:
        load_weights(model, file)
    channels, size, classes = model.config.in_channels, model.config.input_size, model.config.num_classes
    model.pretrained_cfg = settings | {"input_size": (channels, *size), "num_classes": classes}
    model.to(**placement)
    if not features_only:
        return model
    return FeatureGetterNet(model, out_indices=cast(Any, out_indices or tuple(range(len(model.level_dims)))))


_ARGUMENTS = {
    "in_chans": "in_channels", "img_size": "input_size", "drop_path_rate": "drop_path", "drop_rate": "head_dropout",
}  # fmt: skip


def _settings(name: str, config: ModelConfig) -> dict[str, Any]:
    published = DOWNLOADS.get(name)
    return {
        "hf_hub_id": f"timm/{published}" if published else None,
        "input_size": (config.in_channels, *config.input_size),
        "num_classes": config.num_classes,
        "fixed_input_size": True,
        "crop_pct": 0.9 if max(config.input_size) > 64 else 1.0,
        "first_conv": "patch_embed",
        "classifier": "head",
        "license": licence_of(name) or None,
    }


def _register(names: Sequence[str]) -> None:
    for name in names:

        def create(*, _name: str = name, **arguments: Any) -> nn.Module:
            return _create(_name, **arguments)

        create.__name__ = create.__qualname__ = PREFIX + name
        create.__doc__ = f"hvit's {name}, with timm's arguments."
        register_model(create)


def _image_classifiers() -> dict[str, ModelConfig]:
    configs = {name: entry(name).config for name in list_models() if not name.startswith("timm/")}
    return {
        name: config
        for name, config in configs.items()
        if isinstance(config, _FAMILIES) and len(config.input_size) == 2
    }


_configs = _image_classifiers()
default_cfgs = generate_default_cfgs({f"{PREFIX}{name}": _settings(name, config) for name, config in _configs.items()})
_register(list(_configs))
