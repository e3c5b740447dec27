"""Tensors without memory pass for a GPU's, and what is alive is counted."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from hvit.planning.pretend import GPU, PretendGpu, Watch


def test_code_sees_a_gpu_and_masks_keep_their_numbers() -> None:
    images = torch.empty(2, 6, 4, device="meta")
    mask = torch.tensor([[True, False, True, False, False, True]] * 2)
    with PretendGpu(), Watch([images], "meta") as watch:
        assert images.device == GPU
        assert not images.is_meta
        there = mask.to(images.device)
        assert int(there.sum()) == 6
        assert images[there].shape == (6, 4)
        assert (images * there[..., None]).shape == images.shape
        assert torch.zeros(3, device=images.device).device == GPU
        assert torch.rand(2).to(images.device).device == GPU
    assert images.is_meta
    assert watch.bytes == 0  # nothing of it was kept
    assert watch.peak >= 4 * images.numel()


def test_what_the_graph_keeps_is_alive_until_the_backward_pass() -> None:
    layer, tokens = nn.Linear(10, 20, device="meta"), torch.empty(5, 10, device="meta")
    with PretendGpu(), Watch([*layer.parameters(), tokens], "meta") as watch:
        loss = F.gelu(layer(tokens)).sum()
        assert watch.bytes == 4 * (5 * 20 + 1)  # what comes before the GELU, and the loss
        loss.backward()
        del loss
        assert watch.bytes == 4 * (10 * 20 + 20)  # the gradients
    assert watch.flops == 2 * 2 * 5 * 10 * 20  # the product, and the gradient of the weight; the tokens have none


def test_autocast_casts_as_on_a_gpu_and_keeps_casts_of_weights_for_one_forward_pass() -> None:
    layer, norm = nn.Linear(10, 20, device="meta"), nn.LayerNorm(20, device="meta")
    tokens, gpu = torch.empty(5, 10, device="meta"), PretendGpu()
    with gpu, torch.autocast(GPU.type, dtype=torch.bfloat16):
        low = layer(tokens)
        assert low.dtype == torch.bfloat16
        assert norm(low).dtype == torch.float32
        assert (tokens @ tokens.T).dtype == torch.bfloat16
        assert tokens.softmax(-1).dtype == torch.float32
        layer(tokens)
        with torch.autocast(GPU.type, enabled=False):
            assert layer(tokens).dtype == torch.float32
        gpu.forget()
    assert gpu.cast_bytes == 2 * (10 * 20 + 20)


def test_attention_keeps_no_table_of_scores() -> None:
    q = torch.empty(2, 3, 64, 32, device="meta", requires_grad=True)
    for low in (False, True):
        with PretendGpu(), Watch([q], "meta") as watch, torch.autocast(GPU.type, torch.bfloat16, enabled=low):
            mixed = F.scaled_dot_product_attention(q, q, q)
            assert mixed.shape == q.shape
            assert watch.bytes < 2 * 3 * 64 * 64 * 4 + 2 * q.numel() * 4
            bias = torch.empty(2, 3, 64, 64, device="meta", requires_grad=True)
            assert F.scaled_dot_product_attention(q, q, q, bias).shape == q.shape


def test_real_tensors_are_counted_alike() -> None:
    layer, tokens = nn.Linear(10, 20), torch.rand(5, 10)
    with Watch([*layer.parameters(), tokens], "cpu") as watch:
        kept = F.gelu(layer(tokens)).sum()
        assert watch.bytes == 4 * (5 * 20 + 1)
        del kept
        assert watch.bytes == 0
