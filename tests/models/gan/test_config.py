"""A generator with its discriminator and objective: stored and read, and impossible ones refused."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file

from hvit.errors import UserError
from hvit.models.gan.config import (
    GanConfig,
    build_discriminator,
    build_generator,
    build_networks,
)
from hvit.models.gan.conv_generator import (
    ConvolutionGeneratorConfig,
)
from hvit.models.gan.discriminators import ResidualDiscriminatorConfig, SaganDiscriminatorConfig
from hvit.models.gan.nest_generator import (
    NestGeneratorConfig,
)

NEST = NestGeneratorConfig(
    output_size=(16, 16), out_channels=1, latent_dim=6, dims=(16, 8, 8), heads=(2, 2, 1), depths=(1, 1, 1)
)
CONVOLUTION = ConvolutionGeneratorConfig(
    output_size=(16, 16), out_channels=1, latent_dim=6, dims=(8, 8, 4), attention_side=8
)
RESIDUAL = ResidualDiscriminatorConfig(input_size=(16, 16), in_channels=1, dims=(4, 6, 8))
SAGAN = SaganDiscriminatorConfig(input_size=(16, 16), in_channels=1, dims=(4, 6, 8), attention_side=8)


@pytest.mark.parametrize("name", ["nest", "conv", "sagan"])
def test_a_gan_and_its_weights_come_back_from_files(tmp_path: Path, name: str) -> None:
    config = {
        "nest": GanConfig(NEST, RESIDUAL, diff_augment=("color",)),
        "conv": GanConfig(CONVOLUTION, RESIDUAL),
        "sagan": GanConfig(CONVOLUTION, SAGAN, loss="hinge", r1_weight=0.0, conditional=True).with_classes(2),
    }[name]
    read = TypeAdapter(GanConfig).validate_json(json.dumps(asdict(config)))
    assert read == config
    labels = torch.tensor([0, 1]) if config.num_classes else None
    torch.manual_seed(0)
    for build, part, inputs in (
        (build_generator, "generator", torch.randn(2, 6)),
        (build_discriminator, "discriminator", torch.randn(2, 1, 16, 16)),
    ):
        network = build(getattr(config, part))
        network.train()(inputs, labels)
        save_file(network.state_dict(), tmp_path / f"{part}.safetensors")
        other = build(getattr(read, part))
        other.load_state_dict(load_file(tmp_path / f"{part}.safetensors"))
        for again in (other, copy.deepcopy(network)):
            assert torch.equal(again.eval()(inputs, labels), network.eval()(inputs, labels))


def test_the_number_of_classes_follows_from_the_data_only_where_it_is_conditional() -> None:
    game = GanConfig(NEST, RESIDUAL)
    assert game.with_classes(10) == game
    labelled = replace(game, conditional=True).with_classes(10)
    assert labelled.generator.num_classes == labelled.discriminator.num_classes == labelled.num_classes == 10
    assert labelled.with_classes(0).num_classes == 0
    networks = build_networks(labelled)
    assert networks.generator.classes is not None
    assert networks.discriminator.classes is not None


@pytest.mark.parametrize(
    ("config", "fields", "words"),
    [
        (NEST, {"dims": (16, 8)}, "one entry per level"),
        (NEST, {"heads": (3, 2, 1)}, "divisible by heads"),
        (NEST, {"dims": (18, 8, 8)}, "divisible by 4"),
        (NEST, {"output_size": (18, 18)}, "multiple of 4, such as 16"),
        (NEST, {"output_size": (16, 32)}, "generates squares"),
        (NEST, {"latent_dim": 0}, "1 or more"),
        (NEST, {"deaggregation": "bilinear"}, "must be one of pixel_shuffle"),
        (CONVOLUTION, {"output_size": (32, 32)}, "images of 16 x 16"),
        (CONVOLUTION, {"attention_side": 4}, "one of 8, 16; got 4"),
        (RESIDUAL, {"dims": (4, 8)}, "images of 8 x 8"),
        (SAGAN, {"attention_side": 16}, "one of 8, 4; got 16"),
    ],
)
def test_impossible_sizes_are_refused(config, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        replace(config, **fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"discriminator": replace(RESIDUAL, in_channels=3)}, "in_channels"),
        ({"generator": replace(NEST, num_classes=3)}, "need conditional"),
        ({"generator": replace(NEST, num_classes=3), "conditional": True}, "and num_classes of the other alike"),
        ({"r1_weight": -1.0}, "0 or more"),
        ({"r1_every": 0}, "1 or more"),
        ({"diff_augment": ("colour",)}, r"color, translation, cutout; got \('colour',\)"),
        ({"consistency": 1.0, "consistency_augment": ()}, "needs consistency_augment"),
        ({"loss": "wasserstein"}, "logistic, hinge"),
    ],
)
def test_impossible_objectives_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        replace(GanConfig(NEST, RESIDUAL), **fields)
