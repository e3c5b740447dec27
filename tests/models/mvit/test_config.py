"""Sizes of MViT and MViTv2: the published ones, what follows from them, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hvit.errors import UserError
from hvit.models.build import build_empty, count_parameters
from hvit.models.catalogue import entry
from hvit.models.create import create_model
from hvit.models.mvit.config import plan_blocks
from tests.models.mvit.small import SMALL


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("mvitv2_tiny_224", 24_173_320),
        ("mvitv2_small_224", 34_870_216),
        ("mvitv2_base_224", 51_472_744),
        ("mvitv2_large_224", 217_992_952),
        ("mvit_base_16x224", 36_610_672),
        ("mvitv2_small_16x224", 34_537_744),
    ],
)
def test_published_sizes_have_the_published_parameters(name: str, parameters: int) -> None:
    assert count_parameters(build_empty(entry(name).config)) == parameters


def test_the_width_grows_where_the_configuration_says() -> None:
    first = [(plan.dim, plan.dim_attention, plan.dim_out) for plan in plan_blocks(SMALL)]
    assert first == [(8, 8, 8), (8, 16, 16), (16, 16, 16), (16, 32, 32)]
    last = [(plan.dim, plan.dim_attention, plan.dim_out) for plan in plan_blocks(replace(SMALL, expansion="mlp"))]
    assert last == [(8, 8, 16), (16, 16, 16), (16, 16, 32), (32, 32, 32)]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"heads": (3, 2, 4)}, "divisible by heads"),
        ({"depths": (1, 2)}, "one entry per level"),
        ({"input_size": (32,)}, "images .height, width. or clips"),
        ({"patch_size": (2, 2, 2)}, "patch_size needs one entry per axis"),
        ({"key_stride": (0, 4)}, "key_stride must be 1 or more"),
        ({"patch_kernel": (4, 4)}, "patch_kernel must be odd"),
        ({"pool": "median"}, "pool"),
        ({"drop_path": 1.0}, "below 1"),
        ({"dims": (0, 16, 32)}, "1 or more"),
        ({"pool_kernel": "stride", "input_size": (36, 48)}, "divisible by"),
        ({"unit_size": (4, 4)}, "absolute positions and no class token"),
        ({"unit_size": (3, 4), "positions": "absolute"}, "query strides"),
        ({"unit_size": (16, 16), "positions": "absolute"}, "mask unit"),
        ({"unit_attention": (True, False, False)}, "needs unit_size"),
    ],
)
def test_impossible_sizes_are_refused_in_one_sentence(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        replace(SMALL, **fields)


def test_a_number_as_input_size_keeps_the_frames() -> None:
    model = create_model("mvitv2_micro_16x64", input_size=32)
    assert model.config.input_size == (16, 32, 32)
