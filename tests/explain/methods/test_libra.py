"""Claims about LibraGrad's gradients: they add up to the logit at every level, and nothing else changes."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.explain import gradcat, gradcat_batch
from hvit.explain.methods.libra import gradients_of
from hvit.models.create import create_model
from hvit.models.layers.attention import AttentionKernel, attention_kernel
from hvit.models.layers.linear import Mlp

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "NesT": ("nest_micro_32", {}),
    "NesT, merged pairs": ("nest_micro_32", {"aggregation": "merge2"}),
    "NesT, tanh": ("nest_micro_32", {"activation": "gelu_tanh", "attention": "multi_query"}),
    "MViT": ("mvit_micro_32", {"class_token": False}),
    "MViTv2": ("mvitv2_micro_32", {}),
    "Hiera": ("hiera_micro_32", {}),
    "Hiera, mean and max": ("hiera_micro_32", {"expansion": "mean_max", "layer_scale": True}),
}
EVERY_MODEL = pytest.mark.parametrize("key", MODELS)


def model_of(key: str, biases: bool = True) -> Any:
    """A small model in float64 with weights that make logits of several units."""
    torch.manual_seed(0)
    name, fields = MODELS[key]
    model: Any = create_model(name, num_classes=5, in_channels=1, **fields).double().eval()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if is_bias(parameter_name):
                parameter.normal_(std=0.5) if biases else parameter.zero_()
            elif parameter.ndim == 1:
                parameter.normal_(mean=1.0, std=0.3)
        model.head.weight.normal_(std=0.3)
    return model


def is_bias(name: str) -> bool:
    """Whether a parameter is added to features: a bias, or a position embedding. Relative positions add to scores."""
    return name.endswith("bias") or (name.endswith("positions") and ".relative_" not in name)


def images_of(count: int = 2) -> Tensor:
    return torch.randn(count, 1, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def missing(model: Any, level: int, gradient: Any) -> float:
    """What features times gradients of a level, and biases above it times theirs, lack to add up to the logit."""
    with torch.no_grad():
        feature_map = model.levels(images_of(1))[level]
    feature_map.requires_grad_()
    with gradients_of(gradient):
        logit = model.classify([feature_map, *model.levels_from(level, feature_map)][-1])[0, 3]
    biases = [parameter for name, parameter in model.named_parameters() if is_bias(name)]
    parts = [feature_map, *biases]
    slopes = torch.autograd.grad(logit, parts, allow_unused=True)
    terms = [(part * slope).sum() for part, slope in zip(parts, slopes, strict=True) if slope is not None]
    return (logit - torch.stack(terms).sum()).item()


@EVERY_MODEL
def test_features_and_biases_times_their_gradients_add_up_to_the_logit_at_every_level(key: str) -> None:
    model = model_of(key)
    for level in range(len(model.config.depths)):
        assert missing(model, level, "libra") == pytest.approx(0, abs=1e-9)
    assert abs(missing(model, 0, "usual")) > 0.01


@EVERY_MODEL
def test_without_biases_the_values_of_every_depth_add_up_to_the_logit(key: str) -> None:
    model = model_of(key, biases=False)
    for (tree,) in gradcat_batch(model, images_of(), 3, gradient="libra"):
        assert tree.method == "gradcat_libra"
        assert abs(tree.logit) > 0.01
        for values in tree.values:
            assert values.sum(dtype=np.float64) == pytest.approx(tree.logit, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("key", ["MViTv2", "Hiera"])
def test_values_of_levels_that_are_read_after_a_norm_only_are_no_rounding_noise(key: str) -> None:
    model = model_of(key)
    usual, libra = (gradcat(model, images_of(1), 3, level=-2, gradient=gradient) for gradient in ("usual", "libra"))
    assert max(np.abs(values).max() for values in usual.values) < 1e-6
    assert min(np.abs(values).max() for values in libra.values) > 1e-2


def test_the_tree_starts_one_level_lower_and_is_as_deep() -> None:
    model = model_of("NesT")
    tree, lower, top = (gradcat(model, images_of(1), 3, level=level, gradient="libra") for level in (None, -2, -1))
    assert tree.depth == lower.depth == top.depth == 2
    for values, same in zip(tree.values, lower.values, strict=True):
        assert np.array_equal(values, same)
    assert np.array_equal(top.values[0], gradcat(model, images_of(1), 3).values[0]), (
        "nothing follows the top but a mean"
    )
    assert not np.allclose(top.values[0], tree.values[0])
    token = create_model("mvit_micro_32", num_classes=5, in_channels=1)
    trees = [gradcat(token, images_of(1), 3, level=level, gradient="libra") for level in (None, 1)]
    assert [one.depth for one in trees] == [2, 2]
    assert np.array_equal(trees[0].values[0], trees[1].values[0])


@pytest.mark.parametrize("kernel", ["fused", "explicit"])
@EVERY_MODEL
def test_the_forward_pass_is_the_same_to_the_bit(key: str, kernel: AttentionKernel) -> None:
    model, images = model_of(key).float(), images_of().float()
    with attention_kernel(kernel):
        expected = model.levels(images)
        with gradients_of("libra"):
            found = model.levels(images)
        assert all(map(torch.equal, found, expected))
        trees = [gradcat(model, images[:1], 2, gradient=gradient) for gradient in ("usual", "libra")]
    assert trees[0].logit == trees[1].logit


def test_an_mlp_large_enough_for_onednn_gives_the_same_values_and_complete_gradients() -> None:
    torch.manual_seed(0)
    mlp, tokens = Mlp(64, 256, "gelu"), torch.randn(256, 64)
    nn.init.zeros_(mlp.fc1.bias)
    nn.init.zeros_(mlp.fc2.bias)
    tokens.requires_grad_()
    expected = mlp(tokens)
    with gradients_of("libra"):
        found = mlp(tokens)
    assert torch.equal(found, expected)
    (slope,) = torch.autograd.grad(found.sum(), tokens)
    torch.testing.assert_close((tokens * slope).sum(), found.sum(), rtol=1e-4, atol=1e-3)


def test_the_usual_gradient_is_that_of_autograd_to_the_bit() -> None:
    model, images = model_of("NesT").float(), images_of(1).float()
    maps = model.levels(images)
    logit = model.classify(maps[-1])[0, 3]
    tree = gradcat(model, images, 3, gradient="usual")
    for values, one in zip(tree.values, maps[::-1], strict=False):
        evidence = (one * torch.autograd.grad(logit, one, retain_graph=True)[0]).sum(-1)[0].detach().numpy()
        side, cells = len(values), len(evidence) // len(values)
        assert np.allclose(values, evidence.reshape(side, cells, side, cells).sum((1, 3)), rtol=0, atol=1e-6)
    assert (tree.method, gradcat(model, images, 3).gradient) == ("gradcat", "usual")
    for values, same in zip(tree.values, gradcat(model, images, 3).values, strict=True):
        assert np.array_equal(values, same)


def gelu_slope() -> float:
    """The slope of a GELU at 1; its value there is 0.841, and so is its gate."""
    one = torch.ones((), requires_grad=True)
    (slope,) = torch.autograd.grad(F.gelu(one), one)
    return round(float(slope), 3)


def test_gradients_are_the_usual_ones_after_the_block_after_an_error_and_in_other_threads() -> None:
    assert gelu_slope() == 1.083
    seen: list[float] = []
    with gradients_of("libra"):
        thread = threading.Thread(target=lambda: seen.append(gelu_slope()))
        thread.start()
        thread.join()
        assert gelu_slope() == 0.841
    assert (seen, gelu_slope()) == ([1.083], 1.083)
    with pytest.raises(ZeroDivisionError), gradients_of("libra"):
        _ = 1 / 0
    assert gelu_slope() == 1.083
    with pytest.raises(UserError, match="class index 9 is out of range"):
        gradcat(model_of("NesT"), images_of(1), 9, gradient="libra")
    assert gelu_slope() == 1.083


def test_gelu_at_zero_has_its_gate_of_a_half() -> None:
    zero = torch.zeros((), requires_grad=True)
    with gradients_of("libra"):
        (slope,) = torch.autograd.grad(F.gelu(zero), zero)
    assert slope == 0.5


@pytest.mark.parametrize("key", ["NesT", "MViTv2", "Hiera"])
def test_values_add_up_under_autocast_too(key: str) -> None:
    model = model_of(key, biases=False).float()
    with torch.autocast("cpu", torch.bfloat16):
        tree = gradcat(model, images_of(1).float(), 3, gradient="libra")
    for values in tree.values:
        assert values.sum() == pytest.approx(tree.logit, rel=0.1, abs=0.05)


def test_other_words_are_refused() -> None:
    with pytest.raises(UserError, match="gradient must be one of usual, libra; got 'gentle'"):
        gradcat(model_of("NesT"), images_of(1), gradient="gentle")  # pyright: ignore[reportArgumentType]
