"""Impossible settings of masked autoencoders are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hvit.errors import UserError
from hvit.models.baselines import VitConfig
from hvit.models.catalogue import entry
from hvit.models.hiera.config import HIERA_SIZES
from hvit.models.masked.config import MASKED_SIZES, MaskedConfig
from hvit.models.masked.targets import target_width
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
        (VitConfig(distillation_token=True), {}, "without a distillation token"),
    ],
)
def test_impossible_settings_are_refused(encoder: Any, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        MaskedConfig(encoder, **fields)


def test_masked_autoencoders_of_vits_have_the_authors_parameters_but_for_the_class_token() -> None:
    """Of mae_vit_{base,large,huge}_patch{16,14}: without the class token and its positions in encoder and decoder."""
    for size, whole, dim in (("base", 111_907_840, 768), ("large", 329_541_888, 1024), ("huge", 657_074_508, 1280)):
        row = entry(f"mae_vit_{size}_224")
        assert row.parameters == whole - dim - dim - 512
    for size, timms, dim in (("base", 86_567_656, 768), ("large", 304_326_632, 1024), ("huge", 632_045_800, 1280)):
        assert entry(f"vit_{size}_224").parameters == timms - 2 * dim


def test_maskfeat_predicts_patches_of_16_pixels_from_cubes_and_has_the_printed_sizes() -> None:
    """PT and FT files of SlowFast, configs/masked_ssl; its project page prints 71 G x 36 M and 377 G x 218 M."""
    for size, printed in (("small", (71, 36)), ("large", (377, 218))):
        masked = MASKED_SIZES[f"maskfeat_mvitv2_{size}_mean_16x224"]
        assert (masked.patch, masked.patch_grid) == ((2, 16, 16), (8, 14, 14))
        assert masked.unit_grid == (8, 7, 7)
        assert (masked.target, masked.mask_ratio, masked.decoder_depth) == ("hog", 0.4, 0)
        assert target_width("hog", masked.patch, 3) == 108
        classifier = entry(f"mvitv2_{size}_mean_16x224")
        counts = (classifier.multiply_adds / 1e9, classifier.parameters / 1e6)
        assert counts == pytest.approx(printed, rel=0.014)
        encoder = replace(masked.encoder, query_pools=None, drop_path=classifier.config.drop_path)  # pyright: ignore
        assert encoder == classifier.config
    for size in ("base", "large"):
        masked = MASKED_SIZES[f"maskfeat_vit_{size}_224"]
        assert (masked.patch, masked.unit_grid, masked.mask_ratio) == ((16, 16), (14, 14), 0.4)
