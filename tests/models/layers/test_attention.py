"""Attention is the same whichever kernel computes it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hvit
from hvit.models.build import build_network
from hvit.models.layers import attention
from hvit.models.layers.attention import attend, attention_kernel
from hvit.models.layers.linear import apply_rows
from hvit.models.masked.config import MASKED_SIZES

MODELS = ("nest_micro_32", "nest_tiny_32_block8", "hiera_micro_32", "hiera_micro_16x64", "mvit_micro_32",
          "mvitv2_micro_32", "mvitv2_micro_16x64")  # fmt: skip


def queries_keys_values(width: int = 8, value_width: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 3, 5, width), (2, 3, 7, width), (2, 3, 7, value_width))
    q, k, v = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return q, k, v


@pytest.mark.parametrize("kernel", ["auto", "fused", "explicit"])
@pytest.mark.parametrize("scale", [None, 1.0, 0.3])
@pytest.mark.parametrize("value_width", [8, 6])
def test_every_kernel_is_softmax_attention(kernel: Any, scale: float | None, value_width: int):
    q, k, v = queries_keys_values(value_width=value_width)
    factor = 8**-0.5 if scale is None else scale
    wanted = torch.softmax(factor * torch.einsum("bhqd,bhkd->bhqk", q, k), -1) @ v
    with attention_kernel(kernel):
        torch.testing.assert_close(attend(q, k, v, scale), wanted)


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=pytest.mark.long) if "block8" in one else one for one in MODELS]
)
def test_both_kernels_give_a_model_the_same_logits_and_gradients(name: str):
    torch.manual_seed(0)
    # In float32 a max-pool of nearly equal values may choose another, and its gradient goes elsewhere.
    model = hvit.create_model(name, drop_path=0.0, num_classes=5).eval().double()
    images = torch.randn(2, model.config.in_channels, *model.config.input_size, dtype=torch.float64)
    found = []
    for kernel in ("fused", "explicit"):
        with attention_kernel(kernel):
            logits = model(images)
            found.append((logits, *torch.autograd.grad(logits.square().sum(), list(model.parameters()))))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_both_kernels_give_the_masked_decoder_the_same_loss():
    torch.manual_seed(0)
    model: Any = build_network(MASKED_SIZES["mae_hiera_micro_32"]).eval()
    images, visible = torch.randn(2, 3, 32, 32), model.draw_masks(2, torch.Generator().manual_seed(0))
    losses = []
    for kernel in ("fused", "explicit"):
        with attention_kernel(kernel):
            losses.append(model.loss(model(images, visible, masked_only=True), images, visible))
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize("name", MODELS)
def test_every_family_asks_the_switch(name: str, monkeypatch: pytest.MonkeyPatch):
    model = hvit.create_model(name).eval()
    images = torch.randn(1, model.config.in_channels, *model.config.input_size)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the fused kernel was called")

    monkeypatch.setattr(attention.F, "scaled_dot_product_attention", refuse)
    with attention_kernel("explicit"):
        model(images)
    with attention_kernel("fused"), pytest.raises(AssertionError, match="fused kernel was called"):
        model(images)


def test_auto_is_fused_except_where_it_was_measured_to_be_slower(monkeypatch: pytest.MonkeyPatch):
    calls = []
    fused = attention.F.scaled_dot_product_attention

    def counted(*tensors: Tensor, **options: Any) -> Tensor:
        calls.append(tensors)
        return fused(*tensors, **options)

    monkeypatch.setattr(attention.F, "scaled_dot_product_attention", counted)
    q, k, v = (part.float() for part in queries_keys_values())
    attend(q, k, v)
    attend(q, k, v, fused_from=6)
    assert len(calls) == 2
    attend(q, k, v, fused_from=7)
    attend(*(part.bfloat16().requires_grad_() for part in (q, k, v)))
    assert len(calls) == 2
    attend(*(part.bfloat16() for part in (q, k, v)))
    assert len(calls) == 3


def test_the_switch_is_put_back_and_refuses_other_words():
    switch = attention_kernel("explicit")
    with switch:
        assert attention._attention_kernel == "explicit"
    assert attention._attention_kernel == "auto"
    with pytest.raises(hvit.UserError, match="auto, fused, explicit; got 'fast'"), attention_kernel("fast"):  # pyright: ignore[reportArgumentType]
        pass


def test_rows_of_a_linear_layer_are_parts_of_the_whole():
    torch.manual_seed(0)
    linear, tokens = nn.Linear(6, 10), torch.randn(2, 3, 6)
    parts = torch.cat((apply_rows(linear, tokens, 0, 4), apply_rows(linear, tokens, 4, 10)), -1)
    torch.testing.assert_close(parts, linear(tokens))
