"""The losses of generator and discriminator are the published ones; augmentation is differentiable."""

from __future__ import annotations

import math

import pytest
import torch
import torch.distributed

from hvit.models.gan.config import build_discriminator
from hvit.tasks.adversarial import augment, discriminator_loss, generator_loss, r1_penalty
from tests.tasks.small_gan import (
    RESIDUAL,
    SAGAN,
)


def test_losses_are_the_published_formulas() -> None:
    real, made = torch.tensor([2.0, -0.5]), torch.tensor([0.3, -3.0])
    logistic = sum(math.log(1 + math.exp(-x)) / 2 for x in (2.0, -0.5))
    logistic += sum(math.log(1 + math.exp(x)) / 2 for x in (0.3, -3.0))
    assert discriminator_loss(real, made, "logistic").item() == pytest.approx(logistic, rel=1e-5)
    assert discriminator_loss(real, made, "hinge").item() == pytest.approx((0 + 1.5) / 2 + (1.3 + 0) / 2)
    passing = sum(math.log(1 + math.exp(-x)) / 2 for x in (0.3, -3.0))
    assert generator_loss(made, "logistic").item() == pytest.approx(passing, rel=1e-5)
    assert generator_loss(made, "hinge").item() == pytest.approx((-0.3 + 3.0) / 2)


@pytest.mark.parametrize("config", [RESIDUAL, SAGAN])
def test_r1_is_the_squared_gradient_at_each_image_and_can_be_minimised(config) -> None:
    torch.manual_seed(0)
    discriminator = build_discriminator(config).eval()
    images = torch.randn(3, 1, 8, 8, requires_grad=True)
    penalty = r1_penalty(discriminator(images), images)
    squares = []
    for image in images.detach():
        one = image[None].requires_grad_()
        (gradient,) = torch.autograd.grad(discriminator(one)[0], one)
        squares.append(gradient.square().sum().item())
    assert penalty.item() == pytest.approx(sum(squares) / 3, rel=1e-4)
    penalty.backward()
    found = next(p.grad for p in discriminator.parameters() if p.grad is not None and p.ndim == 4)
    assert found.abs().max() > 0


def test_r1_of_a_linear_discriminator_is_the_square_of_its_weight() -> None:
    images = torch.randn(5, 1, 2, 2, requires_grad=True)
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    penalty = r1_penalty(images.flatten(1) @ weight, images)
    assert penalty.item() == pytest.approx(30)
    penalty.backward()
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, 2 * weight.detach())


def test_variations_do_what_they_are_called() -> None:
    torch.manual_seed(0)
    images = torch.rand(64, 3, 8, 8) + 1
    assert torch.equal(augment(images, ()), images)
    moved = augment(images, ("translation",))
    shifts = set()
    for before, after in zip(images, moved, strict=True):
        found = [
            (row, column)
            for row in (-1, 0, 1)
            for column in (-1, 0, 1)
            if torch.equal(after[:, max(-row, 0) : 8 - max(row, 0), max(-column, 0) : 8 - max(column, 0)],
                           before[:, max(row, 0) : 8 + min(row, 0), max(column, 0) : 8 + min(column, 0)])
        ]  # fmt: skip
        assert len(found) == 1
        assert int((after[0] == 0).sum()) == 64 - (8 - abs(found[0][0])) * (8 - abs(found[0][1]))
        shifts.add(found[0])
    assert len(shifts) == 9
    cut = augment(images, ("cutout",))
    assert torch.equal(cut[cut != 0], images[cut != 0])
    holes = (cut == 0).all(dim=1).sum(dim=(1, 2))
    assert holes.max() == 16
    assert holes.min() >= 4
    coloured = augment(images, ("color",))
    grey, before = coloured.mean(1), images.mean(1)
    contrast = (grey - grey.mean((1, 2), keepdim=True)).std((1, 2)) / before.std((1, 2))
    colour = (coloured - grey[:, None]).std((1, 2, 3)) / (images - before[:, None]).std((1, 2, 3)) / contrast
    assert colour.min() < 0.3
    assert 1.7 < colour.max() <= 2.0
    assert 0.5 <= contrast.min() < 0.7
    assert 1.3 < contrast.max() <= 1.5


def test_variations_let_gradients_through_and_follow_the_seed() -> None:
    images = torch.randn(4, 1, 8, 8, requires_grad=True)
    for variation in ("color", "translation", "cutout"):
        torch.manual_seed(3)
        augmented = augment(images, (variation,))
        torch.manual_seed(3)
        assert torch.equal(augment(images, (variation,)), augmented)
        assert not torch.equal(augment(images, (variation,)), augmented)
        (gradient,) = torch.autograd.grad(augmented.square().sum(), images)
        assert (gradient != 0).float().mean() > 0.5
