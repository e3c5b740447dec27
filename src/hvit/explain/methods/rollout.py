"""Attention rollout: how much of every patch reaches what a plain vision transformer classifies.

Source: Abnar and Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020 (arXiv 2005.00928). The attention of
every layer is averaged over its heads, mixed half and half with the identity for the residual branch, and multiplied
from the first layer up. It needs one set of tokens that attends to itself in every layer, as ViT and DeiT have, and it
does not know about classes: the map is the same for each.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.explain.methods.request import Classes, as_batch, choose_classes, classifier_of, evaluating, refusing
from hvit.models.layers.encoder import Encoder

if TYPE_CHECKING:
    from timm.layers.attention import Attention
    from timm.models.vision_transformer import Block, VisionTransformer


@torch.no_grad()
def attention_rollout(
    model: nn.Module, images: Tensor, classes: Classes | None = None, *, top_k: int = 1
) -> np.ndarray:
    """Computes attention rollout for many images.

    The map does not depend on the class; it is repeated for each, so that all methods return the same shape.

    Args:
        model: hvit's plain ViT, or a ViT or DeiT of timm.
        images: (batch, channels, height, width).
        classes: As in `gradcat_batch`.
        top_k: As in `gradcat_batch`.

    Returns:
        (batch, k, rows, columns) float32: the share of every patch in the class token if the model classifies that,
            otherwise in the mean over all patches.

    Raises:
        UserError: For a class that the model does not have, and for other models.
    """
    model = classifier_of(model)
    network = vision_transformer(model)
    if network is None:
        raise UserError(
            f"attention rollout follows one set of tokens through plain attention, as ViT and DeiT have; "
            f"{type(model).__name__} is none of them: use gradcat, CAM or Grad-CAM"
        )
    prefix = network.num_prefix_tokens
    images = as_batch(model, images)
    if isinstance(model, Encoder):
        model.check_images(images)
    with evaluating(model), refusing(model, images):
        tokens = network.norm_pre(network.patch_drop(network._pos_embed(network.patch_embed(images))))
        reaching = torch.eye(tokens.shape[1], device=tokens.device).expand(len(tokens), -1, -1)
        for block in network.blocks:
            reaching = (reaching + attention_of(cast("Block", block), tokens).float().mean(1) @ reaching) / 2
            tokens = block(tokens)
        logits = network.forward_head(network.norm(tokens))
    chosen = choose_classes(logits, classes, top_k)
    # A distilled DeiT classifies its class and its distillation token.
    readers = reaching[:, :prefix] if hasattr(network, "head_dist") else reaching[:, :1]
    readers = reaching[:, prefix:] if network.global_pool == "avg" else readers
    maps = readers.mean(1)[:, prefix:].unflatten(1, tuple(network.patch_embed.grid_size))
    return maps[:, None].expand(-1, chosen.shape[1], -1, -1).cpu().numpy().copy()


def vision_transformer(model: nn.Module) -> VisionTransformer | None:
    """The plain vision transformer of timm that a model is, or has inside as our `Vit`; None for other models."""
    network: nn.Module = getattr(model, "network", model)
    known = all(hasattr(network, part) for part in ("patch_embed", "_pos_embed", "patch_drop", "norm_pre", "blocks"))
    if not known or getattr(network, "global_pool", None) not in ("token", "avg"):
        return None
    plain = all(
        hasattr(block, "norm1") and hasattr(getattr(block, "attn", None), "qkv")
        for block in cast(Iterable[nn.Module], network.blocks)
    )
    return cast("VisionTransformer", network) if plain else None


def attention_of(block: Block, tokens: Tensor) -> Tensor:
    """The attention (batch, heads, tokens, tokens) of a pre-norm block on its tokens (batch, tokens, dim).

    Computed apart from the block, from its own queries and keys: the block may use a fused kernel that stores none.
    """
    attention = cast("Attention", block.attn)
    parts = attention.qkv(block.norm1(tokens)).unflatten(-1, (3, attention.num_heads, -1))
    queries, keys = (part.transpose(1, 2) for part in parts.unbind(2)[:2])
    scores = attention.q_norm(queries) * attention.scale @ attention.k_norm(keys).transpose(-2, -1)
    return scores.softmax(-1)
