"""Scaled dot-product attention and the choice of its kernel."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.nn.attention import SDPBackend, sdpa_kernel

from hvit.errors import UserError
from hvit.models.layers.encoder import _needs_products
from hvit.models.layers.grids import is_exported
from hvit.models.layers.tracing import one_step

AttentionKernel = Literal["auto", "fused", "explicit"]


_attention_kernel: AttentionKernel = "auto"


# From these numbers on explicit products in bfloat16 are faster than the fused kernel of a CPU, without gradients.
_FEWEST_KEYS, _FEWEST_SCORES = 32, 750_000


@contextmanager
def attention_kernel(kernel: AttentionKernel) -> Iterator[None]:
    """Chooses how attention is computed inside a `with` block, by every family; the results are the same.

    kernel: "fused" (torch's scaled_dot_product_attention, which keeps no table of scores), "explicit" (two matrix
    products and a softmax), or "auto", the faster one as measured (docs/guides/speed.md), the default. Only "explicit"
    can be differentiated twice by autograd; it is then the kernel of timm's and torch's own models, too.
    The choice is the process's, not the thread's. Raises UserError for another word.
    """
    global _attention_kernel
    if kernel not in get_args(AttentionKernel):
        raise UserError(f"an attention kernel is one of {', '.join(get_args(AttentionKernel))}; got {kernel!r}")
    before, _attention_kernel = _attention_kernel, kernel
    try:
        with sdpa_kernel(SDPBackend.MATH) if kernel == "explicit" else nullcontext():
            yield
    finally:
        _attention_kernel = before


@one_step
def attend(
    q: Tensor, k: Tensor, v: Tensor, scale: float | None = None, fused_from: int = 0, bias: Tensor | None = None
) -> Tensor:
    """Attention of queries to keys: softmax(scale * q k' + bias) v, by the kernel that `attention_kernel` says.

    q: (rows, heads, queries, width). k: (rows, heads, keys, width). v: (rows, heads, keys, any width). Four axes always
    (only such calls reach the fused kernels); blocks, units and windows join the rows. All may be views: neither kernel
    is given copies. scale: default, width ** -0.5. fused_from: on a CPU, how many keys there must be for the fused
    kernel to pay, for callers whose queries are wider than their values. bias: (rows, heads, queries, keys).
    Returns (rows, heads, queries, width of v).
    """
    kernel = _attention_kernel
    if kernel == "auto":
        fused = q.device.type != "cpu" or _fused_pays(q, k, fused_from)
        kernel = "fused" if fused and not _needs_products(bias) else "explicit"
    if kernel == "explicit" and not q.is_meta:
        factor = q.shape[-1] ** -0.5 if scale is None else scale
        scores = (q if factor == 1.0 else q * factor) @ k.transpose(-1, -2)
        return (scores if bias is None else scores + bias).softmax(-1) @ v
    more = q.shape[-1] - v.shape[-1]
    if more and not q.is_meta:  # the fused kernels want values as wide as queries
        mixed = F.scaled_dot_product_attention(q, k, F.pad(v, (0, more)), bias, scale=scale)[..., : v.shape[-1]]
    else:
        mixed = F.scaled_dot_product_attention(q, k, v, bias, scale=scale)
    if q.requires_grad and mixed.requires_grad and not q.is_leaf and not _is_transformed():
        q.register_hook(_only_once)
    return mixed


def _is_transformed() -> bool:
    """Whether what runs becomes a program, or is differentiated by torch.func."""
    return torch.compiler.is_compiling() or is_exported() or torch._C._are_functorch_transforms_active()


def _only_once(gradient: Tensor) -> Tensor | None:
    """Where gradients of this gradient are wanted (`create_graph`), lets them be asked for only to say how."""
    return _Once.apply(gradient) if torch.is_grad_enabled() and gradient.requires_grad else None


class _Once(Function):
    """The identity; its derivative is an error that says what to do."""

    @staticmethod
    def forward(context: Any, gradient: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        raise UserError(
            "torch's fused attention has no second derivative; compute the images' logits and both gradients inside "
            "`with hvit.models.layers.attention.attention_kernel('explicit'):`"
        )


def _fused_pays(q: Tensor, k: Tensor, fused_from: int) -> bool:
    """Whether the fused kernel is the faster one on a CPU, as measured (docs/guides/speed.md)."""
    if q.dtype == torch.bfloat16:
        scores = math.prod(q.shape[1 if is_exported() else 0 : 3]) * k.shape[2]
        return not (is_learning(q) or fused_from or (k.shape[2] >= _FEWEST_KEYS and scores >= _FEWEST_SCORES))
    return k.shape[2] > fused_from


def is_learning(*tensors: Tensor) -> bool:
    """Whether what is computed of these tensors will be differentiated."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
