"""Claims about GradCAT: its values are exact, its path is the greedy one, and explaining changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.explain import Tree, gradcat, gradcat_batch
from hvit.explain.methods.gradcat import has_tree, tree_levels
from hvit.explain.tree import greedy_path
from hvit.models.create import create_model
from hvit.models.layers.encoder import Encoder
from hvit.models.layers.grids import blocks_to_grid
from hvit.models.weights.open import open_weights


def half(feature_map: Tensor) -> Tensor:
    """A feature map (batch, height, width, dim) at half its height and width, by averaging."""
    return F.avg_pool2d(feature_map.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


class Lamps(Encoder):
    """A model that is understood by construction: a class is a colour channel, and its logit that channel's mean
    brightness less that of the next channel, so the brightest block of a channel decides for its class."""

    def __init__(self, channels: int = 4, num_levels: int = 4) -> None:
        super().__init__()
        self.config = SimpleNamespace(dims=(channels,) * num_levels)
        self.head = nn.Linear(channels, channels)
        with torch.no_grad():
            eye = torch.eye(channels)
            self.head.weight.copy_(eye - eye.roll(1, dims=1))

    def _first_level(self, images: Tensor, mask: Any) -> Tensor:
        return F.avg_pool2d(images, 2).permute(0, 2, 3, 1)

    def _next_level(self, level: int, below: Tensor, visible: Any) -> Tensor:
        return half(below)

    def level_sizes(self, level: int) -> tuple[int, ...]:
        raise NotImplementedError

    def classify(self, last_map: Tensor) -> Tensor:
        return self.head(last_map.mean((1, 2)))

    def level_of(self, parameter_name: str) -> int:
        return 0


class Maps(Lamps):
    """A model whose feature maps have the given sides."""

    def __init__(self, *sides: int) -> None:
        super().__init__()
        self.sides = sides

    def levels(self, images: Tensor) -> list[Tensor]:
        return [F.adaptive_avg_pool2d(images, side).permute(0, 2, 3, 1) for side in self.sides]


@pytest.fixture(scope="module")
def nest() -> Encoder:
    """A small NesT of three levels or more, with a head that makes logits of several units."""
    torch.manual_seed(0)
    model = create_model("nest_micro_32", num_classes=10, in_channels=1).eval()
    assert isinstance(model.head, nn.Linear)
    nn.init.normal_(model.head.weight, std=0.3)
    nn.init.normal_(model.head.bias)
    return model


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(1))


def random_model(name: str, **fields: Any) -> Encoder:
    """A small model with weights large enough for logits of several units."""
    torch.manual_seed(0)
    model: Any = create_model(name, num_classes=10, in_channels=1, **fields).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, mean=0.5, std=0.5)
    nn.init.normal_(model.head.weight, std=0.3)
    return model


def everything(tree: Tree) -> np.ndarray:
    """All numbers of a tree in one row."""
    numbers = [tree.class_index, tree.logit, *tree.path, *tree.path_values, *np.ravel(tree.regions)]
    return np.concatenate([numbers, *(values.ravel() for values in tree.values)])


def test_the_four_quadrants_add_up_to_the_logit_without_its_bias(nest: Any, images: Tensor) -> None:
    for trees in gradcat_batch(nest, images, top_k=10):
        for tree in trees:
            total = float(tree.values[0].astype(np.float64).sum())
            assert total == pytest.approx(tree.logit - nest.head.bias[tree.class_index].item(), abs=1e-5)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("hiera_micro_32", {}),
        ("hiera_micro_32", {"input_size": 56}),
        ("hiera_micro_32", {"input_size": (24, 56)}),
        ("mvitv2_micro_32", {}),
        ("mvitv2_micro_32", {"input_size": 56}),
        ("mvitv2_micro_64_step_f", {}),
        ("nest_micro_32", {"input_size": 56}),
    ],
)
def test_the_quadrants_add_up_in_every_family_also_where_they_cut_tokens(name: str, fields: dict[str, Any]) -> None:
    model: Any = random_model(name, **fields)
    images = torch.randn(2, 1, *model.config.input_size, generator=torch.Generator().manual_seed(3))
    logits = model(images)
    for item, trees in enumerate(gradcat_batch(model, images, [7, 2])):
        for tree in trees:
            assert tree.depth == len(model.config.depths) - 1
            assert tree.logit == pytest.approx(logits[item, tree.class_index].item(), abs=1e-4)
            total = float(tree.values[0].astype(np.float64).sum())
            assert total == pytest.approx(tree.logit - model.head.bias[tree.class_index].item(), abs=1e-4)


@pytest.mark.parametrize("name", ["imagenet_like", "cifar_like"])
def test_values_are_the_official_codes_features_times_its_gradients(fixtures: Path, name: str) -> None:
    folder = fixtures / "nest_flax_fixture" / name
    official = np.load(folder / "reference.npz")
    images = torch.from_numpy(official["images"]).permute(0, 3, 1, 2)
    trees = gradcat_batch(open_weights(folder / "ckpt-1.flax").model, images, official["grad_class"][:, None])
    for depth in range(2, trees[0][0].depth + 1):
        level = trees[0][0].depth + 1 - depth
        blocks = torch.from_numpy(official[f"level{level}"] * official[f"grad_level{level}"])
        evidence = blocks_to_grid(blocks).sum(-1)
        # Every token becomes many small ones, so that squares cut none: sums of those are shares of tokens.
        fine = evidence.repeat_interleave(2**depth, 1).repeat_interleave(2**depth, 2) / 4**depth
        expected = F.avg_pool2d(fine[:, None], evidence.shape[1]).squeeze(1) * evidence.shape[1] ** 2
        for item, (tree,) in enumerate(trees):
            assert tree.values[depth - 1] == pytest.approx(expected[item].numpy(), abs=1e-5)


def test_the_logit_of_a_tree_is_the_models(nest: Encoder, images: Tensor) -> None:
    logits = nest(images)
    for item, trees in enumerate(gradcat_batch(nest, images, [7, 2])):
        assert [tree.class_index for tree in trees] == [7, 2]
        assert [tree.logit for tree in trees] == pytest.approx(logits[item, [7, 2]].tolist(), abs=1e-5)


def test_a_value_is_what_the_logit_gains_per_unit_of_growth_of_that_part_of_the_map() -> None:
    """The derivative of the logit along the features of one block, by finite differences on a smooth model."""

    class Smooth(Lamps):
        scale: Callable[[Tensor], Tensor] = staticmethod(lambda feature_map: feature_map)

        def levels(self, images: Tensor) -> list[Tensor]:
            bottom, middle, *_ = super().levels(images)
            middle = self.scale((middle * 1.5).sin())
            return [bottom, middle, half(middle).tanh()]

    model = Smooth(num_levels=3).double()
    image = torch.rand(4, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    tree = gradcat(model, image, 2)
    growth = 1e-5
    for row, column in np.ndindex(4, 4):
        mask = torch.zeros(8, 8, 1, dtype=torch.float64)
        mask[2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = growth
        model.scale = lambda feature_map, mask=mask: feature_map * (1 + mask)
        more = model(image[None])[0, 2].item()
        model.scale = lambda feature_map, mask=mask: feature_map * (1 - mask)
        less = model(image[None])[0, 2].item()
        assert tree.values[1][row, column] == pytest.approx((more - less) / (2 * growth), rel=1e-4, abs=1e-7)


def test_where_nothing_between_the_levels_is_nonlinear_every_node_is_the_sum_of_its_children() -> None:
    image = torch.randn(4, 32, 32, generator=torch.Generator().manual_seed(2))
    tree = gradcat(Lamps(), image, 1)
    for parent, children in zip(tree.values, tree.values[1:], strict=False):
        side = len(parent)
        assert children.reshape(side, 2, side, 2).sum((1, 3)) == pytest.approx(parent, abs=1e-6)


def test_the_path_ends_in_the_block_that_decides() -> None:
    """A lamp in one of the 64 blocks; the next colour, negative evidence for its class, is brighter elsewhere."""
    model = Lamps(channels=4, num_levels=4)
    blocks = torch.arange(64)
    images = torch.rand(64, 4, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.05
    for item, block in enumerate(blocks.tolist()):
        row, column = divmod(block, 8)
        against = divmod((block + 29) % 64, 8)
        images[item, 2, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 1.0
        images[item, 3, 4 * against[0] : 4 * against[0] + 4, 4 * against[1] : 4 * against[1] + 4] = 2.0
    for item, (tree,) in enumerate(gradcat_batch(model, images, 2)):
        row, column = divmod(item, 8)
        assert tree.path == tuple(2 * (row >> bit & 1) + (column >> bit & 1) for bit in (2, 1, 0))
        assert tree.regions[-1] == (4 * column, 4 * row, 4 * column + 4, 4 * row + 4)


def test_the_path_ends_in_the_block_that_decides_also_where_the_maps_have_no_middle() -> None:
    """A lamp in one of 16 blocks of 14 x 14 pixels; the coarsest feature map has 7 x 7 positions."""
    images = torch.rand(16, 4, 56, 56, generator=torch.Generator().manual_seed(0)) * 0.05
    for item in range(16):
        row, column = divmod(item, 4)
        images[item, 1, 14 * row + 3 : 14 * row + 11, 14 * column + 3 : 14 * column + 11] = 1.0
    for item, (tree,) in enumerate(gradcat_batch(Lamps(num_levels=3), images, 1)):
        row, column = divmod(item, 4)
        assert tree.regions[-1] == (14 * column, 14 * row, 14 * column + 14, 14 * row + 14)


def test_a_token_that_a_square_cuts_counts_with_the_share_inside() -> None:
    bright = torch.zeros(4, 7, 7)
    bright[0, 3, 3], bright[0, 0, 3], bright[0, 6, 6] = 1.0, 1.0, 1.0
    tree = gradcat(Maps(14, 7), bright, 0)
    assert 49 * tree.values[0] == pytest.approx(np.array([[0.75, 0.75], [0.25, 1.25]]), abs=1e-5)


@pytest.mark.parametrize(
    ("sides", "first", "read"),
    [
        ((56, 28, 14), 2, [2, 1]),
        ((32, 16, 8, 4), 3, [3, 2, 1]),
        ((56, 28, 14, 7), 3, [3, 2, 1]),
        ((56, 28, 14, 7), 2, [2, 1, 0]),
        ((56, 28, 14, 7), 0, [0]),
        ((56, 28, 14, 14), 3, [3, 2, 1]),
        ((78, 39, 20, 10), 3, [3, 2, 1]),
        ((16, 8, 4), 1, [1, 0]),
        ((8, 4, 2, 1), 3, [2, 1, 0]),
        ((4, 2, 1, 1), 3, [1, 0]),
    ],
)
def test_every_depth_reads_the_coarsest_map_left_that_separates_its_nodes(
    sides: tuple[int, ...], first: int, read: list[int]
) -> None:
    assert tree_levels([(side, side) for side in sides], first) == read


def test_a_tree_that_starts_lower_has_the_same_values_one_step_earlier(nest: Encoder, images: Tensor) -> None:
    for (tree,), (lower,) in zip(gradcat_batch(nest, images, 4), gradcat_batch(nest, images, 4, level=-2), strict=True):
        assert lower.depth == tree.depth == 2
        assert lower.values[0] == pytest.approx(tree.values[1].reshape(2, 2, 2, 2).sum((1, 3)), abs=1e-5)
        assert lower.logit == tree.logit


def test_which_models_have_a_tree_is_known_without_running_them() -> None:
    names = ("nest_micro_32", "hiera_micro_64", "mvit_micro_32", "mvitv2_micro_64", "mvitv2_micro_64_step_f")
    for model in (create_model(name) for name in names):
        assert has_tree(model)
        assert gradcat(model, torch.zeros(3, *model.config.input_size), 0).depth == len(model.config.depths) - 1
    assert not has_tree(create_model("vit_micro_32"))
    assert not has_tree(create_model("hiera_micro_16x64"))
    assert not has_tree(nn.Linear(1, 1))


def test_a_model_that_classifies_a_token_is_explained_from_the_level_below_the_top() -> None:
    model: Any = random_model("mvit_micro_32")
    image = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(3))
    tree = gradcat(model, image, 4)
    maps, token = model.encode(image)
    logit = model.classify(maps[-1], token)[0, 4]
    for values, one, slope in zip(tree.values, maps[1::-1], torch.autograd.grad(logit, maps[1::-1]), strict=True):
        evidence = (one * slope).sum(-1)[0].detach().numpy()
        side, cells = len(values), len(evidence) // len(values)
        assert values == pytest.approx(evidence.reshape(side, cells, side, cells).sum((1, 3)), abs=1e-5)


def test_flipping_the_sign_flips_every_value_and_follows_the_least(nest: Encoder, images: Tensor) -> None:
    for (plus,), (minus,) in zip(gradcat_batch(nest, images, 4), gradcat_batch(nest, images, 4, sign=-1), strict=True):
        for one, other in zip(plus.values, minus.values, strict=True):
            assert np.array_equal(one, -other)
        assert minus.path == greedy_path([-values for values in plus.values])
        assert minus.path != plus.path
        assert (plus.sign, minus.sign) == (1, -1)


def test_a_batch_gives_what_its_images_give_one_by_one(nest: Encoder, images: Tensor) -> None:
    own = [[1, 5], [0, 9], [5, 5]]
    batch = gradcat_batch(nest, images, np.array(own))
    for image, classes, trees in zip(images, own, batch, strict=True):
        for class_index, tree in zip(classes, trees, strict=True):
            assert everything(gradcat(nest, image, class_index)) == pytest.approx(everything(tree), abs=1e-4)


def test_without_classes_the_largest_logits_are_explained_largest_first(nest: Encoder, images: Tensor) -> None:
    order = nest(images).argsort(dim=1, descending=True)[:, :3].tolist()
    assert [[tree.class_index for tree in trees] for trees in gradcat_batch(nest, images, top_k=3)] == order
    assert gradcat(nest, images[1]).class_index == order[1][0]


@pytest.mark.parametrize("classes", [3, np.int64(3), [3], (3,), torch.tensor([3]), torch.full((3, 1), 3)])
def test_classes_may_be_one_or_several_or_each_images_own(nest: Encoder, images: Tensor, classes: Any) -> None:
    assert [[tree.class_index for tree in trees] for trees in gradcat_batch(nest, images, classes)] == [[3]] * 3


def test_paths_stack_into_an_integer_array(nest: Encoder, images: Tensor) -> None:
    paths = np.array([[tree.path for tree in trees] for trees in gradcat_batch(nest, images, top_k=2)])
    assert np.issubdtype(paths.dtype, np.integer)
    assert paths.shape == (3, 2, len(nest.config.depths) - 1)


def test_the_nodes_of_every_depth_tile_the_image_and_the_path_nests(nest: Encoder, images: Tensor) -> None:
    tree = gradcat(nest, images[0], 0)
    for depth in range(1, tree.depth + 1):
        covered = np.zeros((32, 32), int)
        nodes = [node for node in tree.nodes() if node.depth == depth]
        for node in nodes:
            left, top, right, bottom = node.region
            covered[top:bottom, left:right] += 1
            assert node.value == tree.values[depth - 1][node.row, node.column] == tree.value(node.path)
        assert len(nodes) == 4**depth
        assert (covered == 1).all()
        step = next(node for node in nodes if node.path == tree.path[:depth])
        assert (step.region, step.value) == (tree.regions[depth - 1], tree.path_values[depth - 1])
    for (left, top, right, bottom), inner in zip(tree.regions, tree.regions[1:], strict=False):
        assert left <= inner[0] < inner[2] <= right
        assert top <= inner[1] < inner[3] <= bottom
        assert (inner[2] - inner[0], inner[3] - inner[1]) == ((right - left) // 2, (bottom - top) // 2)


def test_explaining_leaves_gradients_modes_and_the_image_as_they_were(images: Tensor) -> None:
    model = create_model("nest_micro_32", num_classes=10, in_channels=1, drop_path=0.5)
    model.train()
    model.norm.eval()
    before = [module.training for module in model.modules()]
    copy = images.clone()
    first, second = (everything(gradcat(model, images[0], 3)) for _ in range(2))
    assert np.array_equal(first, second), "stochastic depth was active"
    assert [module.training for module in model.modules()] == before
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(images, copy)
    assert not images.requires_grad
    with pytest.raises(UserError):
        gradcat(model, images[0], 10)
    assert [module.training for module in model.modules()] == before


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_a_caller_without_gradients_and_a_frozen_model_can_be_explained(
    nest: Encoder, images: Tensor, context: Any
) -> None:
    expected = everything(gradcat(nest, images[0], 3))
    with context():
        assert everything(gradcat(nest, images[0] * 1, 3)) == pytest.approx(expected, abs=1e-5)
    nest.requires_grad_(False)
    assert everything(gradcat(nest, images[0], 3)) == pytest.approx(expected, abs=1e-5)
    nest.requires_grad_(True)


def test_each_class_costs_one_backward_pass_for_the_whole_batch(
    nest: Encoder, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    grad = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *given, **options: calls.append(1) or grad(*given, **options))
    gradcat_batch(nest, images, top_k=4)
    assert len(calls) == 4


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"classes": 10}, "class index 10 is out of range: the model has classes 0 to 9"),
        ({"classes": -1}, "class index -1 is out of range"),
        ({"classes": []}, "classes must be"),
        ({"classes": np.zeros((2, 1), int)}, "for 3 images"),
        ({"classes": torch.tensor([0.5])}, "float32"),
        ({"classes": 1, "top_k": 2}, "either classes or top_k"),
        ({"top_k": 0}, "top_k must be from 1 to the model's 10 classes"),
        ({"top_k": 11}, "top_k must be from 1"),
        ({"sign": 0}, "sign must be 1 or -1"),
        ({"level": 3}, "level must be from 0 to 2"),
    ],
)
def test_an_impossible_request_is_refused_with_a_sentence(
    nest: Encoder, images: Tensor, wrong: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        gradcat_batch(nest, images, **wrong)


@pytest.mark.parametrize(
    ("sides", "says"), [((4,), "this one has 1"), ((16, 8, 6), "16 x 16, 8 x 8, 6 x 6"), ((1, 1), "1 x 1, 1 x 1")]
)
def test_a_model_whose_feature_maps_are_no_tree_of_quadrants_is_refused(sides: tuple[int, ...], says: str) -> None:
    with pytest.raises(UserError, match=says):
        gradcat(Maps(*sides), torch.rand(4, 16, 16))


def test_images_that_cannot_be_explained_are_refused(nest: Encoder, images: Tensor) -> None:
    with pytest.raises(UserError, match="use gradcat_batch"):
        gradcat(nest, images)
    with pytest.raises(UserError, match="floating-point"):
        gradcat(nest, torch.zeros(1, 32, 32, dtype=torch.uint8))
    with pytest.raises(UserError, match=r"shape \(32, 32\)"):
        gradcat(nest, torch.zeros(32, 32))
    with pytest.raises(UserError, match="not finite"):
        gradcat(nest, torch.full((1, 32, 32), math.nan))
