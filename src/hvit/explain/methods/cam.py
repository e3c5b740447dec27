"""Class activation maps: how much each place of the image adds to a class's logit, exactly.

Where the logits are a linear head on the mean over the positions of the last feature map, the logit itself splits into
one number per position: map[i] = weight of the class . feature[i], and the mean of the map plus the class's bias is the
logit. Source: Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016 (arXiv 1512.04150);
NesT uses it for localisation (arXiv 2105.12723).

Where the final norm follows the mean (Hiera) the split is exact, too, on the feature map that
`request.normalised_map` gives: the norm's scale is one number per image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import SupportsIndex

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.explain.methods.request import (
    Classes,
    as_batch,
    as_feature_map,
    choose_classes,
    classifier_of,
    classifies_a_token,
    evaluating,
    features_and_logits,
    image_axes,
    normalised_map,
    one_class,
    one_image,
)
from hvit.models.layers.encoder import Encoder


def class_activation_map(model: nn.Module, image: Tensor, class_index: SupportsIndex | None = None) -> np.ndarray:
    """Computes how much each position of one image adds to the logit of one class.

    Args:
        model: An encoder, or a model of timm, such as a ResNet.
        image: (channels, height, width) or a batch of one, normalised as the model expects.
        class_index: The class to explain; default: the class with the largest logit.

    Returns:
        The map on the model's last feature map, (rows, columns) float32. Its mean plus the head's bias is the logit.

    Raises:
        UserError: As `class_activation_map_batch`.
    """
    model = classifier_of(model)
    batch = one_image(
        as_batch(model, image, image_axes(model) or 2), "class_activation_map shows", "class_activation_map_batch"
    )
    return class_activation_map_batch(model, batch, one_class(class_index))[0, 0]


@torch.no_grad()
def class_activation_map_batch(
    model: nn.Module, images: Tensor, classes: Classes | None = None, *, top_k: int = 1
) -> np.ndarray:
    """Computes the class activation maps of one or more classes for each of many images, in one forward pass.

    Args:
        model: An encoder, or a model of timm, such as a ResNet.
        images: (batch, channels, height, width), or for a model of clips (batch, channels, time, height, width).
        classes: As in `gradcat_batch`.
        top_k: As in `gradcat_batch`.

    Returns:
        (batch, k, rows, columns) float32 on the model's last feature map; for clips (batch, k, times, rows, columns).

    Raises:
        UserError: For a class that the model does not have, and for a model whose logits are not a linear layer on the
            mean over the last feature map: it has no such map.
    """
    model = classifier_of(model)
    head = head_of(model)
    if not isinstance(head, nn.Linear):
        raise UserError(
            f"a class activation map needs a model with a linear layer `head`; {type(model).__name__} has "
            f"{'none' if head is None else type(head).__name__}, use gradcat instead"
        )
    if classifies_a_token(model):
        raise UserError(
            f"this {type(model).__name__} classifies a class token, not the mean over its last feature map, so it "
            "has no class activation map; use gradcat or Grad-CAM instead"
        )
    with evaluating(model):
        features, logits = features_and_logits(model, as_batch(model, images, image_axes(model) or 2))
        top = normalised_map(model, features) if isinstance(model, Encoder) else as_feature_map(model, features)
    chosen = choose_classes(logits, classes, top_k)
    maps = torch.einsum("b ... c, b k c -> b k ...", top, head.weight[chosen].to(top.dtype)).float()
    total = maps.flatten(2).mean(2) + (0.0 if head.bias is None else head.bias[chosen].float())
    error = (total - logits.gather(1, chosen)).abs().amax() if total.numel() else total.new_zeros(())
    coarsest = max(torch.finfo(logits.dtype).eps, torch.finfo(maps.dtype).eps)
    if error > coarsest**0.5 * maps.abs().mean():
        raise UserError(
            f"the logits of {type(model).__name__} are not its head on the mean over the last feature map, so a "
            "class activation map would not be exact; use gradcat or Grad-CAM instead"
        )
    return maps.cpu().numpy()


def head_of(model: nn.Module) -> nn.Module | None:
    """The last layer of an encoder (`head`) or of a model of timm (`get_classifier`); None where there is none."""
    of_timm: Callable[[], nn.Module] | None = getattr(model, "get_classifier", None)
    return getattr(model, "head", None) if of_timm is None else of_timm()


def upsample(activation_map: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Enlarges a map (rows, columns), or maps (..., rows, columns), to size (height, width), bilinearly."""
    maps = torch.as_tensor(activation_map, dtype=torch.float32)
    flat = maps.reshape(1, -1, *maps.shape[-2:])
    return F.interpolate(flat, size=size, mode="bilinear", align_corners=False).view(*maps.shape[:-2], *size).numpy()


def normalise(activation_map: np.ndarray) -> np.ndarray:
    """Scales a map to the range 0 to 1 for display; a constant map becomes 0."""
    low, high = float(np.min(activation_map)), float(np.max(activation_map))
    return np.zeros_like(activation_map) if high == low else (activation_map - low) / (high - low)
