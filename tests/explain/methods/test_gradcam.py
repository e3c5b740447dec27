"""Claims about Grad-CAM and Grad-CAM++: they are their definitions, on any level of any model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.explain import class_activation_map_batch, grad_cam, grad_cam_plus_plus
from hvit.models.create import create_model

METHODS = [grad_cam, grad_cam_plus_plus]


@pytest.fixture(scope="module")
def nest() -> Any:
    torch.manual_seed(0)
    model: Any = create_model("nest_micro_32", num_classes=10, in_channels=1)
    nn.init.normal_(model.head.weight, std=0.3)
    return model.eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def resnet() -> Any:
    """A ResNet-50 of timm with random weights."""
    import timm

    torch.manual_seed(0)
    return timm.create_model("resnet50", num_classes=5).eval()


@pytest.fixture(scope="module")
def photos() -> Tensor:
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(2))


class Bright(nn.Module):
    """A network whose every step is in sight: three filters, an activation in place, the mean, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.filters = nn.Conv2d(1, 3, 3, 2, 1)
        self.positive = nn.ReLU(inplace=True)
        self.deeper = nn.Conv2d(3, 4, 3, 2, 1)
        self.fc = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.deeper(self.positive(self.filters(images))).sin().mean((2, 3)))


def naive_grad_cam(features: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Equations 1 and 2 of arXiv 1610.02391, number by number. features, gradients: (rows, columns, channels)."""
    rows, columns, channels = features.shape
    total = np.zeros((rows, columns))
    for channel in range(channels):
        weight = sum(gradients[i, j, channel] for i in range(rows) for j in range(columns)) / (rows * columns)
        total += weight * features[..., channel]
    return np.maximum(total, 0)


def naive_grad_cam_plus_plus(features: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Equations 5, 7 and 19 of arXiv 1710.11063, number by number."""
    rows, columns, channels = features.shape
    total = np.zeros((rows, columns))
    for channel in range(channels):
        weight, mass = 0.0, sum(features[a, b, channel] for a in range(rows) for b in range(columns))
        for i in range(rows):
            for j in range(columns):
                g = gradients[i, j, channel]
                denominator = 2 * g**2 + mass * g**3
                share = g**2 / denominator if denominator else 0.0
                weight += share * max(g, 0.0)
        total += weight * features[..., channel]
    return np.maximum(total, 0)


@pytest.mark.parametrize(
    ("method", "naive"), [(grad_cam, naive_grad_cam), (grad_cam_plus_plus, naive_grad_cam_plus_plus)]
)
@pytest.mark.parametrize("level", [0, 1, -1])
def test_a_map_is_its_definition_at_every_level(nest: Any, images: Tensor, method: Any, naive: Any, level: int) -> None:
    images, model = images.double(), nest.double()
    maps = method(model, images, [4, 7], level=level)
    levels = model.levels(images)
    logits = model.classify(levels[-1])
    for rank, chosen in enumerate((4, 7)):
        (gradient,) = torch.autograd.grad(logits[:, chosen].sum(), levels[level], retain_graph=True)
        for item in range(len(images)):
            expected = naive(levels[level][item].detach().numpy(), gradient[item].numpy())
            assert maps[item, rank] == pytest.approx(expected, rel=1e-4, abs=1e-5 * expected.max())
    nest.float()


def test_on_the_top_level_grad_cam_is_the_positive_part_of_cam_by_the_number_of_positions(
    nest: Any, images: Tensor
) -> None:
    exact = class_activation_map_batch(nest, images, range(10))
    assert grad_cam(nest, images, range(10)) * exact[0, 0].size == pytest.approx(exact.clip(0), abs=1e-4)


def test_on_the_last_features_of_a_resnet_grad_cam_is_the_positive_part_of_cam(resnet: Any, photos: Tensor) -> None:
    exact = class_activation_map_batch(resnet, photos, range(5))
    maps = grad_cam(resnet, photos, range(5))
    assert maps.shape == (2, 5, 2, 3)
    assert maps * 6 == pytest.approx(exact.clip(0), abs=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_the_last_features_of_timm_are_those_of_its_last_layer(resnet: Any, photos: Tensor, method: Any) -> None:
    assert np.array_equal(method(resnet, photos, 2), method(resnet, photos, 2, layer="layer4"))
    assert method(resnet, photos, 2, layer="layer2").shape == (2, 1, 8, 12)


@pytest.mark.parametrize("layer", ["filters", "positive", "deeper"])
def test_a_named_layer_is_explained_as_it_was_before_an_activation_in_place(layer: str) -> None:
    model = Bright()
    images = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(3))
    filtered = model.filters(images)
    positive = F.relu(filtered)
    deep = model.deeper(positive)
    features = {"filters": filtered, "positive": positive, "deeper": deep}[layer]
    (gradient,) = torch.autograd.grad(model.fc(deep.sin().mean((2, 3)))[:, 1].sum(), features)
    for item, (one,) in enumerate(grad_cam(model, images, 1, layer=layer)):
        arrays = [part[item].detach().movedim(0, -1).numpy() for part in (features, gradient)]
        assert one == pytest.approx(naive_grad_cam(*arrays), abs=1e-6)
    assert not model.filters._forward_hooks


@pytest.mark.parametrize(
    ("name", "side"), [("hiera_micro_32", 4), ("mvitv2_micro_32", 4), ("mvit_micro_32", 8), ("vit_micro_32", 8)]
)
@pytest.mark.parametrize("method", METHODS)
def test_every_family_is_mapped_class_by_class_on_the_last_map_that_the_logits_depend_on(
    name: str, side: int, method: Any
) -> None:
    torch.manual_seed(0)
    model: Any = create_model(name, num_classes=10)
    nn.init.normal_(model.head.weight, std=0.3)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    maps = method(model, images, top_k=3)
    assert maps.shape == (2, 3, side, side)
    assert maps.dtype == np.float32
    assert maps.min() >= 0
    assert np.isfinite(maps).all()
    best = model.eval()(images).argmax(1).tolist()
    for item, image in enumerate(images):
        assert method(model, image, best[item])[0, 0] == pytest.approx(maps[item, 0], rel=1e-3, abs=1e-5)


def test_channels_last_and_tokens_are_laid_out_as_the_model_says() -> None:
    import timm

    torch.manual_seed(0)
    photo = torch.randn(1, 3, 64, 64)
    swin = timm.create_model("swin_tiny_patch4_window7_224", img_size=64, window_size=2, num_classes=5).eval()
    exact = class_activation_map_batch(swin, photo, 1)
    assert grad_cam(swin, photo, 1) * exact[0, 0].size == pytest.approx(exact.clip(0), abs=1e-4)
    vit = timm.create_model("vit_tiny_patch16_224", img_size=(64, 96), num_classes=5, depth=2).eval()
    assert grad_cam(vit, torch.randn(1, 3, 64, 96), 1, layer="blocks.0").shape == (1, 1, 4, 6)


def test_a_model_in_training_is_left_as_it_was(images: Tensor) -> None:
    model = create_model("nest_micro_32", num_classes=10, in_channels=1, drop_path=0.5).train()
    first, second = (grad_cam(model, images, 3) for _ in range(2))
    assert np.array_equal(first, second)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_a_model_does_not_have_is_refused_with_a_sentence(nest: Any, images: Tensor, photos: Tensor) -> None:
    import timm

    vit = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=5, depth=1).eval()
    with pytest.raises(UserError, match="level must be from 0 to 2 for this Nest, got 3"):
        grad_cam(nest, images, level=3)
    with pytest.raises(UserError, match="level must be from 0 to 1 for this Mvit, got -1"):
        grad_cam(create_model("mvit_micro_32", in_channels=1), images, level=-1)
    with pytest.raises(UserError, match="by level"):
        grad_cam(nest, images, layer="norm")
    with pytest.raises(UserError, match="by layer"):
        grad_cam(vit, torch.zeros(1, 3, 32, 32), level=-1)
    with pytest.raises(UserError, match="no layer 'layer9'; its parts are patch_embed"):
        grad_cam(vit, torch.zeros(1, 3, 32, 32), layer="layer9")
    with pytest.raises(UserError, match="give the name of a layer"):
        grad_cam(Bright(), images)
    with pytest.raises(UserError, match="no map of positions"):
        grad_cam(Bright(), images, layer="fc")
    with pytest.raises(UserError, match="do not depend on the positions of the last features"):
        grad_cam(vit, torch.randn(1, 3, 32, 32))
    with pytest.raises(UserError, match="class index 10"):
        grad_cam_plus_plus(nest, images, 10)
