"""Discriminators give one logit, project labels, and are built as published."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.models.gan.config import (
    build_discriminator,
    build_generator,
)
from hvit.models.gan.conv_generator import (
    ConvolutionGeneratorConfig,
)
from hvit.models.gan.discriminators import BlurBlock, ResidualDiscriminatorConfig, SaganDiscriminatorConfig
from hvit.models.gan.layers import blur_pool

CONVOLUTION = ConvolutionGeneratorConfig(
    output_size=(16, 16), out_channels=1, latent_dim=6, dims=(8, 8, 4), attention_side=8
)
RESIDUAL = ResidualDiscriminatorConfig(input_size=(16, 16), in_channels=1, dims=(4, 6, 8))
SAGAN = SaganDiscriminatorConfig(input_size=(16, 16), in_channels=1, dims=(4, 6, 8), attention_side=8)


def largest_singular_value(weight: Tensor) -> float:
    return float(torch.linalg.matrix_norm(weight.detach().flatten(1), ord=2))


def spectral_layers(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if hasattr(module, "parametrizations")]


@pytest.mark.parametrize("config", [RESIDUAL, SAGAN])
def test_discriminators_give_one_logit_and_project_the_label(config) -> None:
    torch.manual_seed(0)
    images = torch.randn(3, 1, 16, 16)
    assert build_discriminator(config)(images).shape == (3,)
    discriminator = build_discriminator(replace(config, num_classes=4)).eval()
    features, labels = discriminator.features(images), torch.tensor([0, 3, 1])
    assert isinstance(discriminator.classes, nn.Embedding)
    expected = discriminator.head(features)[:, 0] + (features * discriminator.classes.weight[labels]).sum(1)
    torch.testing.assert_close(discriminator(images, labels), expected)
    assert not torch.allclose(discriminator(images, labels), discriminator(images, labels + 1 - 2 * (labels == 3)))
    with pytest.raises(UserError, match="needs a label"):
        discriminator(images)
    with pytest.raises(UserError, match=r"\(batch, 1, 16, 16\)"):
        discriminator(images[..., :8], labels)


@pytest.mark.parametrize("config", [CONVOLUTION, SAGAN])
def test_spectral_norm_keeps_every_largest_singular_value_at_one(config) -> None:
    torch.manual_seed(0)
    network = build_discriminator(config) if config is SAGAN else build_generator(config)
    layers = spectral_layers(network)
    assert len(layers) >= 10
    for parameter in network.parameters():  # far from where the power iteration was
        nn.init.normal_(parameter, std=0.5)
    network.train()
    for _ in range(60):
        weights = [layer.weight for layer in layers]
    for weight in weights:
        assert isinstance(weight, Tensor)
        assert largest_singular_value(weight) == pytest.approx(1, abs=0.02)
    buffers = [buffer.clone() for buffer in network.buffers()]
    network.eval()
    assert [layer.weight for layer in layers]
    assert all(torch.equal(*pair) for pair in zip(buffers, network.buffers(), strict=True))


def test_residual_blocks_are_the_published_formula() -> None:
    torch.manual_seed(0)
    block, planes = BlurBlock(3, 5), torch.randn(2, 3, 8, 8)
    branch = F.leaky_relu(block.convolution1(planes), 0.2)
    branch = F.leaky_relu(block.convolution2(blur_pool(branch)), 0.2)
    torch.testing.assert_close(block(planes), (branch + block.skip(blur_pool(planes))) / 2**0.5)
