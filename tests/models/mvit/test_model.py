"""MViT and MViTv2 are the published ones, and every choice does what its name says."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hvit
from hvit.errors import UserError
from hvit.models.build import build
from hvit.models.layers.grids import grid_to_units, pool_grids, relative_lookup, units_to_grid
from hvit.models.layers.masking import Mask, visible_units
from hvit.models.mvit.config import MVIT_SIZES, MvitConfig, plan_blocks
from hvit.models.mvit.model import Mvit
from hvit.models.mvit.simplification import SIMPLIFIED
from tests.models.mvit.small import SMALL

CLIP = replace(
    SMALL, input_size=(4, 16, 24), patch_size=(2, 2, 2), patch_kernel=(3, 3, 3), query_stride=(1, 2, 2),
    key_stride=(1, 4, 4),
)  # fmt: skip
CHOICES: list[dict[str, Any]] = [
    {"pool": "max"},
    {"pool": "average"},
    {"pool": "max", "max_padding": "zero"},
    {"pool_kernel": "stride_plus_one"},
    {"pool_kernel": "stride"},
    {"query_pooling": "strided"},
    {"key_pooling": "strided"},
    {"positions": "absolute"},
    {"query_residual": False},
    {"expansion": "mlp"},
    {"class_token": True},
    {"class_token": True, "class_token_residual": True},
    {"class_token": True, "positions": "absolute"},
    {"norm_after_mean": True},
]


def shaken(config: MvitConfig, seed: int = 0, scale: float = 0.2) -> Mvit:
    """A model with every bias, norm and embedding away from its trivial start."""
    torch.manual_seed(seed)
    model = Mvit(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * scale)
    return model.eval()


def some_images(config: MvitConfig, count: int = 2) -> Tensor:
    return torch.randn(count, config.in_channels, *config.input_size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("start", [SMALL, CLIP], ids=["image", "clip"])
@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_every_choice_changes_the_model_and_trains(choice: dict[str, Any], start: MvitConfig) -> None:
    config = replace(start, **choice)
    model = shaken(config)
    images = some_images(config)
    grids, class_token = model.encode(images)
    assert [tuple(grid.shape[1:]) for grid in grids] == [
        (*side, dim) for side, dim in zip(sides_of(config), model.level_dims, strict=True)
    ]
    logits = model(images)
    torch.testing.assert_close(model.classify(grids[-1], class_token), logits)
    on_the_path = grids[:-1] if config.class_token else grids
    gradients = torch.autograd.grad(model.classify(grids[-1], class_token).sum(), on_the_path)
    assert all(gradient.any() for gradient in gradients)
    logits.square().sum().backward()
    # The class token alone is classified, so that the last block's other queries lead nowhere.
    idle = ("blocks.3.attention.relative", "blocks.3.attention.pool_q") if config.class_token else ("none",)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any() or name.startswith(idle), name
    usual = shaken(start)
    assert logits.shape == (2, 5)
    assert not torch.allclose(usual(images), logits, atol=1e-3)


def sides_of(config: MvitConfig) -> list[tuple[int, ...]]:
    grid, sides = config.token_grid, []
    for level in range(len(config.depths)):
        if level:
            grid = tuple(-(-side // stride) for side, stride in zip(grid, config.query_stride, strict=True))
        sides.append(grid)
    return sides


@pytest.mark.parametrize("config", [SMALL, CLIP, replace(SMALL, input_size=(30, 46))], ids=["image", "clip", "odd"])
def test_relative_attention_is_the_equation_with_a_table_of_all_pairs(config: MvitConfig) -> None:
    config = replace(config, class_token=True)
    model = shaken(config)
    for block in model.blocks:
        attention, plan = block.attention, block.plan
        tokens = torch.randn(2, 1 + prod(plan.grid), plan.dim)
        scores: dict[str, Tensor] = {}
        q, k, v = heads_of(attention, tokens)
        extra_q = attention.pool_queries(attention.qkv(tokens)[..., : plan.dim_attention], 1)[1]
        extra_k = attention.pool_keys_values(attention.qkv(tokens)[..., plan.dim_attention :], 1)[1]
        scores["content"] = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        bias = torch.zeros_like(scores["content"])
        for axis, name in enumerate(("time", "row", "column")[-len(plan.grid) :]):
            table = getattr(attention, f"relative_{name}_positions")
            lookup = relative_lookup(table, extra_q[axis], extra_k[axis])
            for i, place in enumerate(torch.cartesian_prod(*(torch.arange(side) for side in extra_q))):
                for j, other in enumerate(torch.cartesian_prod(*(torch.arange(side) for side in extra_k))):
                    bias[:, :, i + 1, j + 1] += q[:, :, i + 1] @ lookup[place[axis], other[axis]]
        mixed = (scores["content"] + bias).softmax(-1) @ v
        mixed[:, :, 1:] += q[:, :, 1:]
        expected = attention.proj(mixed.transpose(1, 2).flatten(2))
        torch.testing.assert_close(attention(tokens, 1)[0], expected, rtol=1e-5, atol=1e-5)


def heads_of(attention: Any, tokens: Tensor) -> list[Tensor]:
    plan = attention.plan
    qkv = attention.qkv(tokens)
    queries = attention.pool_queries(qkv[..., : plan.dim_attention], 1)[0]
    keys = attention.pool_keys_values(qkv[..., plan.dim_attention :], 1)[0]
    return [part.transpose(1, 2) for part in (*queries.unbind(2), *keys.unbind(2))]


def test_many_keys_take_the_fused_kernel_and_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = shaken(replace(CLIP, class_token=True))
    images = some_images(CLIP)
    explicit = model(images)
    monkeypatch.setattr("hvit.models.mvit.relative._FUSED_KEYS", 0)
    torch.testing.assert_close(model(images), explicit, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["mvit_micro_32", "mvitv2_micro_32", "mvitv2_micro_16x64", "mvitv2_micro_64_step_a"])
def test_pooling_by_calls_of_the_layers_is_the_pooling_of_all_heads_at_once(name: str) -> None:
    torch.manual_seed(0)
    model = Mvit({**MVIT_SIZES, **SIMPLIFIED}[name]).eval()
    images = torch.randn(2, 3, *model.config.input_size)
    with torch.no_grad():
        expected = model(images)
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                module.register_forward_hook(lambda *_: None)
        torch.testing.assert_close(model(images), expected, rtol=1e-5, atol=1e-5)


def test_a_pool_that_was_exchanged_for_another_convolution_is_used_as_it_is() -> None:
    model = Mvit(MVIT_SIZES["mvitv2_micro_32"]).eval()
    attention: Any = model.blocks[0].get_submodule("attention")
    images = torch.randn(1, 3, 32, 32)
    plain = model(images)
    old = attention.pool_q
    usual: dict[str, Any] = {"kernel_size": 3, "padding": 1, "groups": 32, "bias": False}
    changed: tuple[dict[str, Any], ...] = ({"bias": True}, {"dilation": 2, "padding": 2}, {"padding_mode": "circular"})
    for changes in changed:
        other = nn.Conv2d(32, 32, **usual | changes)
        other.weight = old.weight
        attention.pool_q = other
        assert not torch.allclose(model(images), plain, atol=1e-6)
    attention.pool_q = old
    assert torch.equal(model(images), plain)


def test_relative_positions_are_looked_up_by_distance() -> None:
    table = torch.arange(7.0)[:, None]
    assert relative_lookup(table, 4, 4)[..., 0].tolist() == [
        [3, 2, 1, 0],
        [4, 3, 2, 1],
        [5, 4, 3, 2],
        [6, 5, 4, 3],
    ]
    # Two keys lie spread over four queries: steps of two between keys.
    assert relative_lookup(table, 4, 2)[..., 0].tolist() == [[2, 0], [3, 1], [4, 2], [5, 3]]


def test_keys_are_twice_as_fine_where_the_queries_are_pooled() -> None:
    plans = plan_blocks(MVIT_SIZES["mvitv2_tiny_224"])
    keys = [prod(-(-side // stride) for side, stride in zip(p.grid, p.key_pooling.stride, strict=True)) for p in plans]
    assert keys[:4] == [14 * 14, 28 * 28, 14 * 14, 28 * 28]
    assert keys[-2:] == [14 * 14, 7 * 7]


def test_max_padding_with_zeros_is_never_below_zero_at_the_border() -> None:
    grids = -torch.ones(1, 4, 4, 1)
    nothing = pool_grids(grids, (3, 3), (2, 2), (1, 1), "max")
    zeros = pool_grids(grids, (3, 3), (2, 2), (1, 1), "max_zero")
    assert nothing[0, :, :, 0].tolist() == [[-1, -1], [-1, -1]]
    assert zeros[0, :, :, 0].tolist() == [[0, 0], [0, -1]]


@pytest.mark.parametrize("kernel", [(3, 3, 3), (1, 3, 3)])
@pytest.mark.parametrize("frames", [1, 2, 5])
def test_frame_by_frame_convolution_is_the_convolution_of_the_clip(kernel: Any, frames: int) -> None:
    grids = torch.randn(2, frames, 6, 8, 4)
    weight = torch.randn(4, 1, *kernel)
    padding = tuple(side // 2 for side in kernel)
    whole = pool_grids(grids, kernel, (1, 2, 2), padding, "conv", weight)
    by_frames = pool_grids(grids.requires_grad_(), kernel, (1, 2, 2), padding, "conv", weight)
    torch.testing.assert_close(by_frames, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(8, 12), (2, 8, 12)])
def test_units_are_cut_and_glued_without_loss(shape: tuple[int, ...]) -> None:
    unit = (4, 4) if len(shape) == 2 else (1, 4, 4)
    grid = torch.arange(prod(shape)).view(1, *shape, 1)
    units = grid_to_units(grid, unit)
    assert torch.equal(units[0, 1], grid[(0, *(slice(None, 1),) * (len(shape) - 2), slice(0, 4), slice(4, 8))])
    unit_grid = tuple(side // step for side, step in zip(shape, unit, strict=True))
    assert torch.equal(units_to_grid(units, unit_grid), grid)
    visible = torch.zeros(1, *unit_grid, dtype=torch.bool)
    visible.view(-1)[[0, 2]] = True
    assert torch.equal(visible_units(units, visible), units[:, [0, 2]])


def test_shuffled_frames_change_a_clip_model_and_leave_a_mean_over_frames_alone() -> None:
    clip = some_images(CLIP, 1)
    shuffled = clip[:, :, [2, 0, 3, 1]]
    for config in (CLIP, replace(CLIP, positions="absolute")):
        model = shaken(config)
        assert (model(clip) - model(shuffled)).abs().max() > 1e-2
    frames = shaken(replace(SMALL, input_size=(16, 24)))
    mean = [frames(order[0].transpose(0, 1)).mean(0) for order in (clip, shuffled)]
    torch.testing.assert_close(*mean)


def test_a_class_token_is_needed_to_classify() -> None:
    model = shaken(replace(SMALL, class_token=True))
    with pytest.raises(UserError, match="encode"):
        model.classify(model.levels(some_images(SMALL))[-1])


def test_there_is_no_sparse_encoding_where_pooling_crosses_units() -> None:
    with pytest.raises(UserError, match="has no sparse encoding"):
        shaken(SMALL).levels(some_images(SMALL), Mask(torch.ones(2, 1, 1, dtype=torch.bool)))


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (4, 4), (7, 7), (1, 64), (33, 5)])
@pytest.mark.parametrize("name", ["mvit_micro_32", "mvitv2_micro_32", "mvitv2_micro_64"])
def test_inputs_of_any_size_have_an_answer_down_to_one_pixel(name: str, size: tuple[int, int]) -> None:
    model = Mvit(replace(MVIT_SIZES[name], input_size=size))
    images = torch.randn(2, 3, *size, requires_grad=True)
    logits = model(images)
    logits.square().sum().backward()
    assert logits.shape == (2, 10)
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    for grid, other in zip(model.levels(images), model.levels(images[:1]), strict=True):
        assert min(grid.shape) >= 1
        torch.testing.assert_close(grid[:1], other, rtol=1e-4, atol=1e-4)


def test_one_frame_of_one_pixel_is_a_clip() -> None:
    assert Mvit(replace(MVIT_SIZES["mvitv2_micro_16x64"], input_size=(1, 1, 1)))(torch.zeros(2, 3, 1, 1, 1)).shape == (
        2,
        10,
    )


def test_clips_for_an_image_model_are_refused() -> None:
    with pytest.raises(UserError, match="height, width"):
        shaken(SMALL)(some_images(CLIP))


def test_depth_grows_from_the_stem_to_the_head() -> None:
    model = build(replace(SMALL, class_token=True, positions="absolute"))
    depths = {name: model.level_of(name) for name, _ in model.named_parameters()}
    assert {depths[name] for name in ("patch_embed.weight", "positions", "class_token", "class_positions")} == {0}
    assert depths["blocks.0.norm1.weight"] == 1
    assert depths["blocks.3.mlp.fc2.bias"] == 4
    assert {depths[name] for name in ("norm.weight", "head.bias")} == {5}


def test_weights_made_for_another_size_are_resized_into_place() -> None:
    from hvit.models.weights.load import load_weights

    for small in (SMALL, replace(SMALL, positions="absolute"), CLIP, replace(CLIP, positions="absolute")):
        source = shaken(small)
        big = Mvit(replace(small, input_size=tuple(2 * side for side in small.input_size))).eval()
        report = load_weights(big, source.state_dict())
        changed = {name.split(".")[-1] for name in report.resized}
        assert changed == {name.split(".")[-1] for name in source.state_dict() if name.endswith("positions")}
        assert torch.isfinite(big(some_images(big.config))).all()
    same = Mvit(small).eval()
    load_weights(same, source.state_dict())
    torch.testing.assert_close(same(some_images(small)), source(some_images(small)), rtol=0, atol=0)


def test_positions_of_a_model_without_units_are_not_resized_by_unit() -> None:
    from hvit.models.weights.load import load_weights

    source = shaken(replace(SMALL, positions="absolute"))
    with pytest.raises(UserError, match="'auto' or 'plane', not by 'unit'"):
        load_weights(Mvit(source.config), source.state_dict(), position_resize="unit")


def test_random_initialisation_is_as_published() -> None:
    torch.manual_seed(0)
    normal = Mvit(replace(MVIT_SIZES["mvitv2_micro_64"], initialisation="normal"))
    xavier = Mvit(MVIT_SIZES["mvitv2_micro_64"])
    for name, parameter in (*normal.named_parameters(), *xavier.named_parameters()):
        is_normal = parameter is dict(normal.named_parameters())[name]
        drawn = name.endswith("positions") or ".pool_" in name
        if name == "patch_embed.bias":
            continue
        if drawn or (parameter.ndim > 1 and is_normal):
            assert parameter.abs().max() <= 0.0401, name
            assert parameter.abs().max() > 0.02, name
        elif parameter.ndim > 1:
            fan = parameter.flatten(1).shape
            assert 0.9 < parameter.abs().max() / (6 / sum(fan)) ** 0.5 <= 1.0, name
        else:
            wanted = 1.0 if name.endswith("weight") else 0.02 if is_normal else 0.0
            assert torch.equal(parameter, torch.full_like(parameter, wanted)), name


@pytest.mark.parametrize("class_token", [False, True])
@pytest.mark.parametrize("name", ["mvitv2_micro_32", "mvitv2_micro_16x64"])
def test_position_scores_are_the_same_as_a_table_and_as_channels(
    name: str, class_token: bool, monkeypatch: pytest.MonkeyPatch
):
    torch.manual_seed(0)
    model = hvit.create_model(name, class_token=class_token).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "relative" in key:
                parameter.normal_()
        images = torch.randn(2, 3, *model.config.input_size)
        tables = model(images)
        monkeypatch.setattr(
            "hvit.models.mvit.relative._score_table", None
        )  # never called where tables are allowed no bytes
        monkeypatch.setattr("hvit.models.mvit.relative._TABLE_BYTES", 0)
        channels = model(images)
        monkeypatch.setattr("hvit.models.mvit.relative._TABLE_BYTES", 2**25)
        with pytest.raises(TypeError):
            model(images)
    torch.testing.assert_close(tables, channels, rtol=1e-4, atol=1e-5)


def test_strided_pooling_in_bfloat16_learns_as_in_float32():
    grids, weight = torch.randn(2, 8, 8, 6), torch.randn(6, 1, 3, 3)
    found = []
    for low in (True, False):
        learned = grids.clone().requires_grad_(), weight.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            kind = torch.bfloat16 if low else torch.float32
            pooled = pool_grids(learned[0].to(kind), (3, 3), (2, 2), (1, 1), "conv", learned[1])
        assert pooled.dtype == kind
        found.append((pooled.float(), *torch.autograd.grad(pooled.float().square().sum(), learned)))
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, rtol=0.05, atol=0.3)
