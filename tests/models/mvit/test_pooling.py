"""Keys and values are pooled in one convolution as each would be by its own layer."""

from __future__ import annotations

import torch
from torch import nn

from hvit.models.mvit.config import Pooling
from hvit.models.mvit.pooling import pool_projections, pool_tokens

POOLING = Pooling((3, 3), (2, 2), (1, 1))


def test_one_convolution_for_both_is_each_layer_by_itself() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(4, 4, 3, 2, 1, groups=4, bias=False) for _ in range(2)]
    norms = [nn.LayerNorm(4) for _ in range(2)]
    tokens = torch.randn(2, 1 + 64, 2 * 3 * 4)
    both, grid = pool_projections(tokens, 1, 1, (8, 8), POOLING, "conv", 3, layers, norms)
    assert grid == (4, 4)
    for part, (layer, norm) in enumerate(zip(layers, norms, strict=True)):
        layer.register_forward_hook(lambda *_: None)  # a layer that is observed is called
        own = tokens.unflatten(2, (2, 3, 4))[:, :, part].flatten(2)
        alone, _ = pool_projections(own, 1, 1, (8, 8), POOLING, "conv", 3, [layer], [norm])
        assert torch.allclose(both[:, :, part], alone[:, :, 0], atol=1e-6)


def test_a_class_token_is_left_alone_and_nothing_is_pooled_without_a_pooling() -> None:
    tokens = torch.randn(2, 1 + 16, 8)
    pooled, grid = pool_tokens(tokens, 1, 1, (4, 4), POOLING, "max")
    assert (grid, pooled.shape) == ((2, 2), (2, 5, 8))
    assert torch.equal(pooled[:, 0], tokens[:, 0])
    same, grid = pool_projections(tokens, 1, 1, (4, 4), None, "conv", 2, [None], [None])
    assert torch.equal(same.flatten(2), tokens)
    assert grid == (4, 4)
