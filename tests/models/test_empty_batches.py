"""A batch of no images gives results for no images, as plain layers of torch do."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import hvit
from hvit.models.build import build_network
from hvit.models.catalogue import entry
from hvit.models.gan.discriminators import (
    ResidualDiscriminator,
    ResidualDiscriminatorConfig,
    SaganDiscriminator,
    SaganDiscriminatorConfig,
)
from hvit.models.masked.config import MaskedConfig
from hvit.models.mvit.config import MVIT_SIZES
from hvit.models.mvit.simplification import SIMPLIFIED
from hvit.models.nest.config import NEST_SIZES

CLASSIFIERS = (
    "nest_micro_32", "nest_tiny_32_block8", "mvit_micro_32", "mvitv2_micro_32", "mvitv2_micro_16x64", "hiera_micro_32",
    "hiera_micro_16x64", "mvitv2_micro_64_step_a", "mvitv2_micro_64_step_f", "vit_micro_32", "resnet_micro_32",
)  # fmt: skip
SMALL: dict[str, Any] = {"decoder_dim": 32, "decoder_heads": 2, "decoder_depth": 2}
AUTOENCODERS = {
    "hiera": entry("mae_hiera_micro_32").config,
    "clips": entry("mae_hiera_micro_16x64").config,
    "mvit": MaskedConfig(SIMPLIFIED["mvitv2_micro_64_step_c"], **SMALL),
    "mvit fill": MaskedConfig(MVIT_SIZES["mvitv2_micro_32"], encoding="dense", **SMALL),
    "nest": MaskedConfig(NEST_SIZES["nest_micro_64"], mask_pattern="nested", mask_ratio=0.5, **SMALL),
    "nest fill": MaskedConfig(NEST_SIZES["nest_micro_32"], encoding="dense", target="hog", **SMALL),
}
GENERATORS = ("nest_generator_micro_32", "conv_generator_digits_32")


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_gives_no_logits_and_levels_of_their_sizes(name: str, training: bool):
    model: Any = hvit.create_model(name).train(training)
    images = torch.rand(0, 3, *model.config.input_size, requires_grad=True)
    logits = model(images)
    assert logits.shape == (0, model.config.num_classes)
    logits.sum().backward()
    assert images.grad is not None
    some = model.eval().levels(torch.rand(1, 3, *model.config.input_size))
    for grid, other in zip(model.levels(images), some, strict=True):
        assert grid.shape == (0, *other.shape[1:])


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_an_autoencoder_predicts_no_patches_and_refuses_a_loss(name: str):
    config: Any = AUTOENCODERS[name]
    model: Any = build_network(config)
    images, visible = torch.rand(0, 3, *config.input_size), model.draw_masks(0)
    assert visible.shape == (0, *config.unit_grid)
    whole, (_, width) = model(images, visible), model(images, visible, masked_only=True).shape
    assert whole.shape == (0, *config.patch_grid, width)
    assert model.features(images).shape == (0, config.encoder.dims[-1])
    with pytest.raises(hvit.UserError, match="no images"):
        model.loss(whole, images, visible)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", GENERATORS)
def test_a_generator_makes_no_images(name: str, training: bool):
    model: Any = hvit.create_model(name, num_classes=3).train(training)
    config = model.config
    images = model(torch.randn(0, config.latent_dim), torch.zeros(0, dtype=torch.int64))
    assert images.shape == (0, config.out_channels, *config.output_size)


@pytest.mark.parametrize("kind", ["residual", "sagan"])
def test_a_discriminator_gives_no_logits(kind: str):
    if kind == "residual":
        model: Any = ResidualDiscriminator(ResidualDiscriminatorConfig(input_size=(16, 16), dims=(8, 8, 8)))
    else:
        config = SaganDiscriminatorConfig(input_size=(16, 16), dims=(8, 8, 8), attention_side=8)
        model = SaganDiscriminator(config)
    assert model(torch.rand(0, 3, 16, 16)).shape == (0,)


@pytest.mark.parametrize("name", ["nest_micro_32", "hiera_micro_16x64"])
def test_a_prepared_model_gives_no_logits(name: str):
    ready = hvit.prepare_for_inference(hvit.create_model(name, num_classes=7), 1, ways=("packed",))
    logits = ready(torch.rand(0, 3, *ready.config.input_size))
    assert logits.shape == (0, 7)
    assert logits.dtype == torch.float32
