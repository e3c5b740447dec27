"""Linear layers and MLPs give torch's results and gradients, by whatever they are computed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import hvit
from hvit.models.layers import linear
from hvit.models.layers.linear import Mlp, apply, apply_rows, has_onednn

needs_onednn = pytest.mark.skipif(not has_onednn(), reason="this torch lacks oneDNN's operators")


def tokens_of(rows: int = 8192, dim: int = 24) -> Tensor:
    return torch.randn(2, rows // 2, dim, generator=torch.Generator().manual_seed(1)).requires_grad_()


def as_torch(layer: nn.Module, tokens: Tensor) -> Tensor:
    """What a layer means, in torch's own operators."""
    if isinstance(layer, Mlp):
        return layer.fc2(F.gelu(layer.fc1(tokens), approximate=layer.approximate))
    assert isinstance(layer, nn.Linear)
    return F.linear(tokens, layer.weight, layer.bias)


def call(layer: nn.Module, tokens: Tensor) -> Tensor:
    """A layer as models call it: MLPs by themselves, linear layers by `apply`."""
    return layer(tokens) if isinstance(layer, Mlp) else apply(layer, tokens)


def layer_of(kind: str) -> nn.Module:
    torch.manual_seed(0)
    if kind == "linear":
        return nn.Linear(24, 40)
    if kind == "narrowing":
        return nn.Linear(24, 12)
    return Mlp(24, 96, kind, 20)  # pyright: ignore[reportArgumentType]


KINDS = ("linear", "narrowing", "gelu", "gelu_tanh")


@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_those_of_torch(kind: str):
    layer, tokens = layer_of(kind), tokens_of()
    found = []
    for result in (call(layer, tokens), as_torch(layer, tokens)):
        weight = torch.randn(result.shape, generator=torch.Generator().manual_seed(2))
        gradients = torch.autograd.grad((result * weight).sum(), (tokens, *layer.parameters()))
        found.append((result, *gradients))
    assert not has_onednn() or "Learning" in type(call(layer, tokens).grad_fn).__name__
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5 * float(other.detach().abs().max()))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_gradients_are_those_of_torch(kind: str):
    layer, tokens = layer_of(kind), tokens_of()
    found = []
    for result in (call(layer, tokens), as_torch(layer, tokens)):
        (slope,) = torch.autograd.grad(result.square().sum(), tokens, create_graph=True)
        found.append(torch.autograd.grad(slope.square().sum(), list(layer.parameters())))
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_frozen_gets_no_gradient_and_the_rest_gets_its_own(kind: str):
    layer, tokens = layer_of(kind), tokens_of()
    (wanted,) = torch.autograd.grad(as_torch(layer, tokens).sum(), tokens)
    layer.requires_grad_(False)
    call(layer, tokens).sum().backward()
    assert tokens.grad is not None
    assert all(parameter.grad is None for parameter in layer.parameters())
    torch.testing.assert_close(tokens.grad, wanted)
    layer.requires_grad_(True)
    call(layer, tokens.detach()).sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())


def test_rows_apart_are_parts_of_the_whole():
    layer, tokens = nn.Linear(24, 40), tokens_of()
    parts = torch.cat((apply_rows(layer, tokens, 0, 16), apply_rows(layer, tokens, 16, 40)), -1)
    torch.testing.assert_close(parts, call(layer, tokens))
    parts.sum().backward()
    assert layer.weight.grad is not None
    torch.testing.assert_close(layer.weight.grad, tokens.detach().sum((0, 1)).expand(40, -1), rtol=1e-4, atol=1e-3)


@needs_onednn
def test_an_mlp_keeps_half_of_what_autograd_would(monkeypatch: pytest.MonkeyPatch):
    layer, tokens = Mlp(24, 96, "gelu"), tokens_of()

    def kept() -> int:
        storages: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            call(layer, tokens)
        return sum(storages.values())

    mine = kept()
    monkeypatch.setattr(linear, "_suits_onednn", lambda *_: False)
    biases = 4 * (96 + 24)  # kept for gradients of gradients
    assert kept() - mine + biases == 4 * 8192 * 96


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Says once for every product that oneDNN was asked for."""
    asked: list[str] = []
    product = linear.product

    def count(*arguments: Any) -> Tensor:
        asked.append("product")
        return product(*arguments)

    monkeypatch.setattr(linear, "product", count)
    return asked


@needs_onednn
@pytest.mark.parametrize("learns", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_onednn_computes_large_products(kind: str, learns: bool, products: list[str]):
    layer, tokens = layer_of(kind), tokens_of(8192)
    with torch.set_grad_enabled(learns):
        result = call(layer, tokens)
    assert products
    assert result.requires_grad == learns
    torch.testing.assert_close(result, as_torch(layer, tokens))


@pytest.mark.parametrize("case", ["few", "double", "autocast", "missing"])
def test_torch_computes_what_onednn_is_not_for(case: str, products: list[str], monkeypatch: pytest.MonkeyPatch):
    layer: Any = nn.Linear(24, 40)
    tokens = tokens_of(64 if case == "few" else 8192)
    if case == "missing":
        monkeypatch.setattr(linear, "has_onednn", lambda: False)
    if case == "double":
        layer, tokens = layer.double(), tokens.double()
    with torch.autocast("cpu", torch.bfloat16, enabled=case == "autocast"):
        result = call(layer, tokens)
    assert not products
    torch.testing.assert_close(result.float(), as_torch(layer, tokens).float(), rtol=0.02, atol=0.02)


def test_hooks_and_exchanged_layers_of_an_mlp_are_called():
    layer, tokens, seen = Mlp(24, 96, "gelu"), tokens_of(8192), []
    wanted = call(layer, tokens)
    handle = layer.fc1.register_forward_hook(lambda *_: seen.append("hook"))
    torch.testing.assert_close(call(layer, tokens), wanted)
    handle.remove()
    layer.fc2 = nn.Sequential(layer.fc2)  # pyright: ignore[reportAttributeAccessIssue]  (as adapters do)
    torch.testing.assert_close(call(layer, tokens), wanted)
    assert seen == ["hook"]


def test_layers_without_a_bias_are_torch_s_own():
    layer, mlp, tokens = nn.Linear(24, 40, bias=False), Mlp(24, 96, "gelu"), tokens_of()
    torch.testing.assert_close(call(layer, tokens), F.linear(tokens, layer.weight))
    mlp.fc1 = nn.Linear(24, 96, bias=False)
    torch.testing.assert_close(mlp(tokens), as_torch(mlp, tokens))


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:FutureWarning")
def test_traced_models_hold_operators_that_every_runtime_knows():
    layer, tokens = Mlp(24, 96, "gelu").eval(), tokens_of(8192).detach()
    with torch.no_grad():
        traced = torch.jit.trace(layer, tokens)
    assert "mkldnn" not in str(traced.inlined_graph)  # pyright: ignore[reportAttributeAccessIssue]
    assert "mkldnn" not in str(torch.export.export(layer, (tokens,)).graph)


def test_a_model_can_be_differentiated_by_functions():
    model: Any = hvit.create_model("hiera_micro_32", num_classes=4).eval()
    images = torch.randn(64, 3, 32, 32)
    parameters = dict(model.named_parameters())
    found = torch.func.grad(lambda given: torch.func.functional_call(model, given, (images,)).square().sum())(
        parameters
    )
    wanted = torch.autograd.grad(model(images).square().sum(), list(parameters.values()))
    for mine, other in zip(found.values(), wanted, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))


@needs_onednn
def test_multiply_adds_are_counted():
    with FlopCounterMode(display=False) as counter:
        apply(nn.Linear(24, 40), tokens_of())
    assert counter.get_total_flops() == 2 * 8192 * 24 * 40
