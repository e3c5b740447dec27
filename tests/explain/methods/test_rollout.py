"""Claims about attention rollout: the attention is the model's own, and a rollout is its definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.explain import MAP_METHODS, attention_rollout, methods_for
from hvit.explain.methods.rollout import attention_of
from hvit.models.create import create_model


def deit(distilled: bool = False) -> Any:
    """A small DeiT of timm whose attention prefers some tokens."""
    import timm

    torch.manual_seed(0)
    name = "deit_tiny_distilled_patch16_224" if distilled else "deit_tiny_patch16_224"
    model: Any = timm.create_model(name, img_size=(48, 64), num_classes=5, depth=3).eval()
    for block in model.blocks:
        nn.init.normal_(block.attn.qkv.weight, std=0.2)
    return model


def photos(*size: int) -> Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))


def attentions(model: Any, images: Tensor) -> list[np.ndarray]:
    """The attention (heads, tokens, tokens) of every layer on the first image, by timm's own unfused arithmetic."""
    caught = []
    for block in model.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda _, __, out: caught.append(out[0].detach().double().numpy()))
    model(images)
    return caught


def naive_rollout(layers: list[np.ndarray]) -> np.ndarray:
    """Equation 1 and section 3 of arXiv 2005.00928: (tokens, tokens)."""
    rolled = np.eye(layers[0].shape[-1])
    for layer in layers:
        mixed = 0.5 * layer.mean(0) + 0.5 * np.eye(layer.shape[-1])
        rolled = mixed / mixed.sum(1, keepdims=True) @ rolled
    return rolled


@pytest.mark.parametrize("distilled", [False, True])
def test_of_a_deit_it_is_the_row_of_what_is_classified(distilled: bool) -> None:
    model, images = deit(distilled), photos(48, 64)
    maps = attention_rollout(model, images, [0, 3])
    rolled = naive_rollout(attentions(model, images))
    prefix = 2 if distilled else 1
    expected = rolled[:prefix, prefix:].mean(0).reshape(3, 4)
    assert maps.shape == (2, 2, 3, 4)
    assert maps[0, 0] == pytest.approx(expected, abs=1e-6)
    assert expected.std() > 0.01, "the attention prefers nothing"


def test_of_a_model_that_classifies_the_mean_it_is_the_mean_of_all_rows() -> None:
    torch.manual_seed(0)
    model: Any = create_model("vit_micro_32", num_classes=10).eval()
    images = photos(32, 32)
    maps = attention_rollout(model, images, 2)
    assert maps.sum((2, 3)) == pytest.approx(1.0, abs=1e-5)
    expected = naive_rollout(attentions(model.network, images)).mean(0).reshape(8, 8)
    assert maps[0, 0] == pytest.approx(expected, abs=1e-6)


def test_the_attention_computed_apart_from_a_block_gives_the_blocks_own_output() -> None:
    block = deit().blocks[0]
    tokens = torch.randn(2, 7, 192, generator=torch.Generator().manual_seed(2))
    values = block.attn.qkv(block.norm1(tokens)).unflatten(-1, (3, 3, 64))[:, :, 2].transpose(1, 2)
    mixed = (attention_of(block, tokens) @ values).transpose(1, 2).flatten(2)
    assert block.attn(block.norm1(tokens)).allclose(block.attn.proj(mixed), atol=1e-5)


def test_it_knows_nothing_of_classes_and_leaves_the_model_as_it_was() -> None:
    model = deit().train()
    images = photos(48, 64)
    maps = attention_rollout(model, images, top_k=3)
    assert np.array_equal(maps[:, 0], maps[:, 2])
    assert model.training
    assert all(block.training for block in model.blocks)
    with pytest.raises(UserError, match="class index 5"):
        attention_rollout(model, images, 5)


@pytest.mark.parametrize("name", ["nest_micro_32", "hiera_micro_32"])
def test_a_model_of_levels_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="as ViT and DeiT have"):
        attention_rollout(create_model(name), photos(32, 32))


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("nest_micro_32", ("block_shapley", "gradcat", "cam", "gradcam", "gradcam++")),
        ("hiera_micro_32", ("block_shapley", "gradcat", "cam", "gradcam", "gradcam++")),
        ("mvit_micro_32", ("block_shapley", "gradcat", "gradcam", "gradcam++")),
        ("vit_micro_32", ("block_shapley", "cam", "gradcam", "gradcam++", "rollout")),
    ],
)
def test_every_method_that_a_model_allows_gives_maps_by_the_same_call(name: str, allowed: tuple[str, ...]) -> None:
    model = create_model(name, num_classes=10)
    assert methods_for(model) == allowed
    for method, call in MAP_METHODS.items():
        if method in allowed:
            maps = call(model, photos(32, 32), [1, 2])
            assert maps.dtype == np.float32
            assert maps.shape[:2] == (2, 2)
            assert maps.shape[2:] == ((4, 4) if "gradcat" in allowed and "cam" in allowed else (8, 8))
        else:
            with pytest.raises(UserError):
                call(model, photos(32, 32), [1, 2])
