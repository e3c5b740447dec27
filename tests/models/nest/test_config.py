"""Sizes of NesT: the published ones, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from hvit.errors import UserError
from hvit.models.build import build, count_parameters, multiply_adds
from hvit.models.catalogue import change, entry
from hvit.models.create import create_model
from hvit.models.nest.config import NestConfig

PUBLISHED = [
    ("nest_tiny_224", 1000, 17_057_608, 5.81),
    ("nest_small_224", 1000, 38_351_176, 10.32),
    ("nest_base_224", 1000, 67_723_368, 17.93),
    ("nest_tiny_32", 10, 6_006_730, 2.08),
    ("nest_tiny_32", 100, 6_024_100, 2.08),
    ("nest_small_32", 10, 22_849_930, 8.05),
    ("nest_small_32", 100, 22_884_580, 8.05),
    ("nest_base_32", 10, 89_050_378, 31.7),
    ("nest_base_32", 100, 89_119_588, 31.7),
]


@pytest.mark.parametrize(("name", "classes", "parameters", "billions"), PUBLISHED)
def test_published_models_have_the_published_sizes(name: str, classes: int, parameters: int, billions: float) -> None:
    config = change(entry(name).config, num_classes=classes)
    with torch.device("meta"):
        assert count_parameters(build(config)) == parameters
    assert multiply_adds(config) == pytest.approx(billions * 1e9, rel=0.01)


def test_the_paper_table_of_the_cifar_model_has_6_million_parameters() -> None:
    with torch.device("meta"):
        assert count_parameters(create_model("nest_tiny_32_block8")) == pytest.approx(6.26e6, rel=0.01)


@pytest.mark.parametrize(
    "fields",
    [
        {"input_size": (225, 225)},
        {"input_size": (8, 8)},
        {"input_size": (224, 200)},
        {"input_size": (224, 192), "block_size": 14},
        {"input_size": (225, 192)},
        {"patch_size": (4, 2)},
        {"block_size": 7},
        {"input_size": (112, 112), "aggregation_plane": "block"},
        {"input_size": (16, 16), "aggregation_plane": "block"},
        {"input_size": (100, 100), "aggregation_plane": "block"},
        {"input_size": (100, 120), "aggregation_plane": "block"},
    ],
)
def test_a_wrong_geometry_is_refused_with_sizes_that_work(fields: dict[str, Any]) -> None:
    with pytest.raises(UserError) as refusal:
        NestConfig(**fields)
    advice = re.split(r"such as |input_size(?:=| to )\(", str(refusal.value))[-1].partition(";")[0]
    sides = {int(side) for side in re.findall(r"\d+", advice.partition("patch_size")[0])}
    assert sides
    for side in sides:
        assert NestConfig(**{**fields, "input_size": (side, side), "patch_size": (4, 4)}).input_size == (side, side)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"dims": (96, 192)}, "one entry per level"),
        ({"heads": (5, 6, 12)}, "divisible by heads"),
        ({"depths": (2, 0, 8)}, "1 or more"),
        ({"drop_path": 1.0}, "below 1"),
    ],
)
def test_impossible_numbers_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        NestConfig(**fields)
