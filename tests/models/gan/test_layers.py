"""Spectral norm, spatial attention and blurred pooling are the published formulas."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvit.models.gan.layers import MapAttention, blur_pool, spectral


def test_spectral_norm_is_in_float32_under_autocast_and_survives_two_passes() -> None:
    torch.manual_seed(0)
    layer = spectral(nn.Conv2d(3, 8, 3))
    expected = layer.eval().weight
    assert isinstance(expected, Tensor)
    images = torch.randn(1, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer.weight, expected)  # pyright: ignore[reportArgumentType]
        loss = layer.train()(images).float().sum() + layer(2 * images).float().square().sum()
    loss.backward()
    assert torch.isfinite(layer.get_parameter("parametrizations.weight.original").grad).all()  # pyright: ignore


def test_attention_on_a_map_is_the_naive_formula_and_opens_from_nothing() -> None:
    torch.manual_seed(0)
    attention, planes = MapAttention(8).eval(), torch.randn(2, 8, 4, 6)
    assert torch.equal(attention(planes), planes)
    nn.init.constant_(attention.gain, 0.7)
    query = attention.query(planes).flatten(2)
    key, value = (F.max_pool2d(part(planes), 2).flatten(2) for part in (attention.key, attention.value))
    mixed = torch.zeros(2, 4, 24)
    for image in range(2):
        for place in range(24):
            weights = torch.softmax(query[image, :, place] @ key[image], dim=0)
            mixed[image, :, place] = value[image] @ weights
    expected = planes + 0.7 * attention.proj(mixed.view(2, 4, 4, 6))
    torch.testing.assert_close(attention(planes), expected, rtol=1e-4, atol=1e-5)


def test_blurred_halving_keeps_brightness_and_wipes_out_the_finest_stripes() -> None:
    inside = blur_pool(torch.ones(1, 2, 8, 8))[:, :, 1:-1, 1:-1]
    torch.testing.assert_close(inside, torch.ones_like(inside))
    stripes = torch.tensor([1.0, -1.0]).repeat(4).expand(1, 1, 8, 8)
    assert blur_pool(stripes)[..., 1:-1].abs().max() < 1e-6
    impulse = torch.zeros(1, 1, 8, 8)
    impulse[..., 4, 3] = 1
    row, column = torch.tensor([0, 1, 3, 0]) / 8, torch.tensor([0, 3, 1, 0]) / 8
    torch.testing.assert_close(blur_pool(impulse)[0, 0], torch.outer(row, column))
