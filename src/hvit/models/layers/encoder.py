"""The contract of every encoder: images to feature maps to logits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from hvit.errors import UserError
from hvit.models.layers.blocks import truncated_normal_
from hvit.models.layers.grids import PositionResize, is_exported
from hvit.models.layers.masking import Mask
from hvit.models.layers.tracing import is_symbolic, one_step
from hvit.models.sizes import head_of


class Encoder(nn.Module, ABC):
    """A network that turns images into feature maps, fine to coarse, and the last one into class logits.

    Explaining, masking, feature pyramids and layer-wise learning rates use only these methods and `config`,
    the frozen dataclass the model was built from.
    """

    config: Any
    position_resizes: tuple[PositionResize, ...] = ("plane",)
    """The ways in which this family's position embeddings can be resized, the default one first."""
    norm_follows_mean: bool = False
    """Whether the final norm comes after the mean over the last feature map, so that the last level is before it."""

    def levels(self, images: Tensor, mask: Mask | None = None) -> list[Tensor]:
        """The feature map after each level, fine to coarse, on the path from the images to the logits.

        images: (batch, channels, height, width), of clips (batch, channels, time, height, width). mask: which mask
        units are visible, and how the rest is encoded. Returns feature maps (batch, rows, columns, dim) or (batch,
        time, rows, columns, dim), the last of which `classify` takes; of a sparse mask (batch, visible units,
        *unit side, dim). Raises UserError for images and masks of another shape than the model's, and for a mask that
        the model does not support.
        """
        first = self._first_level(images, mask)
        return [first, *self._levels_above(0, first, mask.visible if mask is not None and mask.is_sparse else None)]

    def levels_from(self, level: int, feature_map: Tensor) -> list[Tensor]:
        """The feature maps of all levels above a given one, computed from its feature map.

        level: 0 the finest. feature_map: (batch, *sizes, dim) of that level, as `levels` returned it for whole inputs,
        or changed. For the map that `levels` returned, the result is the rest of its list, bit for bit:
        `levels_from(k, levels(images)[k])` is `levels(images)[k + 1:]`. The last map, or `feature_map` itself where
        nothing is above it, is what `classify` takes. Raises UserError for a level or a map that the model does not
        have, and for a model with a class token, which is no part of the feature map.
        """
        count = len(self.level_dims)
        if isinstance(level, bool) or not isinstance(level, int) or not 0 <= level < count:
            raise UserError(f"level must be a whole number from 0 to {count - 1} for this model; got {level!r}")
        if not isinstance(feature_map, Tensor) or not feature_map.is_floating_point():
            kind = feature_map.dtype if isinstance(feature_map, Tensor) else type(feature_map).__name__
            raise UserError(f"feature_map must be a tensor of floating-point numbers, as levels returns it; got {kind}")
        wanted = (*self.level_sizes(level), self.level_dims[level])
        if tuple(feature_map.shape[1:]) != wanted:
            raise UserError(
                f"the feature map of level {level} of this model is (batch, {', '.join(map(str, wanted))}); "
                f"got shape {tuple(feature_map.shape)}"
            )
        return self._levels_above(level, feature_map, None)

    def _levels_above(self, level: int, feature_map: Tensor, visible: Tensor | None) -> list[Tensor]:
        feature_maps = []
        for above in range(level + 1, len(self.level_dims)):
            feature_map = self._next_level(above, feature_map, visible)
            feature_maps.append(feature_map)
        return feature_maps

    @abstractmethod
    def _first_level(self, images: Tensor, mask: Mask | None) -> Tensor:
        """The feature map after the finest level; see `levels`."""

    @abstractmethod
    def _next_level(self, level: int, below: Tensor, visible: Tensor | None) -> Tensor:
        """The feature map after a level, computed from that of the level below, on the path to the logits.

        visible: in sparse encoding, where `below` is (batch, visible units, *unit side, dim), the mask of these units.
        """

    @abstractmethod
    def level_sizes(self, level: int) -> tuple[int, ...]:
        """Positions along every axis of the feature map of a level: (rows, columns), of clips the time before them."""

    @abstractmethod
    def classify(self, last_map: Tensor) -> Tensor:
        """Logits (batch, num_classes) of the last feature map (batch, rows, columns, dim), never softmaxed."""

    @abstractmethod
    def level_of(self, parameter_name: str) -> int:
        """Depth of a parameter, for layer-wise learning-rate decay.

        0 is the stem, i + 1 the i-th transformer layer counted from the image, and one more the final norm and head.
        """

    def remove_head(self) -> None:
        """Removes what comes after the last feature map: the head, and the final norm where that follows the mean."""
        self.head = nn.Identity()
        if self.norm_follows_mean:
            self.norm = nn.Identity()

    def forward_features(self, images: Tensor) -> Tensor:
        """What `forward_head` takes, as timm names it: the last feature map, or tokens where a class token is first."""
        return self.levels(images)[-1]

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits (batch, num_classes) of what `forward_features` returns; with `pre_logits` what the head takes."""
        return self.pool(features) if pre_logits else self.classify(features)

    def pool(self, last_map: Tensor) -> Tensor:
        """What the head takes (batch, dim), made from the last feature map; UserError for models that hide it."""
        raise UserError(f"{self.config.family} models do not give what their head takes")

    def get_classifier(self) -> nn.Module:
        """The head, as timm names it."""
        return self.head  # pyright: ignore[reportReturnType]

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Puts a new head for another number of classes in the place of the old one; 0 for none.

        A model without a head returns the pooled features (batch, dim). global_pool: what timm's models are given;
        anything but None or the model's own way of pooling is refused (UserError).
        """
        own = "token" if getattr(self.config, "class_token", False) else "avg"
        if global_pool not in (None, own):
            raise UserError(f"this model pools by {own!r}; global_pool is that or None, not {global_pool!r}")
        if isinstance(getattr(type(self), "head", None), property):
            raise UserError(f"{self.config.family} models take no other head; create one with num_classes")
        self.config, weight = replace(self.config, num_classes=num_classes), next(self.parameters())
        self.head = new_head(self.level_dims[-1], num_classes).to(weight)

    @property
    def num_classes(self) -> int:
        """The number of logits; 0 where there is no head."""
        return self.config.num_classes

    @property
    def num_features(self) -> int:
        """Width of what the head takes."""
        return self.level_dims[-1]

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, num_classes) of images (batch, channels, height, width), never softmaxed."""
        return self.classify(self.levels(images)[-1])

    @property
    def level_dims(self) -> tuple[int, ...]:
        """Width of the feature map of each level, fine to coarse."""
        return self.config.dims

    def resize_positions(self, name: str, tensor: Tensor, shape: tuple[int, ...], how: PositionResize) -> Tensor | None:
        """A position embedding that was made for another input size, in the shape this model wants.

        name: our name of the parameter. tensor: the embedding found, float32. shape: the shape wanted. how: one of
        `position_resizes`. Returns None where the parameter is no position embedding, or its shapes differ in more
        than the input size.
        """
        return None

    def check_images(self, images: Tensor, casts: bool = False) -> Tensor:
        """The images as they are; others than floating-point (batch, in_channels, *input_size) are refused (UserError),
        and so are those of another type than the weights where nothing casts them: neither autocast nor the caller.

        casts: whether the caller does. A program traced by torch.fx contains the check where the result is used.
        """
        weight = None if casts or is_symbolic(images) else next(self.parameters(), None)
        dtype = None if weight is None else weight.dtype
        return _check_images(images, (self.config.in_channels, *self.config.input_size), dtype)


def new_head(dim: int, num_classes: int) -> nn.Module:
    """A linear layer from features to logits, its weights normal with std 0.02; the identity for no classes."""
    head = head_of(dim, num_classes)
    if isinstance(head, nn.Linear):
        truncated_normal_(head.weight)
        nn.init.zeros_(head.bias)
    return head


@one_step
def _check_images(images: Tensor, wanted: tuple[int, ...], dtype: torch.dtype | None) -> Tensor:
    if not isinstance(images, Tensor) or not images.is_floating_point():
        kind = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise UserError(f"images must be a tensor of floating-point numbers, normalised as in training; got {kind}")
    if images.ndim != len(wanted) + 1 or tuple(images.shape[1:]) != wanted:
        axes = ("time", "height", "width")[1 - len(wanted) :]
        kind = "clips" if len(axes) == 3 else "images"
        raise UserError(
            f"this model takes batches of {kind} of (channels, {', '.join(axes)}) {wanted}; "
            f"got shape {tuple(images.shape)}{_advice(tuple(images.shape), wanted)}"
        )
    if dtype is not None and images.dtype is not dtype and dtype.is_floating_point and not _autocasts(images):
        raise UserError(
            f"the weights of this model are {dtype}, and the images {images.dtype}: convert them by "
            f"images.to({dtype}), or call the model in torch.autocast, which takes float32 and narrower ones"
        )
    return images


def _advice(shape: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """What to do about images whose shape is that of one without a batch, or has the channels last."""
    if shape == wanted:
        return ": give one by images.unsqueeze(0)"
    if shape[1:] == (*wanted[1:], wanted[0]):
        return ": put the channels first by images.movedim(-1, 1)"
    return ""


def _autocasts(images: Tensor) -> bool:
    """Whether autocast brings images and weights to one type."""
    kind = images.device.type
    return kind != "meta" and torch.is_autocast_enabled(kind) and images.dtype is not torch.float64


def unwrap(model: object) -> object:
    """The model inside of what torch wraps models in: DataParallel and its like, averages, `torch.compile`.

    What is no such wrapper is returned as it is.
    """
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)
    while isinstance(model, nn.Module) and (isinstance(model, wrappers) or type(model).__name__ == "OptimizedModule"):
        model = model._modules["_orig_mod" if "_orig_mod" in model._modules else "module"]
    return model


def _needs_products(bias: Tensor | None) -> bool:
    """Whether attention has to be written out: torch.func asks for derivatives that no fused kernel has, and ONNX's
    exporter loses the layout of a fused kernel's result where that has a bias."""
    return torch._C._are_functorch_transforms_active() or (bias is not None and is_exported())
