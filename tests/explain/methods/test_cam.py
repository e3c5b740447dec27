"""Claims about class activation maps: they are exact, and refused where they would not be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.explain import class_activation_map, class_activation_map_batch, gradcat, normalise, upsample
from hvit.models.create import create_model


@pytest.fixture(scope="module")
def nest() -> Any:
    torch.manual_seed(0)
    model = create_model("nest_micro_32", num_classes=10, in_channels=1)
    assert isinstance(model.head, nn.Linear)
    nn.init.normal_(model.head.weight, std=0.3)
    nn.init.normal_(model.head.bias)
    return model.eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(1))


def test_the_mean_of_a_map_plus_the_bias_is_the_logit(nest: Any, images: Tensor) -> None:
    maps = class_activation_map_batch(nest, images, range(10))
    rows, columns = nest.levels(images)[-1].shape[1:3]
    assert maps.shape == (3, 10, rows, columns)
    assert maps.mean((2, 3)) + nest.head.bias.numpy(force=True) == pytest.approx(
        nest(images).numpy(force=True), abs=1e-5
    )


@pytest.mark.parametrize(
    "name", ["hiera_micro_32", "hiera_micro_64", "mvitv2_micro_32", "mvitv2_micro_64_step_f", "vit_micro_32"]
)
def test_maps_of_every_family_are_exact_also_where_the_norm_follows_the_mean(name: str) -> None:
    torch.manual_seed(0)
    model: Any = create_model(name, num_classes=10).eval()
    for layer in model.modules():
        if isinstance(layer, nn.LayerNorm):
            nn.init.normal_(layer.weight, mean=1.0, std=0.3)
            nn.init.normal_(layer.bias, std=0.3)
    nn.init.normal_(model.head.weight, std=0.3)
    nn.init.normal_(model.head.bias)
    images = torch.randn(2, 3, *model.config.input_size, generator=torch.Generator().manual_seed(1))
    maps = class_activation_map_batch(model, images, range(10))
    assert maps.std((2, 3)).min() > 0.01, "the maps say where nothing is"
    assert maps.mean((2, 3)) + model.head.bias.numpy(force=True) == pytest.approx(
        model(images).numpy(force=True), abs=1e-5
    )


def test_the_map_of_a_resnet_of_timm_is_exact() -> None:
    model: Any = resnet()
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    maps = class_activation_map_batch(model, images, [3, 1])
    assert maps.shape == (2, 2, 2, 3)
    total = maps.mean((2, 3)) + model.fc.bias[[3, 1]].numpy(force=True)
    assert total == pytest.approx(model(images)[:, [3, 1]].numpy(force=True), abs=1e-5)


def resnet() -> nn.Module:
    """The smallest of timm's residual networks, with random weights."""
    import timm

    torch.manual_seed(0)
    return timm.create_model("resnet10t", num_classes=5).eval()


def test_a_model_that_classifies_a_token_has_no_map(images: Tensor) -> None:
    with pytest.raises(UserError, match="classifies a class token"):
        class_activation_map_batch(create_model("mvit_micro_32", in_channels=1), images)


def test_the_map_and_the_first_step_of_gradcat_agree(nest: Any, images: Tensor) -> None:
    one = class_activation_map(nest, images[0], 6)
    quadrants = one.reshape(2, len(one) // 2, 2, len(one) // 2).sum((1, 3)) / one.size
    assert gradcat(nest, images[0], 6).values[0] == pytest.approx(quadrants, abs=1e-5)


def test_a_batch_gives_what_its_images_give_one_by_one(nest: Any, images: Tensor) -> None:
    batch = class_activation_map_batch(nest, images, np.array([[1], [2], [3]]))
    for number, image in enumerate(images):
        assert class_activation_map(nest, image, number + 1) == pytest.approx(batch[number, 0], abs=1e-5)
    best = int(nest(images)[0].argmax())
    assert np.array_equal(class_activation_map(nest, images[0]), class_activation_map(nest, images[:1], best))


def test_mapping_leaves_the_mode_and_builds_no_graph(nest: Any, images: Tensor) -> None:
    nest.train()
    class_activation_map(nest, images[0])
    assert nest.training
    assert all(parameter.grad is None for parameter in nest.parameters())
    nest.eval()


def test_a_model_without_a_linear_head_on_the_mean_is_refused(images: Tensor) -> None:
    model: Any = create_model("nest_micro_32", num_classes=10, in_channels=1)
    head = model.head
    model.head = nn.Sequential(head)
    with pytest.raises(UserError, match="linear layer `head`"):
        class_activation_map(model, images[0])
    model.head = head
    model.classify = lambda feature_map: head(feature_map.amax((1, 2)))
    with pytest.raises(UserError, match="not be exact"):
        class_activation_map(model, images[0])


def test_an_impossible_request_is_refused_with_a_sentence(nest: Any, images: Tensor) -> None:
    with pytest.raises(UserError, match="class index 10 is out of range"):
        class_activation_map(nest, images[0], 10)
    with pytest.raises(UserError, match="use class_activation_map_batch"):
        class_activation_map(nest, images)


def test_enlarging_keeps_the_place_and_the_range_of_a_map() -> None:
    small = np.zeros((4, 4), np.float32)
    small[1, 2] = 3.0
    large = upsample(small, (40, 60))
    assert large.shape == (40, 60)
    assert large.max() == pytest.approx(3.0, abs=0.2)
    row, column = np.unravel_index(large.argmax(), large.shape)
    assert (row // 10, column // 15) == (1, 2)
    assert upsample(np.full((2, 2), 5.0), (7, 9)) == pytest.approx(5.0)
    many = np.random.default_rng(0).random((2, 3, 4, 4))
    assert np.array_equal(upsample(many, (8, 9))[1, 2], upsample(many[1, 2], (8, 9)))


def test_normalising_stretches_to_the_range_0_to_1_and_a_constant_map_to_0() -> None:
    assert normalise(np.array([[-2.0, 0.0], [1.0, 2.0]])).tolist() == [[0.0, 0.5], [0.75, 1.0]]
    assert normalise(np.full((2, 2), 7.0)).tolist() == [[0.0, 0.0], [0.0, 0.0]]
