"""The encoder contract, for every family: levels, what continues from one, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.models.build import build, build_empty
from hvit.models.catalogue import entry
from hvit.models.clip_baselines import ClipBaselineConfig
from hvit.models.layers.encoder import Encoder
from hvit.models.mvit.config import MVIT_SIZES
from hvit.models.timm_encoder import TimmConfig

_NAMES = (
    "nest_micro_32",
    "hiera_micro_32",
    "hiera_micro_16x64",
    "mvitv2_micro_32",
    "mvitv2_micro_16x64",
    "mvitv2_micro_64_step_a",
    "mvitv2_micro_64_step_f",
    "vit_micro_32",
    "resnet_micro_32",
)


def _changed(name: str, **fields: Any) -> Callable[[], Any]:
    return lambda: replace(entry(name).config, **fields)


CONFIGS: dict[str, Callable[[], Any]] = {
    **{name: _changed(name) for name in _NAMES},
    "mvit, mean": _changed("mvit_micro_32", class_token=False),
    "nest, blocks apart": _changed("nest_micro_32", aggregation_plane="block"),
    "nest, parent plane": _changed("nest_micro_32", aggregation_plane="parent"),
    "nest, one level": _changed("nest_micro_32", dims=(16,), heads=(1,), depths=(1,)),
    "hiera, two poolings fewer": _changed("hiera_micro_32", query_pools=0),
    "hiera, windows": _changed("hiera_micro_32", positions="window", position_grid=(3, 3), expansion="mean_max"),
    "mvitv2, odd sides": _changed("mvitv2_micro_32", input_size=(36, 28)),
    "mvitv2, norm after mean": _changed("mvitv2_micro_32", norm_after_mean=True),
    "resnet, large stem": _changed("resnet_micro_32", stem="conv7_pool", input_size=(65, 40)),
}


def _model(config: Any) -> Encoder:
    """A model in evaluation mode whose every parameter is away from its start."""
    torch.manual_seed(0)
    model = build(config)
    for parameter in model.parameters():
        nn.init.normal_(parameter, mean=0.1, std=0.2)
    return model.eval()


def _images(config: Any, seed: int = 0) -> Tensor:
    return torch.randn(2, config.in_channels, *config.input_size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("make", CONFIGS.values(), ids=CONFIGS)
def test_a_level_continues_as_the_whole_model_does_bit_for_bit(make: Callable[[], Any]) -> None:
    config = make()
    model, images = _model(config), _images(config)
    with torch.no_grad():
        levels = model.levels(images)
        for level, feature_map in enumerate(levels):
            assert tuple(feature_map.shape[1:]) == (*model.level_sizes(level), model.level_dims[level])
            above = model.levels_from(level, feature_map)
            assert len(above) == len(levels) - 1 - level
            assert all(torch.equal(*pair) for pair in zip(above, levels[level + 1 :], strict=True))
            # A copy is laid out in memory as it looks: nothing depends on strides of what `levels` returned.
            copied = model.levels_from(level, feature_map.clone(memory_format=torch.contiguous_format))
            for one, other in zip(copied, levels[level + 1 :], strict=True):
                torch.testing.assert_close(one, other, rtol=0, atol=1e-5 * float(other.abs().max()))
        assert torch.equal(model.classify(levels[-1]), model(images))


@pytest.mark.parametrize("make", CONFIGS.values(), ids=CONFIGS)
def test_gradients_flow_from_the_logits_to_a_map_that_was_put_in(make: Callable[[], Any]) -> None:
    config = make()
    model, images = _model(config), _images(config)
    first = model.levels(images)[0].detach().requires_grad_()
    logits = model.classify([first, *model.levels_from(0, first)][-1])
    whole = model.levels(images)
    (expected,) = torch.autograd.grad(model.classify(whole[-1]).square().sum(), whole[0])
    (gradient,) = torch.autograd.grad(logits.square().sum(), first)
    assert float(gradient.abs().max()) > 0
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["nest_micro_32", "hiera_micro_32", "mvitv2_micro_32", "resnet_micro_32"])
def test_maps_of_two_images_can_be_exchanged_in_part(name: str) -> None:
    config = entry(name).config
    model, images, others = _model(config), _images(config), _images(config, seed=1)
    with torch.no_grad():
        ours, theirs = model.levels(images), model.levels(others)
        mixed = ours[0].clone()
        mixed[:, :4] = theirs[0][:, :4]
        logits = model.classify(model.levels_from(0, mixed)[-1])
        swapped = torch.cat([theirs[0][:, :4], ours[0][:, 4:]], 1)
        torch.testing.assert_close(model.classify(model.levels_from(0, swapped)[-1]), logits)
        assert not torch.allclose(logits, model(images))
        assert not torch.allclose(logits, model(others))


def test_what_no_level_can_continue_from_is_refused() -> None:
    config = entry("nest_micro_32").config
    model = _model(config)
    fine, middle, _ = model.levels(_images(config))
    for level in (-1, 3, True, 1.0, "1"):
        with pytest.raises(UserError, match="level must be a whole number from 0 to 2"):
            model.levels_from(level, fine)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match=r"feature map of level 1 of this model is \(batch, 8, 8, 64\); got shape"):
        model.levels_from(1, fine)
    with pytest.raises(UserError, match="got shape"):
        model.levels_from(1, middle[0])
    with pytest.raises(UserError, match="floating-point numbers, as levels returns it; got torch"):
        model.levels_from(1, middle.long())
    with pytest.raises(UserError, match="got list"):
        model.levels_from(1, [[0.0]])  # pyright: ignore[reportArgumentType]


def test_a_class_token_cannot_be_continued_from_a_feature_map() -> None:
    config = replace(MVIT_SIZES["mvitv2_micro_32"], class_token=True)
    model: Any = _model(config)
    images = _images(config)
    levels, token = model.encode(images)
    assert torch.equal(model.classify(levels[-1], token), model(images))
    with pytest.raises(UserError, match="classifies a class token"):
        model.levels_from(0, levels[0])


WRONG: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "float64": (Tensor.double, r"weights of this model are torch.float32, and the images torch.float64: convert them"),
    "float16": (
        Tensor.half,
        r"the images torch.float16: convert them by images.to\(torch.float32\), or call the model",
    ),
    "bfloat16": (Tensor.bfloat16, "the images torch.bfloat16"),
    "bytes": (Tensor.byte, "floating-point numbers, normalised as in training; got torch.uint8"),
    "whole numbers": (Tensor.long, "got torch.int64"),
    "truths": (Tensor.bool, "got torch.bool"),
    "complex": (lambda images: images.to(torch.complex64), "got torch.complex64"),
    "an array": (Tensor.numpy, "got ndarray"),
    "no batch": (lambda images: images[0], r"got shape .*: give one by images.unsqueeze\(0\)"),
    "channels last": (lambda images: images.movedim(1, -1), r"put the channels first by images.movedim\(-1, 1\)"),
    "one channel": (lambda images: images[:, :1], "this model takes batches of (images|clips) of "),
    "four channels": (lambda images: torch.cat([images, images[:, :1]], dim=1), "got shape"),
    "another height": (lambda images: images[..., 1:, :], "got shape"),
    "another width": (lambda images: images[..., :-1], "got shape"),
}


@pytest.mark.parametrize("name", [*_NAMES, "swin_micro_32", "pvtv2_micro_64", "timm", "r2plus1d_18"])
def test_images_of_another_type_or_shape_are_refused_by_every_family(name: str) -> None:
    of_others: dict[str, Any] = {
        "timm": TimmConfig(name="resnet18", input_size=(32, 32), num_classes=2),
        "r2plus1d_18": ClipBaselineConfig(name="r2plus1d_18", input_size=(8, 32, 32), num_classes=3),
    }
    config = of_others.get(name) or entry(name).config
    model: Any = build_empty(config).eval()
    images = torch.zeros(2, config.in_channels, *config.input_size)
    for harm, words in WRONG.values():
        for call in (model, model.levels, model.forward_features):
            with pytest.raises(UserError, match=words):
                call(harm(images))


def test_autocast_brings_images_and_weights_to_one_type() -> None:
    model = _model(entry("nest_micro_32").config)
    images = _images(model.config)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for kind in (torch.float32, torch.bfloat16, torch.float16):
            assert torch.isfinite(model(images.to(kind))).all()
        with pytest.raises(UserError, match="which takes float32 and narrower ones"):
            model(images.double())
        assert torch.isfinite(model.bfloat16()(images)).all()
    with pytest.raises(UserError, match=r"weights of this model are torch.bfloat16, and the images torch.float32"):
        model(images)
    assert model(images.bfloat16()).dtype == torch.bfloat16
    assert model.double()(images.double()).dtype == torch.float64
