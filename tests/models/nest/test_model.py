"""NesT is the published NesT, and its choices do what their names say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from hvit.errors import UserError
from hvit.models.create import create_model
from hvit.models.layers.blocks import DropPath, drop_path_rates
from hvit.models.layers.grids import blocks_to_grid
from hvit.models.nest.config import Aggregation, NestConfig
from hvit.models.nest.model import Attention, ConvolutionPool, Nest
from hvit.models.weights.open import open_weights

REFERENCES = ["imagenet_like", "cifar_like"]
TINY = NestConfig(
    input_size=(32, 32), patch_size=(2, 2), num_classes=3, dims=(8, 16, 32), heads=(1, 2, 4), depths=(1, 1, 1)
)  # fmt: skip


def difference(ours: Tensor, theirs: np.ndarray) -> float:
    """Largest absolute difference."""
    assert tuple(ours.shape) == theirs.shape
    return float((ours.detach() - torch.from_numpy(theirs)).abs().max())


@pytest.fixture(params=REFERENCES)
def reference(request: pytest.FixtureRequest, fixtures: Path) -> tuple[Nest, dict[str, np.ndarray], Tensor]:
    """A model with the weights of an official checkpoint, what the official code computed, and its input."""
    folder = fixtures / "nest_flax_fixture" / request.param
    model = open_weights(folder / "ckpt-1.flax").model
    assert isinstance(model, Nest)
    values = dict(np.load(folder / "reference.npz"))
    return model, values, torch.from_numpy(values["images"]).permute(0, 3, 1, 2)


def blocked(model: Nest, images: Tensor) -> tuple[list[Tensor], Tensor]:
    """The blocks of every level (the top ones before the final norm), and the logits."""
    outputs: list[Tensor] = []
    hooks = [level.register_forward_hook(lambda _, __, out: outputs.append(out)) for level in model.hierarchies]
    logits = model(images)
    for hook in hooks:
        hook.remove()
    return outputs, logits


def test_logits_are_those_of_the_official_code(reference) -> None:
    model, values, images = reference
    assert difference(model(images), values["logits"]) < 5e-6


def test_every_level_is_that_of_the_official_code(reference) -> None:
    model, values, images = reference
    assert difference(model.patch_embed(images).permute(0, 2, 3, 1), values["patch_embed"]) < 1e-5
    grids, (blocks, _) = model.levels(images), blocked(model, images)
    top = len(grids) - 1
    for level, grid in enumerate(grids):
        assert difference(blocks[level], values[f"level{level}"]) < 1e-5
        if level < top:
            assert torch.equal(grid, blocks_to_grid(blocks[level]))
            pooled = model.hierarchies[level + 1].aggregation(grid)
            expected = blocks_to_grid(torch.from_numpy(values[f"pooled{level}"]))
            assert difference(pooled, expected.numpy()) < 1e-5
    assert difference(grids[-1].flatten(1, 2)[:, None], values["final_norm"]) < 1e-5


def test_gradients_of_a_logit_at_every_level_are_those_of_the_official_code(reference) -> None:
    model, values, images = reference
    classes = torch.from_numpy(values["grad_class"]).long()
    blocks, logits = blocked(model, images)
    chosen = logits.gather(1, classes[:, None]).sum()
    for level, gradient in enumerate(torch.autograd.grad(chosen, blocks)):
        assert difference(gradient, values[f"grad_level{level}"]) < 1e-6
    grids = model.levels(images)
    chosen = model.classify(grids[-1]).gather(1, classes[:, None]).sum()
    gradients = torch.autograd.grad(chosen, grids)
    for level, gradient in enumerate(gradients[:-1]):
        expected = blocks_to_grid(torch.from_numpy(values[f"grad_level{level}"]))
        assert difference(gradient, expected.numpy()) < 1e-6
    # The pooled logit is linear in the last feature map: its gradient is the head's row, shared out to the positions.
    expected = (model.head.weight[classes] / grids[-1][0, ..., 0].numel())[:, None, None].expand_as(gradients[-1])
    torch.testing.assert_close(gradients[-1], expected)


@pytest.mark.parametrize(("change_to", "least"), [({"pool_padding": "symmetric"}, 0.1), ({"activation": "gelu"}, 1e-4)])
def test_wrong_padding_or_gelu_would_be_noticed(reference, change_to: dict[str, Any], least: float) -> None:
    model, values, images = reference
    wrong = Nest(replace(model.config, **change_to))
    wrong.load_state_dict(model.state_dict())
    assert difference(wrong(images), values["logits"]) > least


@pytest.mark.parametrize("plane", ["image", "parent", "block"])
@pytest.mark.parametrize("function", get_args(Aggregation))
def test_every_aggregation_halves_the_feature_map_and_trains(function: Aggregation, plane: Any) -> None:
    for padding in ("same", "symmetric"):
        config = replace(TINY, aggregation=function, aggregation_plane=plane, pool_padding=padding)
        model = Nest(config)
        grids = model.levels(torch.randn(2, 3, 32, 32))
        assert [tuple(grid.shape) for grid in grids] == [(2, 16, 16, 8), (2, 8, 8, 16), (2, 4, 4, 32)]
        model.classify(grids[-1]).sum().backward()
        assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("function", get_args(Aggregation))
def test_blocks_meet_on_the_image_plane_only(function: Aggregation) -> None:
    """Patch merging is the exception: its 2 x 2 windows never straddle a border, so all planes are the same. On the
    parent plane the borders inside a group of four are crossed, those of the group never."""
    reach = {}
    for plane in ("image", "parent", "block"):
        torch.manual_seed(0)
        model = Nest(replace(TINY, aggregation=function, aggregation_plane=plane)).double()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        images = torch.randn(1, 3, 32, 32, dtype=torch.float64, requires_grad=True)
        block = model.levels(images)[1][:, :4, :4]  # the top left of the four blocks, over the top left 16 x 16 pixels
        (gradient,) = torch.autograd.grad((block * torch.randn_like(block)).sum(), images)
        assert gradient[..., :16, :16].abs().min() > 0
        gradient[..., :16, :16] = 0
        reach[plane] = float(gradient.abs().max())
    assert reach["block"] == reach["parent"] == 0
    assert (reach["image"] > 1e-6) == (function != "merge2")


def test_the_parent_plane_crosses_the_borders_inside_a_group_of_four_blocks_only() -> None:
    for plane, crossed in (("image", (True, True)), ("parent", (True, False)), ("block", (False, False))):
        torch.manual_seed(0)
        aggregation = Nest(replace(TINY, aggregation_plane=plane)).hierarchies[1].aggregation
        grid = torch.randn(1, 16, 16, 8, requires_grad=True)  # 4 x 4 blocks of 4 x 4 tokens, 2 x 2 groups of four
        seen = []
        for row, beyond in ((1, 4), (3, 8)):  # the last rows of a block in its group, and of the group
            (gradient,) = torch.autograd.grad(aggregation(grid)[:, row, 0].pow(2).sum(), grid)
            seen.append(bool(gradient[:, beyond:].abs().max() > 0))
        assert tuple(seen) == crossed


@pytest.mark.parametrize("padding", ["same", "symmetric"])
def test_average_pooling_of_ones_is_ones_at_the_border_too(padding: Any) -> None:
    pool = ConvolutionPool(4, 4, "conv3_norm_avg3", padding)
    pool.convolution, pool.norm = torch.nn.Identity(), torch.nn.Identity()
    assert torch.equal(pool(torch.ones(1, 8, 8, 4)), torch.ones(1, 4, 4, 4))


def test_same_pooling_looks_at_its_own_two_rows_and_the_next() -> None:
    pool = ConvolutionPool(1, 1, "max3", "same")
    feature_map = torch.arange(36.0).reshape(1, 6, 6, 1)
    assert pool(feature_map)[0, :, :, 0].tolist() == [[14, 16, 17], [26, 28, 29], [32, 34, 35]]
    assert pool(-feature_map)[0, :, :, 0].tolist() == [[0, -2, -4], [-12, -14, -16], [-24, -26, -28]]


def test_stochastic_depth_drops_whole_samples_in_training_only() -> None:
    torch.manual_seed(0)
    layer, ones = DropPath(0.3), torch.ones(20_000, 2, 3, 4)
    dropped = layer(ones).flatten(1)
    assert torch.equal(dropped.min(1).values, dropped.max(1).values)
    assert set(dropped.unique().tolist()) == {0.0, float(torch.tensor(1 / 0.7))}
    assert float((dropped[:, 0] == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert torch.equal(layer.eval()(ones), ones)


def test_stochastic_depth_grows_linearly_over_all_levels() -> None:
    assert drop_path_rates(0.2, 12) == pytest.approx(np.linspace(0, 0.2, 12).tolist())
    assert drop_path_rates(0.2, 1) == [0.0]
    with torch.device("meta"):
        model = create_model("nest_tiny_224")
    rates = [layer.drop_path.rate for level in model.hierarchies for layer in level.layers]  # pyright: ignore
    assert rates == pytest.approx(np.linspace(0, 0.2, 12).tolist())


def test_random_initialisation_is_as_published() -> None:
    torch.manual_seed(0)
    model = create_model("nest_micro_32")
    drawn = {name: one.detach().flatten() for name, one in model.named_parameters() if one.ndim > 1}
    assert sum(".positions" in name for name in drawn) == 3
    for one in (torch.cat(list(drawn.values())), drawn["hierarchies.0.positions"], drawn["head.weight"]):
        assert float(one.std()) == pytest.approx(0.0176, rel=0.05)
        assert 0.035 < float(one.abs().max()) <= 0.04
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            assert torch.equal(parameter, torch.full_like(parameter, float(name.endswith("weight"))))


def test_the_same_seed_gives_the_same_weights() -> None:
    models = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        models.append(create_model("nest_micro_32").state_dict())
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
    assert not torch.equal(models[0]["head.weight"], models[2]["head.weight"])


@pytest.mark.parametrize("kind", ["multi_head", "multi_query"])
def test_attention_is_the_naive_formula_inside_every_block(kind: Any) -> None:
    torch.manual_seed(0)
    attention, blocks = Attention(12, 3, kind).double(), torch.randn(2, 4, 5, 12, dtype=torch.float64)
    rows = attention.qkv(blocks).split(4, dim=-1)  # one entry per head of queries, then keys, then values
    keys = rows[3:6] if kind == "multi_head" else [rows[3]] * 3
    values = rows[6:9] if kind == "multi_head" else [rows[4]] * 3
    heads = [
        torch.softmax(query @ key.transpose(-1, -2) / 2, dim=-1) @ value
        for query, key, value in zip(rows[:3], keys, values, strict=True)
    ]
    torch.testing.assert_close(attention(blocks), attention.proj(torch.cat(heads, dim=-1)))


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (1, 1, 32, 32), (3, 32, 32)])
def test_images_of_another_size_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"images of .*\(3, 32, 32\); got"):
        Nest(TINY)(torch.zeros(shape))


def test_depth_grows_from_the_stem_to_the_head() -> None:
    model = create_model("nest_micro_32")
    depths = [model.level_of(name) for name, _ in model.named_parameters()]
    assert depths == sorted(depths)
    assert set(depths) == set(range(1 + sum(model.config.depths) + 1))
    assert model.level_of("hierarchies.0.positions") == 0
    assert model.level_of("head.weight") == model.level_of("norm.bias") == 5


def test_views_and_half_precision_give_the_same_answer() -> None:
    torch.manual_seed(0)
    model, images = Nest(TINY).eval(), torch.randn(2, 32, 32, 3)
    expected = model(images.permute(0, 3, 1, 2).contiguous())
    torch.testing.assert_close(model(images.permute(0, 3, 1, 2)), expected)
    wide = torch.randn(2, 3, 32, 64)[..., ::2]
    torch.testing.assert_close(model(wide), model(wide.contiguous()))
    half = model.to(torch.bfloat16)(images.permute(0, 3, 1, 2).to(torch.bfloat16))
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, rtol=0.05, atol=0.05)
