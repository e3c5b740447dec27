"""Hooks, adapters, pruning and parametrisations reach every layer of every family, whatever it is computed by."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

from hvit.models.build import build_network
from hvit.models.catalogue import entry
from hvit.models.gan.config import GENERATOR_SIZES
from hvit.models.gan.discriminators import (
    ResidualDiscriminator,
    ResidualDiscriminatorConfig,
    SaganDiscriminator,
    SaganDiscriminatorConfig,
)
from hvit.models.layers import linear
from hvit.models.masked.config import MaskedConfig
from hvit.models.mvit.config import MVIT_SIZES
from hvit.models.mvit.simplification import SIMPLIFIED
from hvit.models.nest.config import NEST_SIZES

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)
OBSERVED = (*LAYERS, nn.LayerNorm, nn.BatchNorm2d, nn.Embedding, nn.MaxPool2d)


def _masked(**fields: Any) -> Any:
    return build_network(MaskedConfig(decoder_dim=32, decoder_depth=2, decoder_heads=2, **fields))


def _generator(name: str, **fields: Any) -> Any:
    return build_network(replace(GENERATOR_SIZES[name], **fields))


MODELS: dict[str, Callable[[], Any]] = {
    **{
        name: lambda name=name: build_network(entry(name).config)
        for name in (
            "nest_micro_32",
            "hiera_micro_32",
            "hiera_micro_16x64",
            "mvit_micro_32",
            "mvitv2_micro_32",
            "mvitv2_micro_16x64",
            "mvitv2_micro_64_step_a",
            "mvitv2_micro_64_step_e",
            "vit_micro_32",
            "resnet_micro_32",
            "mae_hiera_micro_32",
            "mae_hiera_micro_16x64",
        )
    },
    **{
        f"nest {kind}": lambda kind=kind: build_network(replace(NEST_SIZES["nest_micro_32"], aggregation=kind))
        for kind in ("max3", "strided_conv3", "merge2")
    },
    "mvitv2 class token": lambda: build_network(replace(MVIT_SIZES["mvitv2_micro_32"], class_token=True)),
    "mae mvitv2 fill": lambda: _masked(encoder=MVIT_SIZES["mvitv2_micro_32"], encoding="dense"),
    "mae mvitv2 units": lambda: _masked(encoder=SIMPLIFIED["mvitv2_micro_64_step_a"]),
    "mae nest": lambda: _masked(encoder=NEST_SIZES["nest_micro_64"], mask_pattern="nested", mask_ratio=0.5),
    "mae nest fill": lambda: _masked(encoder=NEST_SIZES["nest_micro_32"], encoding="dense"),
    **{
        f"generator {kind}": lambda kind=kind: _generator(
            "nest_generator_digits_32", deaggregation=kind, dims=(32, 16, 16, 16), num_classes=3
        )
        for kind in ("pixel_shuffle", "pixel_shuffle_conv3", "nearest_conv3", "transposed_conv3")
    },
    "conv generator": lambda: _generator("conv_generator_digits_32", dims=(16, 16, 16, 16)),
    "residual discriminator": lambda: ResidualDiscriminator(
        ResidualDiscriminatorConfig(input_size=(16, 16), dims=(8, 8, 8), num_classes=3)
    ),
    "sagan discriminator": lambda: SaganDiscriminator(
        SaganDiscriminatorConfig(input_size=(16, 16), dims=(8, 8, 8), num_classes=3, attention_side=8)
    ),
}
EVERY_MODEL = pytest.mark.parametrize("name", MODELS)


@pytest.fixture(autouse=True)
def _the_fast_ways_are_taken(monkeypatch: pytest.MonkeyPatch):
    """Otherwise products this small are torch's own."""
    monkeypatch.setattr(linear, "_LEAST", 0)


def make(name: str) -> tuple[Any, tuple[Tensor, ...]]:
    """A model with weights that are not trivial, and what it is called with."""
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    config = model.config
    if hasattr(config, "latent_dim"):
        inputs: tuple[Tensor, ...] = (torch.randn(2, config.latent_dim),)
    else:
        inputs = (torch.randn(2, config.in_channels, *config.input_size),)
    if hasattr(model, "draw_masks"):
        inputs += (model.draw_masks(2),)
    elif getattr(model, "classes", None) is not None:
        inputs += (torch.tensor([0, 2]),)
    return model, inputs


def layers_of(model: nn.Module, kinds: tuple[type[nn.Module], ...]) -> dict[str, nn.Module]:
    """The layers of some kinds; those inside parametrisations are none of the model's own."""
    return {
        name: one for name, one in model.named_modules() if isinstance(one, kinds) and "parametrizations" not in name
    }


def answers(model: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """What a model gives, with masked patches only, too, where it can."""
    with torch.no_grad():
        found = [model(*inputs)]
        return [*found, model(*inputs, masked_only=True)] if hasattr(model, "draw_masks") else found


def assert_same(found: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


def assert_different(found: list[Tensor], other: list[Tensor]) -> None:
    assert all(float((a - b).abs().max()) > 1e-3 * float(b.abs().max()) for a, b in zip(found, other, strict=True))


class Adapter(nn.Module):
    """Adds something of its own to a layer's result, and has no weight to be taken."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, tokens: Tensor) -> Tensor:
        result = self.layer(tokens)
        return result + 0.3 * result.abs()


class WeightedAdapter(Adapter):
    """The same with the weight and bias of the layer inside, and all else that it has."""

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)


def adapted(model: nn.Module, kind: type[Adapter]) -> nn.Module:
    for name, layer in layers_of(model, LAYERS).items():
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, kind(layer))
    return model


@EVERY_MODEL
@pytest.mark.parametrize("when", ["after", "before"])
def test_every_layer_is_called_when_it_has_a_hook(name: str, when: str):
    model, inputs = make(name)
    expected, called = answers(model, inputs), Counter()
    layers = layers_of(model, OBSERVED)
    if isinstance(inputs[-1], Tensor) and hasattr(model, "encoder"):  # what classifies is left to fine-tuning
        layers = {key: one for key, one in layers.items() if not key.startswith(("encoder.norm", "encoder.head"))}
    for key, layer in layers.items():
        if when == "after":
            layer.register_forward_hook(lambda *_, key=key: called.update([key]))
        else:
            layer.register_forward_pre_hook(lambda *_, key=key: called.update([key]))
    assert_same(answers(model, inputs), expected)
    assert called.keys() == layers.keys()
    passes = len(expected)
    assert set(called.values()) == {passes}, "a layer is called once in a pass"


@EVERY_MODEL
def test_a_hook_of_all_modules_sees_every_layer(name: str):
    model, inputs = make(name)
    seen: set[nn.Module] = set()
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: seen.add(module))
    try:
        answers(model, inputs)
    finally:
        handle.remove()
    assert seen >= set(layers_of(model, LAYERS).values())


@EVERY_MODEL
def test_what_hooks_change_and_what_adapters_change_is_the_same(name: str):
    model, inputs = make(name)
    plain = answers(model, inputs)
    hooked = copy.deepcopy(model)
    for layer in layers_of(hooked, LAYERS).values():
        layer.register_forward_hook(lambda _module, _given, result: result + 0.3 * result.abs())
    expected = answers(hooked, inputs)
    assert_different(expected, plain)
    assert_same(answers(adapted(copy.deepcopy(model), Adapter), inputs), expected)
    assert_same(answers(adapted(copy.deepcopy(model), WeightedAdapter), inputs), expected)


@EVERY_MODEL
def test_a_forward_of_a_layer_s_own_is_called(name: str):
    model, inputs = make(name)
    plain = answers(model, inputs)
    for layer in layers_of(model, LAYERS).values():
        layer.forward = lambda given, usual=layer.forward: 1.5 * usual(given)
    assert_different(answers(model, inputs), plain)


class Halved(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight / 2


@EVERY_MODEL
@pytest.mark.parametrize("how", ["pruned", "parametrised"])
def test_pruned_and_parametrised_weights_are_those_that_are_used(name: str, how: str):
    model, inputs = make(name)
    if "sagan" in name or "conv generator" in name:
        pytest.skip("every weight is parametrised by spectral norm, which cannot be pruned and undoes a factor")
    wanted = copy.deepcopy(model)
    plain = answers(model, inputs)
    for key, layer in layers_of(model, LAYERS).items():
        weight = wanted.get_submodule(key).get_parameter("weight")
        if how == "parametrised":
            parametrize.register_parametrization(layer, "weight", Halved())
            weight.data /= 2
        else:
            mask = (torch.rand_like(weight) < 0.7).float()
            prune.custom_from_mask(layer, "weight", mask)
            weight.data *= mask
    expected = answers(wanted, inputs)
    assert_different(expected, plain)
    assert_same(answers(model, inputs), expected)
    for key, layer in layers_of(model, LAYERS).items():  # what is learned afterwards counts, too
        learned = "weight_orig" if how == "pruned" else "parametrizations.weight.original"
        layer.get_parameter(learned).data.mul_(1.5)
        wanted.get_submodule(key).get_parameter("weight").data.mul_(1.5)
    assert_same(answers(model, inputs), answers(wanted, inputs))


@EVERY_MODEL
def test_backward_hooks_of_every_layer_are_called(name: str):
    model, inputs = make(name)
    layers, called = layers_of(model, LAYERS), Counter()
    layers = {key: one for key, one in layers.items() if not key.startswith("encoder.head")}
    for key, layer in layers.items():
        layer.register_full_backward_hook(lambda *_, key=key: called.update([key]))
    given = tuple(one.requires_grad_() if one.is_floating_point() else one for one in inputs)
    model(*given).square().sum().backward()
    assert called.keys() == layers.keys()
