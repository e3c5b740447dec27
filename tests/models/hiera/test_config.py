"""Published and micro sizes of Hiera, and impossible ones refused."""

from __future__ import annotations

import re
from typing import Any

import pytest

from hvit.errors import UserError
from hvit.models.build import build_empty, count_parameters, multiply_adds
from hvit.models.hiera.config import HIERA_SIZES
from hvit.models.hiera.model import HieraConfig

PUBLISHED = [
    ("hiera_tiny_224", 27_910_216, 4.90),
    ("hiera_small_224", 35_008_072, 6.41),
    ("hiera_base_224", 51_524_968, 9.38),
    ("hiera_base_plus_224", 69_896_616, 12.64),
    ("hiera_large_224", 213_739_912, 40.27),
    ("hiera_huge_224", 672_779_752, 124.73),
    ("hiera_base_16x224", 51_092_560, 101.73),
    ("hiera_base_plus_16x224", 69_392_240, 132.30),
    ("hiera_large_16x224", 213_091_600, 412.13),
    ("hiera_huge_16x224", 671_627_664, 1157.80),
]


@pytest.mark.parametrize(("name", "parameters", "billions"), PUBLISHED)
def test_published_models_have_the_published_sizes(name: str, parameters: int, billions: float) -> None:
    assert count_parameters(build_empty(HIERA_SIZES[name])) == parameters
    assert multiply_adds(HIERA_SIZES[name]) == pytest.approx(billions * 1e9, rel=0.001)


@pytest.mark.parametrize(
    "fields",
    [
        {"input_size": (225, 225)},
        {"input_size": (112, 112)},
        {"input_size": (8, 224)},
        {"unit_size": (16, 16)},
        {"input_size": (16, 230, 230), "patch_size": (2, 4, 4), "patch_kernel": (3, 7, 7), "unit_size": (1, 8, 8),
         "query_stride": (1, 2, 2)},
    ],
)  # fmt: skip
def test_a_wrong_input_size_is_refused_with_sizes_that_work(fields: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="such as") as refusal:
        HieraConfig(**fields)
    advice = str(refusal.value).partition("such as")[2].partition("; got")[0]
    sizes = [tuple(int(side) for side in found.split(",")) for found in re.findall(r"\(([^)]*)\)", advice)]
    assert len(sizes) == 2
    for size in sizes:
        assert HieraConfig(**{**fields, "input_size": size}).input_size == size


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"dims": (96, 192)}, "one entry per level"),
        ({"unit_attention": (True,)}, "one entry per level"),
        ({"input_size": (128,), "patch_size": (4,), "patch_kernel": (7,), "unit_size": (8,)}, "images .* or clips"),
        ({"depths": ()}, "one entry per level"),
        ({"input_size": (16, 224, 224)}, "one entry per axis"),
        ({"query_stride": (2,)}, "one entry per axis"),
        ({"heads": (5, 6, 12, 24)}, "divisible by heads"),
        ({"depths": (2, 0, 8, 1)}, "1 or more"),
        ({"query_stride": (0, 2)}, "1 or more"),
        ({"query_pools": 4}, "from 0 to 3"),
        ({"unit_size": (4, 8)}, r"multiple of \(8, 8\)"),
        ({"patch_kernel": (4, 4)}, "odd"),
        ({"drop_path": 1.0}, "below 1"),
        ({"head_dropout": -0.1}, "head_dropout must be at least 0"),
        ({"positions": "window"}, "needs a position_grid"),
        ({"positions": "absolute"}, "one of learned, window"),
        ({"position_grid": (7, 7)}, "belong to positions='window'"),
        ({"position_antialias": True}, "belong to positions='window'"),
        ({"expansion": "mean_max", "dims": (96, 96, 192, 384)}, "doubles the width"),
    ],
)
def test_impossible_numbers_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        HieraConfig(**fields)
