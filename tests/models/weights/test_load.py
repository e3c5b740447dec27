"""Third-party checkpoints give the numbers of their own code, and misfits are refused before anything changes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.models.create import create_model
from hvit.models.layers.grids import resize_blocks
from hvit.models.nest.config import NestConfig
from hvit.models.nest.model import Nest
from hvit.models.weights.load import (
    detect,
    load_weights,
    recognise,
    to_timm,
)
from tests.models.weights.small import MICRO, SMALL, shaken


@pytest.mark.parametrize("how", ["plane", "block"])
def test_224_becomes_384_by_resizing_positions(how: Any) -> None:
    small = NestConfig(dims=(4, 8, 16), heads=(1, 2, 4), depths=(1, 1, 1), num_classes=3)
    source, target = shaken(Nest(small)), Nest(replace(small, input_size=(384, 384)))
    report = load_weights(target, source.state_dict(), position_resize=how)
    assert list(report.resized) == [f"hierarchies.{level}.positions" for level in range(3)]
    assert report.resized["hierarchies.0.positions"] == ((1, 16, 196, 4), (1, 16, 576, 4))
    for name in report.resized:
        expected = resize_blocks(source.state_dict()[name], 24, how)
        assert torch.equal(target.state_dict()[name], expected)
    assert target(torch.randn(1, 3, 384, 384)).isfinite().all()


def test_a_head_for_other_classes_stays_fresh_and_a_missing_one_is_named() -> None:
    source, target = shaken(Nest(SMALL)), Nest(replace(SMALL, num_classes=7))
    before = target.head.weight.clone()
    report = load_weights(target, source.state_dict())
    assert (report.reinitialised, report.missing) == (("head.weight", "head.bias"), ())
    assert torch.equal(target.head.weight, before)
    assert torch.equal(target.norm.weight, source.norm.weight)
    headless = {name: tensor for name, tensor in source.state_dict().items() if not name.startswith("head")}
    report = load_weights(Nest(SMALL), headless | {"n_averaged": torch.tensor(3)})
    assert (report.missing, report.dropped) == (("head.weight", "head.bias"), ("n_averaged",))
    assert 2 <= len(str(report).splitlines()) <= 6


def test_colour_weights_see_grey_images_as_equal_colours_and_back() -> None:
    colour, grey = shaken(Nest(SMALL)), Nest(replace(SMALL, in_channels=1))
    assert "patch_embed.weight" in load_weights(grey, colour.state_dict()).resized
    images = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(grey(images), colour(images.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-4)
    back = Nest(SMALL)
    load_weights(back, grey.state_dict())
    torch.testing.assert_close(back(images.expand(-1, 3, -1, -1)), grey(images), rtol=1e-4, atol=1e-4)
    many = Nest(replace(SMALL, in_channels=6))
    assert "patch_embed.weight" in load_weights(many, colour.state_dict()).resized
    twice = images.expand(-1, 3, -1, -1) * torch.tensor([1.0, 0.5, 2.0])[:, None, None]
    torch.testing.assert_close(many(twice.repeat(1, 2, 1, 1)), colour(twice), rtol=1e-4, atol=1e-4)


def shapes_of(name: str) -> dict[str, Tensor]:
    """A state dict without memory."""
    with torch.device("meta"):
        return create_model(name).state_dict()


def without(name: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """Takes one tensor out of a state dict."""
    return lambda state: {key: tensor for key, tensor in state.items() if key != name}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (without("norm.bias"), r"norm\.bias is not in the file and \(48,\) in the model"),
        (without("hierarchies.1.layers.0.attention.qkv.weight"), r"qkv\.weight is not in the file"),
        (lambda state: Nest(replace(SMALL, depths=(1, 3, 1))).state_dict(), r"layers\.2\.\S+ is .* not in the model"),
        (lambda state: Nest(replace(SMALL, dims=(24, 48, 96))).state_dict(), r"patch_embed\.weight is \(24, 3, 2, 2\)"),
        (lambda state: {key: tensor.to(torch.int8) for key, tensor in state.items()}, r"torch\.int8 in the file"),
        (lambda state: {"model": {"network.pos_embed": torch.zeros(1)}}, "not in the file"),
        (lambda state: shapes_of("nest_tiny_224"), "looks like nest_tiny_224 at input 224"),
        (lambda state: {"conv1.weight": torch.zeros(1), "fc.bias": torch.zeros(1)}, r"first names are conv1\.weight"),
        (lambda state: {}, "holds no weights"),
    ],
)
def test_a_misfit_is_named_and_leaves_the_model_alone(spoil: Any, words: str) -> None:
    model = shaken(Nest(SMALL))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(UserError, match=words):
        load_weights(model, spoil(Nest(SMALL).state_dict()))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_formats_are_recognised() -> None:
    model: nn.Module = Nest(MICRO)
    assert detect(model.state_dict()) == "hvit"
    assert recognise(model.state_dict()) is None
    assert detect(to_timm(Nest(MICRO))) == "timm nest"
    with pytest.raises(UserError, match=r"known format .*hvit.*timm nest, official NesT"):
        detect({"layer1.0.conv1.weight": torch.zeros(1)})


@pytest.mark.parametrize(
    "name", ["nest_micro_32", "mvit_micro_32", "mvitv2_micro_32", "hiera_micro_32", "vit_micro_32"]
)
def test_positions_of_nothing_are_not_resized(name: str) -> None:
    model: Any = create_model(name)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    positions = [key for key in before if "pos" in key]
    assert positions
    for key in positions:
        empty = {**before, key: before[key][:, :0] if before[key].ndim > 2 else before[key][:0]}
        with pytest.raises(UserError, match=rf"{re.escape(key)} is \(.*\) in the file"):
            load_weights(model, empty)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
