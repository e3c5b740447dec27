"""Linear layers and MLPs: on a CPU by oneDNN, and an MLP saves half of what autograd would.

torch multiplies float32 matrices on a CPU with MKL. oneDNN, which torch carries as well, was faster in every product of
these models' shapes but those of a weight's gradient (docs/guides/speed.md), so the functions here ask it for the
others, and in bfloat16 without gradients for a GELU inside the product. Its operator is private to torch; where it is
missing, and for every other device and type, torch's own call is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import accumulate, pairwise
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.modules.module import _has_any_global_hook
from torch.overrides import has_torch_function_variadic
from torch.utils.flop_counter import register_flop_formula

from hvit.machine import has_bfloat16
from hvit.models.layers.attention import is_learning
from hvit.models.layers.tracing import is_symbolic

Activation = Literal["gelu_tanh", "gelu"]

_LEAST = 2_000_000
"""Multiply-adds from which on oneDNN pays; below, torch's own call costs less than what is gained."""


@cache
def has_onednn() -> bool:
    """Whether this torch has the operators of oneDNN that are asked for here and in `packed`."""
    names = ("_linear_pointwise", "_reorder_linear_weight")
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in names)


def apply(layer: nn.Module, tokens: Tensor) -> Tensor:
    """What a linear layer gives, faster on a CPU where the layer is plain; any other layer is called.

    The layers are torch's own, so that tools which exchange `nn.Linear` for their own find all of them.
    tokens: (..., dim). Returns (..., features).
    """
    if is_plain(layer, nn.Linear) and not is_symbolic(tokens):
        return _linear(tokens, layer.weight, layer.bias)  # pyright: ignore[reportArgumentType]
    return layer(tokens)


def apply_rows(layer: nn.Linear, tokens: Tensor, start: int, stop: int) -> Tensor:
    """Some features of what a plain linear layer gives, dense in memory.

    tokens: (..., dim). Returns (..., stop - start): those features of what `apply` would give.
    """
    bias = None if layer.bias is None else layer.bias[start:stop]
    return _linear(tokens, layer.weight[start:stop], bias)


class Mlp(nn.Module):
    """Two linear layers with a GELU between them, applied to every token."""

    def __init__(self, dim: int, hidden: int, activation: Activation, out: int | None = None) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, out or dim)
        self.approximate = "tanh" if activation == "gelu_tanh" else "none"

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (..., dim). Returns (..., out), or the same shape where `out` was not given."""
        if is_plain(self.fc1, nn.Linear) and is_plain(self.fc2, nn.Linear):
            weights = (self.fc1.weight, self.fc1.bias, self.fc2.weight, self.fc2.bias)
            if weights[1] is not None and weights[3] is not None and _suits_onednn(tokens, *weights):
                return _mlp_by_onednn(tokens, *weights, self.approximate)
        return self.fc2(F.gelu(self.fc1(tokens), approximate=self.approximate))


def is_plain(layer: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Whether using a layer's weight and bias is the same as calling the layer, and nothing would notice.

    kinds: the types it may have; a subclass is none of them. It is not plain where it was exchanged for another layer
    (adapters), has hooks of its own or of all modules (pruning has one), a parametrisation, a `forward` of its own, or
    a weight that is no ordinary tensor (quantised, distributed). Whoever would use its weight has to call it then.
    """
    return type(layer) in kinds and not is_hooked(layer) and type(layer._parameters.get("weight")) is nn.Parameter


def is_hooked(layer: nn.Module) -> bool:
    """Whether something notices or changes what a call of a layer does: hooks, or a `forward` of its own."""
    own = layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks
    return bool(own or _has_any_global_hook() or "forward" in layer.__dict__)


def split_rows(layer: nn.Module, tokens: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """What a linear layer gives, cut along its features; by a layer that is plain each part dense in memory.

    tokens: (..., dim). sizes: features of each part, all of them together. Returns tensors (..., size). The layer
    may be an adapter in its place; it is called once, so that its hooks see what they would see of `forward`.
    """
    ends = [0, *accumulate(sizes)]
    if is_plain(layer, nn.Linear) and not is_symbolic(tokens):
        plain = cast(nn.Linear, layer)
        return [apply_rows(plain, tokens, start, stop) for start, stop in pairwise(ends)]
    rows = getattr(type(layer), "rows", None)  # a packed layer
    if rows is None:
        parts = layer(tokens).split(list(sizes), -1)
        return [parts[one] for one in range(len(sizes))]
    return [rows(layer, tokens, start, stop) for start, stop in pairwise(ends)]


def _linear(tokens: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if bias is None or not _suits_onednn(tokens, weight, bias):
        return F.linear(tokens, weight, bias)
    if is_learning(tokens, weight, bias):
        return _LearningLinear.apply(tokens, weight, bias)
    return product(tokens, weight, bias)


def _mlp_by_onednn(
    tokens: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor, approximate: str
) -> Tensor:
    if is_learning(tokens, weight1, bias1, weight2, bias2):
        if has_torch_function_variadic(tokens):  # a mode of torch that sees calls is to see the GELU, too
            hidden = _LearningLinear.apply(tokens, weight1, bias1)
            return _LearningLinear.apply(F.gelu(hidden, approximate=approximate), weight2, bias2)
        return _LearningMlp.apply(tokens, weight1, bias1, weight2, bias2, approximate)
    return product(product(tokens, weight1, bias1, approximate), weight2, bias2)


def _is_low_inference(*tensors: Tensor) -> bool:
    low = tensors[0].dtype == torch.bfloat16
    return low and not is_learning(*tensors) and has_bfloat16("cpu") and _multiplies_bfloat16()


@cache
def _multiplies_bfloat16() -> bool:
    """Whether oneDNN does so here: a CPU may have the units, and the library be held back (ONEDNN_MAX_CPU_ISA)."""
    ones = torch.ones(2, 2, dtype=torch.bfloat16)
    try:
        product(ones, ones, None)
    except RuntimeError:
        return False
    return True


def _suits_onednn(tokens: Tensor, weight: Tensor, *others: Tensor) -> bool:
    return (
        not is_symbolic(tokens)
        and tokens.device.type == "cpu"
        and not (torch._C._get_tracing_state() or torch.compiler.is_compiling())
        and tokens.numel() * weight.shape[0] >= _LEAST
        and all(tensor.dtype == tokens.dtype for tensor in (weight, *others))
        and type(weight) in (Tensor, nn.Parameter)  # others, such as quantised weights, compute in their own way
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._are_functorch_transforms_active()  # torch.func differentiates and maps in ways of its own
        and has_onednn()
        and (tokens.dtype == torch.float32 or _is_low_inference(tokens, weight, *others))
    )


class _LearningLinear(Function):
    """tokens (..., dim), weight (features, dim), bias (features,) -> (..., features)."""

    @staticmethod
    def forward(context: Any, tokens: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        context.save_for_backward(tokens, weight, bias)
        return product(tokens, weight, bias)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        inputs = context.saved_tensors
        if torch.is_grad_enabled():  # gradients of these gradients are wanted, too
            return _differentiable(F.linear, inputs, context.needs_input_grad, gradient)
        tokens, weight, _ = inputs
        wants_tokens, wants_weight, wants_bias = context.needs_input_grad
        return (
            _of_tokens(gradient, weight) if wants_tokens else None,
            _of_weight(gradient, tokens) if wants_weight else None,
            _of_bias(gradient) if wants_bias else None,
        )


class _LearningMlp(Function):
    """An MLP that saves what comes before the GELU, and computes what comes after it again in the backward pass.

    tokens (..., dim), weight and bias of both layers, form of the GELU -> (..., out).
    """

    @staticmethod
    def forward(
        context: Any, tokens: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor, approximate: str
    ) -> Tensor:
        hidden = product(tokens, weight1, bias1)
        context.save_for_backward(tokens, weight1, bias1, weight2, bias2, hidden)
        context.approximate = approximate
        return product(F.gelu(hidden, approximate=approximate), weight2, bias2)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        *inputs, hidden = context.saved_tensors
        needs, approximate = context.needs_input_grad, context.approximate
        if torch.is_grad_enabled():
            return *_differentiable(partial(_mlp, approximate), inputs, needs[:5], gradient), None
        tokens, weight1, _, weight2, _ = inputs
        found: list[Tensor | None] = [None] * 6
        if needs[3]:
            found[3] = _of_weight(gradient, F.gelu(hidden, approximate=approximate))
        found[4] = _of_bias(gradient) if needs[4] else None
        if any(needs[:3]):
            inner = _of_tokens(gradient, weight2)
            torch.ops.aten.gelu_backward.grad_input(inner, hidden, approximate=approximate, grad_input=inner)
            found[0] = _of_tokens(inner, weight1) if needs[0] else None
            found[1] = _of_weight(inner, tokens) if needs[1] else None
            found[2] = _of_bias(inner) if needs[2] else None
        return tuple(found)


def _mlp(approximate: str, tokens: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor) -> Tensor:
    return F.linear(F.gelu(F.linear(tokens, weight1, bias1), approximate=approximate), weight2, bias2)


def _differentiable(
    function: Callable[..., Tensor], inputs: Sequence[Tensor], needs: tuple[bool, ...], gradient: Tensor
) -> tuple[Tensor | None, ...]:
    """Gradients of a function of tensors, for those that need them, that have gradients themselves."""
    wanted = [tensor for tensor, need in zip(inputs, needs, strict=True) if need]
    found = iter(torch.autograd.grad(function(*inputs), wanted, gradient, create_graph=True))
    return tuple(next(found) if need else None for need in needs)


def product(tokens: Tensor, weight: Tensor, bias: Tensor | None, gelu: str | None = None) -> Tensor:
    """tokens (..., dim) times a weight (features, dim), packed or not, plus bias; then a GELU of that form ("none" or
    "tanh"), if any. By oneDNN, without gradients; needs `has_onednn`."""
    attribute, algorithm = ("none", "") if gelu is None else ("gelu", gelu)
    return torch.ops.mkldnn._linear_pointwise(tokens, weight, bias, attribute, [], algorithm)


def _of_tokens(gradient: Tensor, weight: Tensor) -> Tensor:
    return product(gradient, weight.t(), None)


def _of_weight(gradient: Tensor, tokens: Tensor) -> Tensor:
    """By torch's own product, which is the faster one here, with the wider matrix first."""
    gradient, tokens = gradient.flatten(0, -2), tokens.flatten(0, -2)
    if tokens.shape[1] > gradient.shape[1]:
        return (tokens.t() @ gradient).t()
    return gradient.t() @ tokens


def _of_bias(gradient: Tensor) -> Tensor:
    return gradient.flatten(0, -2).sum(0)


@register_flop_formula(torch.ops.mkldnn._linear_pointwise if has_onednn() else [])
def _flops(tokens_shape: torch.Size, weight_shape: torch.Size, *_: object, **__: object) -> int:
    """For torch's counter of operations, which does not know the operator."""
    return 2 * tokens_shape.numel() * weight_shape[0]
