"""Impossible settings of masked autoencoders are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hvit.errors import UserError
from hvit.models.catalogue import entry
from hvit.models.hiera.config import HIERA_SIZES
from hvit.models.masked.config import MaskedConfig
from hvit.models.mvit.config import MVIT_SIZES
from hvit.models.nest.config import NestConfig

IMAGE = replace(
    HIERA_SIZES["hiera_tiny_224"], input_size=(64, 96), dims=(8, 16, 32, 64), depths=(1, 1, 2, 1), query_pools=2,
    num_classes=5, drop_path=0.0,
)  # fmt: skip
NEST = NestConfig(
    input_size=(32, 32), patch_size=(2, 2), num_classes=3, dims=(8, 16, 32), heads=(1, 2, 4), depths=(1, 1, 1)
)  # fmt: skip


@pytest.mark.parametrize(
    ("encoder", "fields", "words"),
    [
        (MVIT_SIZES["mvitv2_micro_32"], {}, "cannot simply be deleted .* no neighbours"),
        (entry("nest_tiny_224").config, {"mask_pattern": "nested"}, "multiples of 64"),
        (NEST, {"mask_ratio": 0.5}, "must be 'nested'"),
        (NEST, {"mask_pattern": "nested", "mask_ratio": 0.6}, "0.25, 0.5 or 0.75"),
        (IMAGE, {"mask_ratio": 1.0}, "mask_ratio"),
        (IMAGE, {"mask_ratio": 0.99}, "some"),
        (IMAGE, {"mask_pattern": "tube"}, "for clips"),
        (IMAGE, {"mask_unit": (8, 8)}, "encoder's own"),
        (IMAGE, {"decoder_depth": 0}, "decoder_depth must be 1"),
        (IMAGE, {"decoder_dim": 20}, "divisible by decoder_heads"),
        (IMAGE, {"encoding": "delete"}, "encoding"),
        (IMAGE, {"encoding": "dense", "mask_unit": (3, 3)}, "must be a multiple"),
    ],
)
def test_impossible_settings_are_refused(encoder: Any, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        MaskedConfig(encoder, **fields)
