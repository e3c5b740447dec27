"""Models of timm at sizes that timm does not name."""

from __future__ import annotations

import json

import pytest
import torch

from hvit.errors import UserError
from hvit.models.build import build, build_empty, count_parameters
from hvit.models.catalogue import config_from_json
from hvit.models.timm_baselines import BASELINES, baseline
from hvit.models.timm_encoder import TimmConfig
from hvit.models.timm_sizes import read_settings

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


def test_settings_travel_with_a_recipe_and_hold_sizes_only() -> None:
    config = baseline("swin")
    assert isinstance(config, TimmConfig)
    fields = {name: getattr(config, name) for name in config.__dataclass_fields__}
    assert config_from_json(json.dumps({"config": fields})) == config
    assert read_settings('{"depths": [1, 2]}') == {"depths": (1, 2)}
    for text, sentence in (
        ('{"checkpoint_path": "x"}', "no 'checkpoint_path'"),
        ('{"pretrained": true}', "no 'pretrained'"),
        ('{"embed_dims": [32, "../x"]}', "takes a number"),
        ('{"embed_dim": 1e9}', "takes a number"),
        ("[1]", "JSON object"),
        ("{" * 5000, "JSON object"),
        ('{"w0": 24}', "timm cannot make"),
    ):
        with pytest.raises(UserError, match=sentence):
            TimmConfig(name="swin_tiny_patch4_window7_224", settings=text)
    with pytest.raises(UserError, match="none"):
        TimmConfig(name="resnet18", settings='{"shift": false}')
