"""The blocks of every family are found by one rule."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn

from hvit.models.build import build_empty
from hvit.models.catalogue import entry
from hvit.models.gan.config import GanConfig, build_discriminator, build_generator
from hvit.recipes import get_recipe
from hvit.training.blocks import blocks_of

BLOCKS = {
    "nest_micro_32": {"TransformerLayer": 4},
    "hiera_micro_32": {"HieraLayer": 4},
    "mvit_micro_32": {"Block": 4},
    "mvitv2_micro_16x64_step_0": {"Block": 5},
    "mae_hiera_micro_32": {"HieraLayer": 4, "DecoderLayer": 2},
    "mae_vit_micro_32": {"Block": 5, "DecoderLayer": 2},
    "vit_micro_32": {"Block": 5},
    "resnet_micro_32": {"BasicBlock": 9},
    "swin_micro_32": {"SwinTransformerBlock": 6},
    "pvtv2_micro_64": {"Block": 4},
    "conv_generator_micro_32": {"DoublingBlock": 3, "MapAttention": 1},
}


def kinds(network: nn.Module) -> dict[str, int]:
    return Counter(type(block).__name__ for block in blocks_of(network))


@pytest.mark.parametrize("name", BLOCKS)
def test_every_layer_of_a_family_is_a_block(name: str) -> None:
    assert kinds(build_empty(entry(name).config)) == BLOCKS[name]


def test_both_networks_of_a_gan_have_blocks() -> None:
    gan = get_recipe("nest_gan_digits_32").model
    assert isinstance(gan, GanConfig)
    with torch.device("meta"):
        networks = build_generator(gan.generator), build_discriminator(gan.discriminator)
    assert [kinds(network) for network in networks] == [{"TransformerLayer": 7}, {"BlurBlock": 3}]
