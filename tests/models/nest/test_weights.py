"""Weights of timm's and of the official NesT are translated, in both directions where that is possible."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models.nest import Nest as TimmNest

from hvit.errors import UserError
from hvit.models.baselines import VitConfig
from hvit.models.build import build
from hvit.models.create import create_model
from hvit.models.nest.model import Nest
from hvit.models.weights.load import (
    detect,
    load_weights,
    read_checkpoint,
    recognise,
    timm_arguments,
    to_timm,
)
from tests.models.weights.small import SMALL, shaken


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh"])
@pytest.mark.parametrize("padding", ["same", "symmetric"])
def test_timm_and_ours_agree_in_both_directions(padding: Any, activation: Any) -> None:
    config = replace(SMALL, pool_padding=padding, activation=activation)
    ours = shaken(Nest(config), seed=1)
    theirs = TimmNest(**timm_arguments(ours)).eval()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))

    def compare() -> None:
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-5)
        levels = theirs.forward_intermediates(images, norm=True, intermediates_only=True)
        for ours_map, their_map in zip(ours.levels(images), levels, strict=True):
            torch.testing.assert_close(ours_map, their_map.permute(0, 2, 3, 1), rtol=1e-5, atol=1e-5)

    theirs.load_state_dict(to_timm(ours))
    compare()
    shaken(theirs, seed=3)
    report = load_weights(ours, theirs.state_dict())
    assert (report.format, len(report.matched)) == ("timm nest", len(ours.state_dict()))
    compare()


@pytest.mark.parametrize(("name", "padding"), [("nest_tiny_jx", "same"), ("nest_tiny", "symmetric")])
def test_timms_named_models_are_ours(name: str, padding: str) -> None:
    theirs = shaken(timm.create_model(name, num_classes=10), scale=0.05)
    ours = create_model(
        "nest_tiny_224", theirs.state_dict(), num_classes=10, pool_padding=padding, activation="gelu"
    ).eval()
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-5)
    found = recognise(theirs.state_dict())
    assert found == replace(ours.config, pool_padding="same", drop_path=0.0)


@pytest.mark.parametrize(
    "fields", [{"attention": "multi_query"}, {"aggregation": "max3"}, {"aggregation_plane": "block"}]
)
def test_what_timm_cannot_be_is_not_translated(fields: dict[str, Any]) -> None:
    model = Nest(replace(SMALL, **fields))
    for translate in (to_timm, timm_arguments):
        with pytest.raises(UserError, match=f"{next(iter(fields))}="):
            translate(model)
    with pytest.raises(UserError, match="only NesT, MViTv2 and Hiera"):
        to_timm(build(VitConfig(input_size=(32, 32), num_classes=2, dims=(12,), depths=(1,))))


@pytest.mark.parametrize(
    ("model", "depths", "attention", "words"),
    [
        (
            "imagenet_like",
            (1, 1, 2),
            "multi_head",
            r"made with heads \(3, 6, 12\), but this model has heads \(6, 12, 24\)",
        ),
        (
            "cifar_like",
            (1, 1, 1, 1),
            "multi_query",
            r"qkv\.weight is \(40, 24\) in the file and \(32, 24\) in the model",
        ),
    ],
)
def test_official_checkpoints_show_their_model(
    fixtures: Path, model: str, depths: tuple[int, ...], attention: str, words: str
) -> None:
    state, metadata = read_checkpoint(fixtures / "nest_flax_fixture" / model / "ckpt-1.flax")
    assert (detect(state), metadata) == ("official NesT (Flax)", {})
    config = recognise(state)
    assert config is not None
    assert config.depths == depths
    assert config.attention == attention
    wrong = tuple(2 * heads for heads in config.heads)
    with pytest.raises(UserError, match=words):
        load_weights(Nest(replace(config, heads=wrong)), state)
    report = load_weights(Nest(replace(config, pool_padding="symmetric")), state)
    assert "pool_padding" in str(report)
