"""Claims about block Shapley: values add up, need no gradients, and are the brute-force ones."""

from __future__ import annotations

from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.explain import Tree, block_shapley, block_shapley_clips
from hvit.explain.methods.block_shapley import budget_of, passes_planned
from hvit.explain.methods.exchanged_features import cost_of
from hvit.explain.methods.solution import plan
from hvit.models.build import count_multiply_adds, multiply_adds
from hvit.models.create import create_model

SMALL = 1e6  # a budget that affords everything


def random_images(count: int, channels: int = 3, side: int = 32) -> Tensor:
    return torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(5))


def randomised(name: str, **fields: Any) -> Any:
    """A model whose weights are large enough that blocks interact."""
    model = create_model(name, num_classes=5, **fields).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def of_timm() -> nn.Module:
    import timm

    torch.manual_seed(0)
    return timm.create_model("test_resnet.r160_in1k", num_classes=5).eval()


class Products(nn.Module):
    """Logits that are sums and products of what the pixels of the quadrants hold."""

    def forward(self, images: Tensor) -> Tensor:
        one, two, three, four = (
            images[:, 0, rows, columns].mean((1, 2))
            for rows in (slice(0, 8), slice(8, 16))
            for columns in (slice(0, 8), slice(8, 16))
        )
        return torch.stack([one * two + three, one + two + three + four], 1)


def efficiency_errors(tree: Tree) -> list[float]:
    """How far children are from adding up to their parent, and the quadrants to the logits' difference."""
    assert tree.removal
    errors = [abs(float(tree.values[0].sum()) - (tree.logit - tree.removal.before.logit))]
    for above, below in zip(tree.values[:-1], tree.values[1:], strict=True):
        side = len(above)
        total = below.astype(np.float64).reshape(side, 2, side, 2).sum((1, 3))
        errors.append(float(np.nanmax(np.abs(total - above))))
    return errors


@pytest.mark.parametrize(
    "name",
    ["nest_micro_32", "mvit_micro_32", "mvitv2_micro_32", "hiera_micro_32", "hiera_micro_32 removed", "vit_micro_64",
     "resnet_micro_32", "timm"],
)  # fmt: skip
@pytest.mark.parametrize("settings", [{"budget": SMALL}, {"exact": False, "budget": SMALL}, {"budget": 50}])
def test_children_add_up_to_their_parent_in_every_family(name: str, settings: dict[str, Any]) -> None:
    name, _, absent = name.partition(" ")
    if absent:
        settings = settings | {"absent": absent}
    model = of_timm() if name == "timm" else randomised(name)
    images = random_images(1, 3, 64 if name == "vit_micro_64" else 32)
    if settings == {"budget": SMALL} and name not in ("nest_micro_32", "hiera_micro_32"):
        settings = {"budget": SMALL, "depth": 1}
    for tree in block_shapley(model, images, top_k=2, baseline="zeros", **settings)[0]:
        assert max(efficiency_errors(tree)) < 1e-4
        assert np.abs(tree.values[0]).max() > 1e-3


@pytest.mark.parametrize("name", ["products", "nest_micro_32"])
def test_quadrants_have_the_shapley_values_of_all_sixteen_images(name: str) -> None:
    # Sixteenths of a NesT of three levels are exchanged as pixels are.
    model, side, depth = (Products(), 16, 1) if name == "products" else (randomised(name), 32, 2)
    images = random_images(2, 3, side)
    halves = slice(0, side // 2), slice(side // 2, None)
    squares = [(rows, columns) for rows in halves for columns in halves]

    def worth(image: Tensor, present: tuple[int, ...]) -> float:
        mixed = torch.zeros_like(image)
        for quadrant in present:
            rows, columns = squares[quadrant]
            mixed[:, rows, columns] = image[:, rows, columns]
        with torch.no_grad():
            return float(model(mixed[None])[0, 1])

    explained = block_shapley(model, images, 1, depth=depth, baseline="zeros", budget=SMALL)
    for image, (tree,) in zip(images, explained, strict=True):
        for quadrant in range(4):
            others = [one for one in range(4) if one != quadrant]
            expected = sum(
                factorial(size) * factorial(3 - size) / 24 * (worth(image, (*some, quadrant)) - worth(image, some))
                for size in range(4)
                for some in combinations(others, size)
            )
            assert tree.value((quadrant,)) == pytest.approx(expected, abs=2e-5)


def test_features_of_the_finest_level_are_exchanged_as_pixels_are() -> None:
    nest = randomised("nest_micro_32")
    images = random_images(1)
    (by_features,) = block_shapley(nest, images, 1, budget=SMALL)[0]
    (by_pixels,) = block_shapley(lambda batch: nest(batch), images, 1, budget=SMALL)[0]
    assert by_features.values[1] == pytest.approx(by_pixels.values[1], abs=1e-4)
    assert by_features.removal
    assert by_pixels.removal
    assert by_features.removal.passes < by_pixels.removal.passes == 464


def test_the_whole_coalition_is_the_models_own_answer_bit_for_bit() -> None:
    nest = randomised("nest_micro_32")
    images = random_images(3)
    with torch.inference_mode():
        logits = nest(images)
    for row, trees in zip(logits, block_shapley(nest, images, top_k=5, depth=1), strict=True):
        assert [tree.logit for tree in trees] == row.sort(descending=True).values.tolist()


def test_a_block_like_the_baselines_is_worth_nothing() -> None:
    model = randomised("hiera_micro_32")
    images = random_images(1)
    images[..., :16, 16:] = 0.0
    (tree,) = block_shapley(model, images, 2, depth=1, baseline="zeros")[0]
    assert abs(tree.value((1,))) < 1e-5 < abs(tree.value((0,)))


def test_a_mirrored_image_has_mirrored_values_if_the_model_does_not_see_the_difference() -> None:
    def model(images: Tensor) -> Tensor:
        both = [randomised_network(images), randomised_network(images.flip(-1))]
        return both[0] + both[1]

    randomised_network = randomised("resnet_micro_32")
    images = random_images(1)
    pair = block_shapley(model, torch.cat([images, images.flip(-1)]), 0, depth=1)
    assert pair[0][0].values[0] == pytest.approx(pair[1][0].values[0][:, ::-1], abs=1e-4)


def test_all_classes_come_from_one_set_of_coalitions() -> None:
    calls: list[int] = []

    def model(images: Tensor) -> Tensor:
        calls.append(len(images))
        return Products()(images)

    images = random_images(2, 1, 16)
    trees = block_shapley(model, images, [0, 1], depth=1, budget=20)
    assert sum(calls) == 2 * 16
    assert [[tree.class_index for tree in two] for two in trees] == [[0, 1], [0, 1]]
    one_by_one = [block_shapley(model, image, [0, 1], depth=1, budget=20)[0] for image in images]
    for together, alone in zip(trees, one_by_one, strict=True):
        for first, second in zip(together, alone, strict=True):
            assert first.values[0] == pytest.approx(second.values[0], abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "form", "passes"),
    [
        ({"budget": 464}, "exact for all blocks", 464),
        ({"budget": 463}, "exact for the largest blocks, estimated for smaller ones", 128),
        ({"budget": 464, "exact": False}, "exact for the largest blocks, estimated for smaller ones", 128),
        ({"budget": 127}, "exact for the largest blocks, estimated for smaller ones along the paths", 44),
        ({"budget": 43}, "exact for all blocks", 16),
    ],
)
def test_the_budget_decides_what_is_exact_and_the_tree_says_so(
    settings: dict[str, Any], form: str, passes: int
) -> None:
    asked: list[float] = []
    (tree,) = block_shapley(Products(), random_images(1, 1, 16), 1, progress=asked.append, **settings)[0]
    assert tree.removal
    assert tree.removal.form == form
    assert tree.removal.passes == passes == sum(asked)
    assert tree.depth == (1 if passes == 16 else 2)
    if "along" in form:
        assert np.isfinite(tree.values[1]).sum() == 4
        assert len(tree.path) == 2


@pytest.mark.parametrize("budget", [16, 44, 128, 464])
def test_the_passes_are_known_before(budget: int) -> None:
    images = random_images(1, 1, 16)
    (tree,) = block_shapley(Products(), images, 1, budget=budget)[0]
    assert tree.removal
    assert passes_planned(Products(), images, budget=budget) == tree.removal.passes == budget


def test_a_nest_runs_once_on_an_image_and_once_on_its_baseline() -> None:
    nest = randomised("nest_micro_32")
    spent: list[float] = []
    trees: list[Tree] = []
    settings: dict[str, Any] = {"depth": 1, "budget": 20, "progress": spent.append}
    passes_planned(nest, random_images(1), depth=1, budget=20)  # counts multiply-adds itself, once
    work = count_multiply_adds(lambda: trees.extend(block_shapley(nest, random_images(1), 1, **settings)[0]))
    (tree,) = trees
    assert tree.removal
    assert work / multiply_adds(nest.config) == pytest.approx(tree.removal.passes, rel=1e-6)
    assert sum(spent) == pytest.approx(tree.removal.passes)


def test_small_models_may_spend_more_passes_and_large_ones_about_forty() -> None:
    small, large = (create_model(name, num_classes=5) for name in ("nest_micro_32", "nest_tiny_224"))
    assert budget_of(small, random_images(1), None) > 464
    assert budget_of(large, random_images(1), None) == 45
    assert budget_of(large, random_images(1), 7) == 7.0
    assert plan((4,), cost_of(large, 1), 10) == ["exact"], "quadrants of a NesT-T cost ten passes"
    assert plan((4, 4), cost_of(large, 0), 45)[1] == "along the paths"


def test_it_says_what_the_model_predicts_without_a_block_and_before_it_sees_anything() -> None:
    images = torch.ones(1, 1, 16, 16)
    (tree,) = block_shapley(Products(), images, 1, depth=1, baseline="zeros")[0]
    assert tree.removal
    assert tree.removal.baseline == "a plain colour"
    assert tree.removal.before.logit == 0.0
    assert tree.removal.before.probability == pytest.approx(0.5)
    assert tree.removal.without[0].logit == pytest.approx(3.0)
    rest = 1.0 if tree.path[0] < 2 else 2.0
    assert tree.removal.without[0].explained == pytest.approx(1 / (1 + np.exp(rest - 3.0)), abs=0.2)


def test_a_temperature_changes_the_probabilities_without_blocks_and_nothing_else() -> None:
    nest, images = randomised("nest_micro_32"), random_images(1)
    (plain,), (warm,) = (block_shapley(nest, images, 1, temperature=one)[0] for one in (1.0, 2.0))
    assert plain.removal
    assert warm.removal
    assert [one.tolist() for one in warm.values] == [one.tolist() for one in plain.values]
    blank = images.mean((2, 3), keepdim=True).expand_as(images)
    with torch.inference_mode():
        expected = (nest(blank)[0] / 2).softmax(0)
    assert warm.removal.before.explained == pytest.approx(float(expected[1]), rel=1e-4)
    assert warm.removal.before.logit == plain.removal.before.logit
    assert warm.removal.without[0].probability != plain.removal.without[0].probability


def test_a_training_model_is_explained_in_evaluation_mode_and_left_as_it_was() -> None:
    model = create_model("nest_micro_32", num_classes=5, drop_path=0.9).train()
    first, second = (block_shapley(model, random_images(1), 1, depth=1)[0][0] for _ in range(2))
    assert np.array_equal(first.values[0], second.values[0])
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"depth": 0}, "depth must be 1 or more"),
        ({"depth": 5}, "blocks of a pixel or more; got 5, images of 16 x 16"),
        ({"budget": 10}, "a budget of 10 forward passes is too small"),
        ({"budget": -1}, "above 0, got -1"),
        ({"baseline": "grey"}, "one of blur, mean, zeros, or a tensor; got 'grey'"),
        ({"baseline": torch.zeros(2, 16, 16)}, "or \\(channels,\\); got shape"),
        ({"classes": 2}, "out of range"),
        ({"baseline": torch.full((1, 16, 16), torch.nan)}, "finite floating-point"),
    ],
)
def test_an_impossible_request_is_refused_with_a_sentence(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        block_shapley(Products(), random_images(1, 1, 16), **settings)


def test_what_is_no_model_is_refused_and_a_batch_of_none_gives_none() -> None:
    with pytest.raises(UserError, match="a function that returns logits; got str"):
        block_shapley("model", random_images(1))  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="not a tensor of logits"):
        block_shapley(lambda images: [1.0], random_images(1))  # pyright: ignore[reportArgumentType]
    assert block_shapley(Products(), torch.zeros(0, 1, 16, 16), 1, depth=1) == []


def test_a_clip_is_divided_in_time_first_and_then_into_quadrants() -> None:
    def model(clips: Tensor) -> Tensor:
        corner = clips[:, 0, 2:4, :4, 4:].mean((1, 2, 3))  # the second of four segments, top right
        return torch.stack([3 * corner, clips.mean((1, 2, 3, 4))], 1)

    clip = torch.ones(1, 1, 8, 8, 8)
    both = block_shapley_clips(model, clip, [0, 1], baseline="zeros", budget=SMALL)[0]
    assert both[0].path == (1, 1)
    assert both[0].times == pytest.approx([0, 3, 0, 0], abs=1e-6)
    assert both[0].values[1] == pytest.approx(np.array([[0, 3], [0, 0]]), abs=1e-6)
    assert both[1].values == pytest.approx(np.full((4, 2, 2), 1 / 16), abs=1e-6)
    assert both[0].removal.without[1].logit == pytest.approx(0.0)
    (along,) = block_shapley_clips(model, clip, 0, baseline="zeros", budget=45)[0]
    assert along.removal.form.endswith("along the paths")
    assert np.isfinite(along.values).sum() == 4
    assert along.block_map.sum() == pytest.approx(3.0)
    with pytest.raises(UserError, match="segments must be from 1 to 8"):
        block_shapley_clips(model, clip, 0, segments=9)
    (one,) = block_shapley_clips(model, clip, 0, segments=1, baseline="zeros")[0]
    assert one.times == pytest.approx([3.0])
