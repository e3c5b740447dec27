"""Baselines of timm have the size of the micro models and train."""

from __future__ import annotations

import pytest
import torch

from hvit.models.build import build, build_empty, count_parameters
from hvit.models.timm_baselines import BASELINES, baseline

NUMBERS = {
    "swin": 567_046, "swin_no_shift": 567_046, "pvtv2": 605_642, "regnety": 554_528, "deit": 571_402,
    "vit_patch2": 586_186, "wide_resnet": 620_714,
}  # fmt: skip


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_have_about_as_many_parameters_as_the_micro_models_and_train(name: str) -> None:
    config = baseline(name)
    assert count_parameters(build_empty(config)) == NUMBERS[name] == pytest.approx(568_266, rel=0.1)
    model = build(config)
    logits = model(torch.randn(2, 3, *config.input_size))
    assert logits.shape == (2, 10)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_without_shift_windows_never_exchange_anything_and_with_it_they_do() -> None:
    for name, reaches in (("swin", True), ("swin_no_shift", False)):
        torch.manual_seed(0)
        model = build(baseline(name)).eval()
        images = torch.randn(1, 3, 32, 32, requires_grad=True)
        first = model.levels(images)[0][:, :4, :4]  # a window of 4 x 4 tokens, over 8 x 8 pixels
        (gradient,) = torch.autograd.grad((first * torch.randn_like(first)).sum(), images)
        gradient[..., :8, :8] = 0
        assert bool(gradient.abs().max() > 0) == reaches
