"""Hiera has the published sizes, its units are kept apart as they should be, and its choices do what they say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hvit.errors import UserError
from hvit.models.build import build, build_empty, count_parameters
from hvit.models.hiera.config import HIERA_SIZES
from hvit.models.hiera.model import Hiera, HieraConfig, UnitAttention
from hvit.models.layers.masking import Mask

SMALL = HieraConfig(
    input_size=(64, 96), num_classes=5, dims=(8, 16, 32, 64), heads=(1, 2, 4, 8), depths=(1, 2, 2, 1)
)  # fmt: skip
CLIP = replace(
    SMALL, input_size=(4, 64, 96), patch_size=(2, 4, 4), patch_kernel=(3, 7, 7), unit_size=(1, 8, 8),
    query_stride=(1, 2, 2),
)  # fmt: skip
WINDOW = replace(SMALL, positions="window", position_grid=(3, 5))
CHOICES: dict[str, HieraConfig] = {
    "image": SMALL,
    "clip": CLIP,
    "window": WINDOW,
    "antialias": replace(WINDOW, position_antialias=True),
    "mean_max": replace(SMALL, expansion="mean_max"),
    "layer_scale": replace(SMALL, layer_scale=True),
    "two_pools": replace(SMALL, query_pools=2),
    "two_pools_clip": replace(CLIP, query_pools=2),
    "no_pools": replace(SMALL, query_pools=0, unit_size=(4, 2)),
    "wide_units": replace(SMALL, unit_size=(16, 24), query_pools=3),
    "equal_widths": replace(SMALL, dims=(16,) * 4, heads=(2,) * 4),
    "all_global": replace(SMALL, unit_attention=(False,) * 4),
    "all_inside": replace(SMALL, unit_attention=(True,) * 4),
}


def shaken(config: HieraConfig, seed: int = 0) -> Hiera:
    """A model with every weight, bias, norm and embedding away from its start."""
    torch.manual_seed(seed)
    model = Hiera(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.2)
    return model.eval()


def some_images(config: HieraConfig, count: int = 2) -> Tensor:
    return torch.randn(count, config.in_channels, *config.input_size, generator=torch.Generator().manual_seed(1))


def some_units(config: HieraConfig, count: int, samples: int = 2) -> Tensor:
    """So many visible units, others in each sample."""
    draws = torch.rand(samples, config.units, generator=torch.Generator().manual_seed(2))
    return (draws.argsort(1) < count).reshape(samples, *config.unit_grid)


@pytest.mark.parametrize("name", [name for name in HIERA_SIZES if "micro" in name])
def test_micro_models_are_micro_and_have_units_to_mask(name: str) -> None:
    config = HIERA_SIZES[name]
    assert count_parameters(build_empty(config)) < 500_000
    assert config.units >= 16
    model = build(config)
    grids = model.levels(some_images(config, 1))
    assert [grid.shape[-1] for grid in grids] == [32, 64, 128]
    assert model.classify(grids[-1]).shape == (1, 10)


@pytest.mark.parametrize("config", CHOICES.values(), ids=CHOICES)
def test_every_choice_gives_spatial_levels_on_the_path_to_the_logits_and_trains(config: HieraConfig) -> None:
    model, images = shaken(config), some_images(config)
    grids = model.levels(images)
    for level, grid in enumerate(grids):
        shrunk = min(level, config.query_pools)
        sides = [side // stride**shrunk for side, stride in zip(config.token_grid, config.query_stride, strict=True)]
        assert grid.shape == (2, *sides, config.dims[level])
        assert tuple(grid.shape[1:-1]) == tuple(
            count * side for count, side in zip(config.unit_grid, config.unit_side(level), strict=True)
        )
    logits = model.classify(grids[-1])
    torch.testing.assert_close(model(images), logits)
    assert all(float(one.abs().max()) > 0 for one in torch.autograd.grad(logits.square().sum(), grids))
    model(images).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("config", CHOICES.values(), ids=CHOICES)
def test_all_units_visible_is_the_dense_model(config: HieraConfig) -> None:
    model, images = shaken(config), some_images(config)
    with torch.no_grad():
        dense = model.levels(images)
        sparse = model.levels(images, Mask(torch.ones(2, *config.unit_grid, dtype=torch.bool)))
    for level, (grid, units) in enumerate(zip(dense, sparse, strict=True)):
        side = config.unit_side(level)
        assert units.shape == (2, config.units, *side, config.dims[level])
        for number, place in enumerate(np.ndindex(*config.unit_grid)):
            cut = tuple(slice(at * one, (at + 1) * one) for at, one in zip(place, side, strict=True))
            assert torch.equal(units[:, number], grid[(slice(None), *cut)])


@pytest.mark.parametrize("name", ["image", "clip", "window", "two_pools", "mean_max"])
def test_masked_units_are_not_seen(name: str) -> None:
    config = CHOICES[name]
    model, images, visible = shaken(config), some_images(config), some_units(config, 2)
    mask = visible[:, None].float()
    pixels = F.interpolate(mask, size=config.input_size, mode="nearest")
    with torch.no_grad():
        expected = model.levels(images, Mask(visible))
        for grid, other in zip(expected, model.levels(images * pixels + 7 * (1 - pixels), Mask(visible)), strict=True):
            assert torch.equal(grid, other)
    assert [tuple(grid.shape[:2]) for grid in expected] == [(2, 2)] * 4
    gradient = images.clone().requires_grad_()
    model.levels(gradient, Mask(visible))[-1].square().sum().backward()
    assert gradient.grad is not None
    assert float(gradient.grad[pixels.expand_as(images) == 0].abs().max()) == 0
    assert float(gradient.grad[pixels.expand_as(images) == 1].abs().min()) > 0


def reach(model: Hiera, level: int) -> tuple[Tensor, Tensor]:
    """Gradients of the first unit's tokens of a level with respect to the pixels, inside and outside its window."""
    images = some_images(model.config, 1).requires_grad_()
    grid = model.levels(images)[level]
    rows, columns = model.config.unit_side(level)
    tokens = grid[:, :rows, :columns]
    draws = torch.randn(tokens.shape, generator=torch.Generator().manual_seed(3))
    (gradient,) = torch.autograd.grad((tokens * draws).sum(), images)
    # The 7-pixel kernel of the stem looks 3 pixels to the left and 2 to the right of a token's own 4.
    return gradient[..., :34, :34].clone(), torch.cat([gradient[..., 34:, :].flatten(), gradient[..., 34:].flatten()])


@pytest.mark.parametrize("config", [SMALL, CHOICES["mean_max"], WINDOW])
def test_only_the_stem_crosses_units_until_attention_is_global(config: HieraConfig) -> None:
    model = shaken(config)
    for level in (0, 1):
        inside, outside = reach(model, level)
        assert float(inside.abs().max()) > 0
        assert float(outside.abs().max()) == 0
    assert float(reach(model, 2)[1].abs().max()) > 0


def test_no_pooling_crosses_a_unit() -> None:
    model = shaken(replace(SMALL, unit_attention=(True,) * 4))
    for level in range(4):
        inside, outside = reach(model, level)
        assert float(inside.abs().max()) > 0
        assert float(outside.abs().max()) == 0


def test_levels_one_and_two_of_a_visible_unit_are_its_own_and_level_three_is_not() -> None:
    config = replace(SMALL, input_size=(96, 96))
    model, images = shaken(config), some_images(config, 1)
    visible = torch.zeros(1, 3, 3, dtype=torch.bool)
    visible[0, 0, 0] = visible[0, 2, 2] = True
    other = images.clone()
    other[..., 64:, 64:] += 1.0
    with torch.no_grad():
        before, after = model.levels(images, Mask(visible)), model.levels(other, Mask(visible))
    for level in (0, 1):
        assert torch.equal(before[level][:, 0], after[level][:, 0])
        assert not torch.equal(before[level][:, 1], after[level][:, 1])
    assert not torch.equal(before[2][:, 0], after[2][:, 0])


def test_a_levels_first_layer_attends_as_the_level_before() -> None:
    blocks: Any = build_empty(HIERA_SIZES["hiera_base_224"]).blocks
    assert [block.attention.inside_units for block in blocks] == [True] * 6 + [False] * 18
    assert [number for number, block in enumerate(blocks) if block.window == 4] == [2, 5, 21]


def test_leaving_out_the_last_pooling_leaves_the_weights_alone() -> None:
    config = HIERA_SIZES["hiera_tiny_224"]
    with torch.device("meta"):
        fewer, all_pools = Hiera(replace(config, query_pools=2)), Hiera(config)
    shapes = [{name: one.shape for name, one in model.state_dict().items()} for model in (fewer, all_pools)]
    assert shapes[0] == shapes[1]
    assert (fewer.config.unit_side(3), all_pools.config.unit_side(3)) == ((2, 2), (1, 1))
    assert (config.unit_grid, config.units) == ((7, 7), 49)
    assert HIERA_SIZES["hiera_base_16x224"].unit_grid == (8, 7, 7)


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("window", [1, 4])
def test_attention_is_the_naive_formula(window: int, inside: bool) -> None:
    torch.manual_seed(0)
    attention = UnitAttention(6, 12, 3, window, inside).double()
    units = torch.randn(2, 5, 8, 6, dtype=torch.float64)
    queries, keys, values = attention.qkv(units).split(12, dim=-1)
    queries = torch.stack([queries[:, :, i :: 8 // window] for i in range(8 // window)], 2).amax(3)
    if not inside:
        queries, keys, values = (part.flatten(1, 2)[:, None] for part in (queries, keys, values))
    heads = [
        torch.softmax(query @ key.transpose(-1, -2) / 2, dim=-1) @ value
        for query, key, value in zip(queries.split(4, -1), keys.split(4, -1), values.split(4, -1), strict=True)
    ]
    expected = attention.proj(torch.cat(heads, dim=-1)).reshape(2, 5, 8 // window, 12)
    torch.testing.assert_close(attention(units), expected)


def test_new_weights_are_drawn_as_published() -> None:
    torch.manual_seed(0)
    model = Hiera(replace(HIERA_SIZES["hiera_tiny_224"], depths=(1, 1, 1, 1), layer_scale=True))
    for name, one in model.state_dict().items():
        one = one / 0.001 if name.startswith("head.") else one
        if "scale" in name:
            assert torch.equal(one, torch.full_like(one, 1e-5)), name
        elif one.ndim > 1:
            assert float(one.std()) == pytest.approx(0.0176, rel=0.05), name
            assert 0.035 < float(one.abs().max()) <= 0.0401, name
        elif name.endswith("bias") and name != "patch_embed.bias":
            torch.testing.assert_close(one, torch.full_like(one, 0.02))
        elif name.endswith("weight"):
            assert torch.equal(one, torch.ones_like(one)), name


def test_xavier_weights_are_those_of_the_published_autoencoders() -> None:
    torch.manual_seed(0)
    model = Hiera(replace(HIERA_SIZES["hiera_tiny_224"], depths=(1, 1, 1, 1), initialisation="xavier"))
    assert float(model.positions.detach().std()) == pytest.approx(0.0176, rel=0.05)
    for name, one in model.state_dict().items():
        if one.ndim > 1 and "positions" not in name and not name.startswith("head"):
            limit = (6 / (one.shape[0] + one[0].numel())) ** 0.5
            assert 0.99 * limit < float(one.abs().max()) <= limit, name
        elif name.endswith("bias") and name != "patch_embed.bias":
            assert not one.any(), name


def test_stochastic_depth_grows_from_the_first_layer_to_the_last() -> None:
    blocks: Any = build_empty(HIERA_SIZES["hiera_tiny_224"]).blocks
    assert [block.drop_path.rate for block in blocks] == pytest.approx(np.linspace(0, 0.1, 12).tolist())


def test_the_head_drops_features_in_training_only() -> None:
    model, grid = shaken(replace(SMALL, head_dropout=0.5)), torch.randn(1, 2, 3, 64)
    assert torch.equal(model.classify(grid), model.classify(grid))
    model.train()
    assert not torch.equal(model.classify(grid), model.classify(grid))


@pytest.mark.parametrize("config", [CLIP, WINDOW])
def test_depth_grows_from_the_stem_to_the_head(config: HieraConfig) -> None:
    model = Hiera(config)
    depths = {name: model.level_of(name) for name, _ in model.named_parameters()}
    assert {name.split(".")[0] for name, depth in depths.items() if depth == 0} == {
        "patch_embed", "positions", "window_positions" if config is WINDOW else "temporal_positions"
    }  # fmt: skip
    assert set(depths.values()) == set(range(sum(config.depths) + 2))
    assert depths["blocks.0.norm1.weight"] == 1
    assert depths["norm.weight"] == depths["head.bias"] == 7


def test_resizing_keeps_what_repeats_per_unit_in_step() -> None:
    model = Hiera(SMALL)
    draws = torch.Generator().manual_seed(0)
    window = torch.randn(1, 8, 8, 8, generator=draws).repeat(1, 2, 3, 1)
    for side, units in ((32, 4), (8, 1)):
        resized = model.resize_positions("positions", window, (1, side, side, 8), "unit")
        assert resized is not None
        torch.testing.assert_close(resized, window[:, :8, :8].repeat(1, units, units, 1), rtol=0, atol=1e-5)
    plain = model.resize_positions("positions", window, (1, 32, 32, 8), "plane")
    expected = F.interpolate(window.permute(0, 3, 1, 2), (32, 32), mode="bicubic").permute(0, 2, 3, 1)
    torch.testing.assert_close(plain, expected)
    assert model.resize_positions("positions", torch.zeros(1, 14, 14, 8), (1, 16, 24, 8), "unit") is None
    assert model.resize_positions("positions", torch.zeros(1, 16, 24, 9), (1, 16, 24, 8), "unit") is None
    assert model.resize_positions("head.weight", torch.zeros(5, 3), (5, 4), "unit") is None


def test_positions_over_time_are_resized_linearly() -> None:
    times = torch.arange(4.0)[None, :, None].repeat(1, 1, 8)
    resized = Hiera(CLIP).resize_positions("temporal_positions", times, (1, 8, 8), "unit")
    assert resized is not None
    assert resized[0, :, 0].tolist() == [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]


def test_window_positions_serve_other_input_sizes_as_they_are() -> None:
    small, wide = shaken(WINDOW), Hiera(replace(WINDOW, input_size=(128, 160)))
    wide.load_state_dict(small.state_dict())
    assert wide.eval()(some_images(wide.config)).isfinite().all()
    other = small.resize_positions("positions", small.positions, (1, 7, 7, 8), "unit")
    assert other is not None
    expected = F.interpolate(small.positions.permute(0, 3, 1, 2), (7, 7), mode="bicubic").permute(0, 2, 3, 1)
    torch.testing.assert_close(other, expected)
    assert small.resize_positions("window_positions", torch.zeros(1, 4, 4, 8), (1, 8, 8, 8), "unit") is None


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (1, 1, 64, 96), (3, 64, 96), (1, 3, 2, 64, 96)])
def test_images_of_another_size_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"images of .*\(3, 64, 96\); got"):
        Hiera(SMALL)(torch.zeros(shape))


@pytest.mark.parametrize(
    "visible",
    [
        torch.ones(2, 2, 3),
        torch.ones(2, 6, dtype=torch.bool),
        torch.ones(1, 2, 3, dtype=torch.bool),
        torch.zeros(2, 2, 3, dtype=torch.bool),
        torch.tensor([[[True, False, False]] * 2, [[True, True, False]] * 2]),
    ],
)
def test_masks_that_are_none_are_refused(visible: Tensor) -> None:
    with pytest.raises(UserError, match="visible must"):
        Hiera(SMALL).levels(some_images(SMALL), Mask(visible))


def test_views_and_half_precision_give_the_same_answer() -> None:
    model = shaken(SMALL)
    images = torch.randn(2, 64, 96, 3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model(images.permute(0, 3, 1, 2).contiguous())
        torch.testing.assert_close(model(images.permute(0, 3, 1, 2)), expected, rtol=1e-4, atol=1e-4)
        half = model.to(torch.bfloat16)(images.permute(0, 3, 1, 2).to(torch.bfloat16))
    assert half.dtype == torch.bfloat16
    assert float((half.float() - expected).abs().max() / expected.abs().max()) < 0.05


def test_shuffled_frames_change_a_clip_model_and_leave_a_mean_over_frames_alone() -> None:
    config = replace(CLIP, input_size=(8, 64, 96))
    clips = some_images(config, 1)
    shuffled = clips[:, :, [4, 1, 6, 0, 2, 7, 3, 5]]
    model, frames = shaken(config), shaken(SMALL)
    assert (model(clips) - model(shuffled)).abs().max() > 1e-2
    means = [frames(order[0].transpose(0, 1)).mean(0) for order in (clips, shuffled)]
    torch.testing.assert_close(*means, rtol=1e-5, atol=1e-5)
