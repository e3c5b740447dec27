"""Explanations by other libraries, with the call of ours: captum and torchcam (the extra `rivals`).

Each of `RIVALS` is called as method(network, images, classes, baseline), with images (batch, channels, height, width),
classes (batch, k) and the name of a baseline, and returns maps (batch * k, rows, columns). torchcam hooks modules that
give (batch, channels, rows, columns): `Tapped` gives an encoder of any family one for each level. LeGrad is not among
them: that of torchcam 0.5 needs blocks built on `torch.nn.MultiheadAttention`, which no model here has.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hvit.explain.methods.baseline_images import BaselineName, baseline_images
from hvit.explain.methods.request import classifies_a_token
from hvit.models.layers.encoder import Encoder

Rival = Callable[[Encoder, Tensor, np.ndarray, BaselineName], np.ndarray]


def occlusion(network: Encoder, images: Tensor, classes: np.ndarray, baseline: BaselineName) -> np.ndarray:
    """captum's occlusion by squares of an eighth of the side, a sixteenth apart."""
    from captum.attr import Occlusion

    side = max(images.shape[-1] // 8, 1)
    window, step = (images.shape[1], side, side), (images.shape[1], max(side // 2, 1), max(side // 2, 1))
    return _by_captum(Occlusion(network), images, classes, baseline, sliding_window_shapes=window, strides=step)


def integrated_gradients(network: Encoder, images: Tensor, classes: np.ndarray, baseline: BaselineName) -> np.ndarray:
    """captum's integrated gradients in 32 steps."""
    from captum.attr import IntegratedGradients

    return _by_captum(IntegratedGradients(network), images, classes, baseline, n_steps=32)


def _by_captum(
    method: Any, images: Tensor, classes: np.ndarray, baseline: BaselineName, **options: int | tuple[int, ...]
) -> np.ndarray:
    maps = []
    for image, blank, row in zip(images, baseline_images(images, baseline), classes.tolist(), strict=True):
        for one in row:
            found = method.attribute(image[None], baselines=blank[None].clone(), target=one, **options)
            maps.append(found[0].sum(0).detach().numpy())
    return np.stack(maps)


class Tapped(nn.Module):
    """An encoder whose feature map of each level passes through a module of its own, channels first."""

    def __init__(self, network: Encoder) -> None:
        super().__init__()
        self.network = network
        self.taps = nn.ModuleList(nn.Identity() for _ in network.level_dims)

    def forward(self, images: Tensor) -> Tensor:
        feature_map = self.network.levels(images)[0]
        for level, tap in enumerate(self.taps):
            feature_map = tap(feature_map.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            if level + 1 < len(self.taps):
                feature_map = self.network.levels_from(level, feature_map)[0]
        return self.network.classify(feature_map)


def layer_cam(network: Encoder, images: Tensor, classes: np.ndarray, baseline: BaselineName) -> np.ndarray:
    """torchcam's LayerCAM of the last level."""
    from torchcam.methods import LayerCAM

    model = Tapped(network)
    return _by_torchcam(LayerCAM(model, model.taps[-1]), images, classes)


def finer_cam(network: Encoder, images: Tensor, classes: np.ndarray, baseline: BaselineName) -> np.ndarray:
    """torchcam's Finer-CAM of the last level: Grad-CAM of a class against the three of the closest logits."""
    from torchcam.methods import FinerCAM

    model = Tapped(network)
    return _by_torchcam(FinerCAM(model, model.taps[-1]), images, classes)


def refine_cam(network: Encoder, images: Tensor, classes: np.ndarray, baseline: BaselineName) -> np.ndarray:
    """torchcam's RefineCAM: the product of Grad-CAM++ of all levels."""
    from torchcam.methods import RefineCAM

    model = Tapped(network)
    return _by_torchcam(RefineCAM(model, list(model.taps)), images, classes)


def _by_torchcam(method: Any, images: Tensor, classes: np.ndarray) -> np.ndarray:
    maps = []
    with method as extractor:
        for image, row in zip(images, classes.tolist(), strict=True):
            for one in row:
                found = extractor(class_idx=one, scores=extractor.model(image[None].requires_grad_()))
                maps.append(torch.nan_to_num(found[0].detach()).reshape(found[0].shape[-2:]).numpy())
    return np.stack(maps)


RIVALS: dict[str, Rival] = {
    "occlusion": occlusion,
    "integrated gradients": integrated_gradients,
    "layercam": layer_cam,
    "finercam": finer_cam,
    "refinecam": refine_cam,
}


def rivals_of(network: Encoder) -> list[str]:
    """The methods that are installed and that a model allows."""
    found = ["occlusion", "integrated gradients"] if find_spec("captum") else []
    return found + (
        ["layercam", "finercam", "refinecam"] if find_spec("torchcam") and not classifies_a_token(network) else []
    )
