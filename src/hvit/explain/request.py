"""What every explanation starts with: images and classes as asked for, and a model as it predicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isqrt
from operator import index
from typing import Any, SupportsIndex

import numpy as np
import torch
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.models.layers import Encoder

Classes = SupportsIndex | Sequence[SupportsIndex] | np.ndarray | Tensor


def as_batch(images: Tensor, axes: int = 2) -> Tensor:
    """Images (batch, channels, height, width), from those or one image (channels, height, width); else UserError.

    axes: 3 for clips, which have the time before the height.
    """
    if images.ndim not in (axes + 1, axes + 2) or not images.is_floating_point():
        one = "channels, height, width" if axes == 2 else "channels, time, height, width"
        raise UserError(
            f"{'images' if axes == 2 else 'clips'} to explain must be floating-point (batch, {one}) or ({one}), "
            f"got {images.dtype} of shape {tuple(images.shape)}"
        )
    return images if images.ndim == axes + 2 else images[None]


def choose_classes(logits: Tensor, classes: Classes | None, top_k: int = 1) -> Tensor:
    """Classes to explain for each image, as (batch, k), from what the user asked for (see `gradcat_batch`).

    logits: (batch, num_classes). Raises UserError for logits that are not finite and for classes that do not exist.
    """
    batch, count = logits.shape
    if not torch.isfinite(logits).all():
        raise UserError("the model's logits are not finite numbers for these images: there is nothing to explain")
    if classes is None:
        if not 1 <= top_k <= count:
            raise UserError(f"top_k must be from 1 to the model's {count} classes, got {top_k}")
        return logits.detach().topk(top_k, dim=1).indices
    if top_k != 1:
        raise UserError("give either classes or top_k, not both")
    if not isinstance(classes, Tensor | np.ndarray):
        classes = [index(one) for one in (classes if isinstance(classes, Sequence) else [classes])]
    chosen = torch.as_tensor(classes)
    if chosen.ndim < 2:
        chosen = chosen.reshape(1, -1).expand(batch, -1)
    if chosen.ndim != 2 or len(chosen) != batch or chosen.shape[1] == 0 or chosen.dtype.is_floating_point:
        raise UserError(
            f"classes must be one class, several, or integers of shape (images, classes per image) for {batch} images, "
            f"got {chosen.dtype} of shape {tuple(chosen.shape)}"
        )
    wrong = chosen[(chosen < 0) | (chosen >= count)]
    if len(wrong):
        raise UserError(f"class index {int(wrong[0])} is out of range: the model has classes 0 to {count - 1}")
    return chosen.to(logits.device, torch.int64)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Puts a model in evaluation mode, and every module of it back into its own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def classifies_a_token(model: nn.Module) -> bool:
    """Whether the logits are those of a class token, so that they do not depend on the last grid."""
    return bool(getattr(getattr(model, "config", None), "class_token", False))


def levels_and_logits(model: Encoder, images: Tensor) -> tuple[list[Tensor], Tensor]:
    """The grid after every level of an encoder, and the logits (batch, classes) computed from them."""
    if classifies_a_token(model):
        speaker: Any = model
        grids, token = speaker.encode(images)
        return grids, speaker.classify(grids[-1], token)
    grids = model.levels(images)
    return grids, model.classify(grids[-1])


def find_level(model: nn.Module, count: int, level: int | None) -> int:
    """The number of a level, 0 the finest, of a model with `count` levels.

    level: 0 the finest, -1 the coarsest; None for the coarsest that the logits depend on. Raises UserError for a level
    that the model does not have, or that its logits do not depend on.
    """
    last = count - 1 - classifies_a_token(model)
    wanted = last if level is None else level + count * (level < 0)
    if not 0 <= wanted <= last:
        raise UserError(f"level must be from 0 to {last} for this {type(model).__name__}, got {level}")
    return wanted


def normalised_plane(model: Encoder, last_grid: Tensor) -> Tensor:
    """The last grid as the plane whose mean the linear head is applied to, after the final norm.

    Where the final norm comes before the mean, that is the last grid itself. Where it follows the mean (Hiera), every
    position is centred on its own channels and scaled as the norm scales the mean: that scale is one number per image,
    held constant. The mean of the plane is then exactly the normed mean, so that the logits are a linear head on the
    mean of a plane, as in the other models.
    last_grid: (batch, rows, columns, dim), of clips with the time before the rows. Returns the same shape.
    """
    if not model.norm_follows_mean:
        return last_grid
    norm: Any = model.norm
    places = tuple(range(1, last_grid.ndim - 1))
    variance = last_grid.mean(places, keepdim=True).var(-1, unbiased=False, keepdim=True)
    scale = (variance.detach() + norm.eps).rsqrt()
    return (last_grid - last_grid.mean(-1, keepdim=True)) * scale * norm.weight + norm.bias


def features_and_logits(
    model: nn.Module, images: Tensor, level: int | None = None, layer: str | None = None
) -> tuple[Tensor, Tensor]:
    """One layer's features of any classifier, and the logits (batch, classes) computed from them.

    images: (batch, channels, height, width). level: of an encoder, the level whose grid is wanted, 0 the finest, -1 the
    coarsest; left out, the coarsest that the logits depend on. layer: of another model, the name of the module whose
    output is wanted, such as "layer3"; left out, what `forward_features` of a model of timm gives. Features are as the
    model has them: `as_grid` puts them in order.
    Raises UserError for a level or a layer that the model does not have.
    """
    if isinstance(model, Encoder):
        if layer is not None:
            raise UserError(f"{type(model).__name__} is asked for by level, such as level=-1, not by layer ({layer!r})")
        grids, logits = levels_and_logits(model, images)
        return grids[find_level(model, len(grids), level)], logits
    if level is not None:
        raise UserError(f"{type(model).__name__} is asked for by layer, such as layer='layer4', not by level ({level})")
    network: Any = model
    if layer is not None:
        return _output_of(model, images, layer)
    if not (hasattr(model, "forward_features") and hasattr(model, "forward_head")):
        raise UserError(f"{type(model).__name__} does not say which features it classifies: give the name of a layer")
    features = network.forward_features(images)
    return features, network.forward_head(features)


def _output_of(model: nn.Module, images: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """The output of the named module during a forward pass, and the logits."""
    modules = dict(model.named_modules())
    if layer not in modules or layer == "":
        parts = ", ".join(name for name, _ in model.named_children())
        raise UserError(f"{type(model).__name__} has no layer {layer!r}; its parts are {parts}, and parts of those")
    caught: list[Any] = []

    def catch(module: nn.Module, given: Any, output: Any) -> Any:
        # What follows works on a copy, because an activation in place would change what was caught.
        caught.append(output)
        return output.clone() if isinstance(output, Tensor) else output

    # The one hook of this package: other people's models have no other way to give a layer in between.
    handle = modules[layer].register_forward_hook(catch)
    try:
        logits = model(images)
    finally:
        handle.remove()
    if len(caught) != 1 or not isinstance(caught[0], Tensor):
        raise UserError(f"layer {layer!r} gives {len(caught)} outputs or no tensor; choose one that gives one tensor")
    return caught[0], logits


def as_grid(model: nn.Module, features: Tensor) -> Tensor:
    """Features of a classifier as a grid (batch, rows, columns, dim).

    features: (batch, dim, rows, columns); or, of models that say so (timm's `output_fmt`), channels last; or tokens
    (batch, tokens, dim), of which a model's prefix tokens are left out. Raises UserError for other shapes.
    """
    if features.ndim == 4:
        return features if getattr(model, "output_fmt", "NCHW") == "NHWC" else features.movedim(1, -1)
    if features.ndim == 3:
        patches = features[:, getattr(model, "num_prefix_tokens", 0) :]
        rows, columns = getattr(getattr(model, "patch_embed", None), "grid_size", (isqrt(patches.shape[1]),) * 2)
        if rows * columns == patches.shape[1]:
            return patches.unflatten(1, (rows, columns))
    raise UserError(f"features of shape {tuple(features.shape)} are no plane of positions: choose another layer")
