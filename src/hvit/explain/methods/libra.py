"""LibraGrad's backward rule: gradients of which features times gradients add up to the logit, at every level.

Source: Mehri et al., "LibraGrad: Balancing Gradient Flow for Universally Better Vision Transformer Attributions", CVPR
2025 (arXiv 2411.16760). A function f is gradient-complete if f(x) - f(0) = x * df/dx. Linear layers, sums, averages and
maxima are. Three parts of a transformer are not, and are made so by holding a factor constant in the backward pass:

- layer norm: (x - mean) / deviation is linear in x if the deviation is constant. With the usual gradient, features
  times gradients before a norm add up to zero, because a norm's result does not change when its input is scaled;
- GELU: x * gate(x) is linear in x if the gate is constant;
- attention: a weighted mean of the values is linear in them if the weights, the softmax, are constant.

At every level, features times gradients then add up to the logit less what the biases above that level add to it: the
sum of each bias (of a linear layer, a norm, a position embedding, a class token) times its own gradient.

The forward pass computes what it always does: these parts are called as they are, and only the gradient is that of the
linear form. No model is changed: the calls are seen by a mode of torch, which is the thread's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.overrides import TorchFunctionMode

from hvit.errors import UserError
from hvit.explain.tree import Gradient


def gradients_of(gradient: Gradient) -> AbstractContextManager[object]:
    """A `with` block for a forward pass that is to have these gradients; it changes nothing after its end.

    gradient: "usual" for those of autograd, "libra" for LibraGrad's. Raises UserError for another word.
    """
    if gradient not in get_args(Gradient):
        raise UserError(f"gradient must be one of {', '.join(get_args(Gradient))}; got {gradient!r:.80}")
    return _Libra() if gradient == "libra" else nullcontext()


class _Libra(TorchFunctionMode):
    """While it lasts, this thread's norms, GELUs and attention give the gradients of their linear forms."""

    def __torch_function__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        value = func(*args, **given)
        rule = _RULES.get(func)
        if rule is None or not (isinstance(value, Tensor) and value.requires_grad):
            return value
        linear = rule(value.detach(), *args, **given)
        return value.detach() if linear is None else _WithGradientOf.apply(value.detach(), linear.to(value.dtype))


class _WithGradientOf(Function):
    """A value as it is, with the gradient of another tensor of its shape."""

    @staticmethod
    def forward(context: Any, value: Tensor, linear: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[None, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return None, gradient


# Each takes the value and what the function was called with, and gives the linear form; None: the value is constant.


def _layer_norm(
    value: Tensor,
    tokens: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    axes = tuple(range(-len(normalized_shape), 0))
    wide = tokens.to(torch.promote_types(tokens.dtype, torch.float32))
    centred = wide - wide.mean(axes, keepdim=True)
    linear = centred * (centred.detach().square().mean(axes, keepdim=True) + eps).rsqrt()
    linear = linear if weight is None else linear * weight
    return linear if bias is None else linear + bias


def _gelu(value: Tensor, hidden: Tensor, approximate: str = "none") -> Tensor:
    constant = hidden.detach()
    return hidden * torch.where(constant == 0, 0.5, value / constant)  # the gate of a GELU is 0.5 at 0


def _softmax(value: Tensor, *given: Any, **options: Any) -> None:
    return None


def _attention(value: Tensor, query: Tensor, key: Tensor, values: Tensor, *given: Any, **options: Any) -> Tensor:
    others: list[Any] = [_constant(one) for one in given]
    named: dict[str, Any] = {name: _constant(one) for name, one in options.items()}
    return F.scaled_dot_product_attention(query.detach(), key.detach(), values, *others, **named)


def _constant(one: Any) -> Any:
    return one.detach() if isinstance(one, Tensor) else one


_RULES: dict[Callable[..., Any], Callable[..., Tensor | None]] = {
    F.layer_norm: _layer_norm,
    F.gelu: _gelu,
    F.softmax: _softmax,
    torch.softmax: _softmax,
    Tensor.softmax: _softmax,
    F.scaled_dot_product_attention: _attention,
}
