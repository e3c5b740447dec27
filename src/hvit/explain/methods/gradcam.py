"""Grad-CAM and Grad-CAM++: where a layer's features are evidence for a class, at any level of any classifier.

Both weigh the channels of a feature map A by the gradients g = dY/dA of a class's logit Y and keep what is positive:

    map[i] = relu(sum over channels k of w_k A_k[i])

- Grad-CAM (Selvaraju et al., ICCV 2017, arXiv 1610.02391): w_k is the mean of g_k over the map.
- Grad-CAM++ (Chattopadhay et al., WACV 2018, arXiv 1710.11063): w_k is the sum over the map of a_k relu(g_k), with
  a_k = g_k^2 / (2 g_k^2 + (sum over the map of A_k) g_k^3), and 0 where that has no value. It was made for features
  that are never negative; where their sum is negative, a_k may be large or negative.

Where the logits are a linear head on the mean of the last feature map, Grad-CAM of that map is the positive part of the
class activation map, divided by the number of positions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.explain.methods.request import (
    Classes,
    as_batch,
    as_feature_map,
    choose_classes,
    classifier_of,
    evaluating,
    features_and_logits,
)
from hvit.models.layers.encoder import Encoder


def grad_cam(
    model: nn.Module,
    images: Tensor,
    classes: Classes | None = None,
    *,
    top_k: int = 1,
    level: int | None = None,
    layer: str | None = None,
) -> np.ndarray:
    """Computes the Grad-CAM maps of one or more classes for each of many images.

    Args:
        model: An encoder, a model of timm, or any module with a named layer.
        images: (batch, channels, height, width).
        classes: As in `gradcat_batch`.
        top_k: As in `gradcat_batch`.
        level: For an encoder: 0 the finest, -1 the coarsest; default: the coarsest that the logits depend on.
        layer: For another model: the name of a module, such as `"layer3"`; default: the last features.

    Returns:
        (batch, k, rows, columns) float32, no value below 0.

    Raises:
        UserError: For a class, level or layer that the model does not have, or on which the logits do not depend.
    """
    return _maps(model, images, classes, top_k, level, layer, lambda features, gradients: gradients.mean((2, 3)))


def grad_cam_plus_plus(
    model: nn.Module,
    images: Tensor,
    classes: Classes | None = None,
    *,
    top_k: int = 1,
    level: int | None = None,
    layer: str | None = None,
) -> np.ndarray:
    """Computes Grad-CAM++ maps of one or more classes for each of many images; otherwise as `grad_cam`."""
    return _maps(model, images, classes, top_k, level, layer, _plus_plus_weights)


def _plus_plus_weights(features: Tensor, gradients: Tensor) -> Tensor:
    """Weights (batch, k, dim) of features (batch, rows, columns, dim) by gradients (batch, k, rows, columns, dim)."""
    total = features.sum((1, 2))[:, None, None, None]
    # The square of the gradient cancels, which keeps small gradients from vanishing in their cubes.
    denominator = 2 + total * gradients
    shares = torch.where(denominator == 0, 0.0, 1 / denominator.where(denominator != 0, 1.0))
    return (shares * gradients.relu()).sum((2, 3))


def _maps(
    model: nn.Module,
    images: Tensor,
    classes: Classes | None,
    top_k: int,
    level: int | None,
    layer: str | None,
    weigh: Callable[[Tensor, Tensor], Tensor],
) -> np.ndarray:
    """Maps of weighted features; one forward pass, and one backward pass to the chosen layer per class."""
    model = classifier_of(model)
    images = as_batch(model, images)
    with evaluating(model), torch.inference_mode(False), torch.enable_grad():
        features, logits = features_and_logits(model, images.detach().clone().requires_grad_(), level, layer)
        chosen = choose_classes(logits, classes, top_k)
        if not (features.requires_grad and logits.requires_grad):
            raise UserError(f"gradients do not reach the features of this {type(model).__name__}: a part of it is "
                            "computed without them")  # fmt: skip
        totals = logits.gather(1, chosen).sum(0).unbind()
        gradients = [
            torch.autograd.grad(total, features, retain_graph=rank + 1 < len(totals), allow_unused=True)[0]
            for rank, total in enumerate(totals)
        ]
    laid = [
        part.float() if isinstance(model, Encoder) else as_feature_map(model, part).float()
        for part in (features.detach(), *(torch.zeros_like(features) if one is None else one for one in gradients))
    ]
    values, slopes = laid[0], torch.stack(laid[1:], 1)
    if len(values) and not slopes.any():
        where = "the last features" if layer is None else f"layer {layer!r}"
        raise UserError(
            f"the logits of this {type(model).__name__} do not depend on the positions of {where} (it may classify a "
            "token): choose an earlier layer"
        )
    maps = torch.einsum("b h w c, b k c -> b k h w", values, weigh(values, slopes)).relu()
    return maps.cpu().numpy()
