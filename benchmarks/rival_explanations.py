"""Explanations by other libraries, with the call of ours: captum and torchcam (the extra `rivals`).

Each of `RIVALS` is called as method(network, images, classes, baseline), with images (batch, channels, height, width),
classes (batch, k) and the name of a baseline, and returns maps (batch * k, rows, columns). torchcam hooks modules that
give (batch, channels, rows, columns): `Tapped` gives an encoder of any family one for each level. torchcam's LeGrad
needs blocks built on `torch.nn.MultiheadAttention`: `TorchVit` is a plain ViT made of these, with the same logits.
NesT, Hiera and MViTv2 cannot be made of them: they attend inside blocks, or to pooled keys.
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
from hvit.explain.methods.rollout import vision_transformer
from hvit.models.layers.encoder import Encoder

_TOGETHER = 32  # occluded images in one forward pass
Rival = Callable[[Encoder, Tensor, np.ndarray, BaselineName], np.ndarray]


def occlusion(network: Encoder, images: Tensor, classes: np.ndarray, baseline: BaselineName) -> np.ndarray:
    """captum's occlusion by squares of an eighth of the side, a sixteenth apart."""
    from captum.attr import Occlusion

    side = max(images.shape[-1] // 8, 1)
    window, step = (images.shape[1], side, side), (images.shape[1], max(side // 2, 1), max(side // 2, 1))
    options: dict[str, Any] = {"sliding_window_shapes": window, "strides": step, "perturbations_per_eval": _TOGETHER}
    return _by_captum(Occlusion(network), images, classes, baseline, **options)


def integrated_gradients(network: Encoder, images: Tensor, classes: np.ndarray, baseline: BaselineName) -> np.ndarray:
    """captum's integrated gradients in 32 steps."""
    from captum.attr import IntegratedGradients

    return _by_captum(IntegratedGradients(network), images, classes, baseline, n_steps=32)


def _by_captum(method: Any, images: Tensor, classes: np.ndarray, baseline: BaselineName, **options: Any) -> np.ndarray:
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


class TorchVit(nn.Module):
    """A plain vision transformer of timm in evaluation mode, its blocks built on torch's own attention."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.layers = nn.ModuleList(_TorchBlock(block) for block in network.blocks)

    def forward(self, images: Tensor) -> Tensor:
        network = self.network
        tokens = network.norm_pre(network.patch_drop(network._pos_embed(network.patch_embed(images))))
        for layer in self.layers:
            tokens = layer(tokens)
        return self.classify(tokens)

    def classify(self, tokens: Tensor) -> Tensor:
        """The logits of tokens (batch, tokens, dim) of any layer."""
        return self.network.forward_head(self.network.norm(tokens))


class _TorchBlock(nn.Module):
    def __init__(self, block: Any) -> None:
        super().__init__()
        dim, attention = block.attn.qkv.in_features, block.attn
        self.block = block
        self.self_attention = nn.MultiheadAttention(dim, attention.num_heads, batch_first=True).eval()
        with torch.no_grad():
            self.self_attention.in_proj_weight.copy_(attention.qkv.weight)
            self.self_attention.in_proj_bias.copy_(attention.qkv.bias)
            self.self_attention.out_proj.weight.copy_(attention.proj.weight)
            self.self_attention.out_proj.bias.copy_(attention.proj.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        normed = self.block.norm1(tokens)
        tokens = tokens + self.block.ls1(self.self_attention(normed, normed, normed, need_weights=False)[0])
        return tokens + self.block.ls2(self.block.mlp(self.block.norm2(tokens)))


def le_grad(network: Encoder, images: Tensor, classes: np.ndarray, baseline: BaselineName) -> np.ndarray:
    """torchcam's LeGrad over all layers of a plain vision transformer."""
    from torchcam.methods import LeGrad

    plain = vision_transformer(network)
    assert plain is not None, f"LeGrad is for plain vision transformers, not {type(network).__name__}"
    model, prefix = TorchVit(plain), plain.num_prefix_tokens
    method = LeGrad(model, list(model.layers), score_projection=model.classify, prefix_tokens=prefix)
    return _by_torchcam(method, images, classes)


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
    "legrad": le_grad,
}


def rivals_of(network: Encoder) -> list[str]:
    """The methods that are installed and that a model allows."""
    found = ["occlusion", "integrated gradients"] if find_spec("captum") else []
    if find_spec("torchcam") and not classifies_a_token(network):
        found += ["layercam", "finercam"] + ["refinecam"] * (len(network.level_dims) > 1)
    return found + (["legrad"] if find_spec("torchcam") and vision_transformer(network) is not None else [])
