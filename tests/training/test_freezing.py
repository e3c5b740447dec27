"""Freezing: frozen weights and statistics stay as they are to the bit, and no gradient is computed for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import hvit
from hvit.data.open import FolderData
from hvit.errors import UserError
from hvit.models.weights.open import open_weights
from hvit.recipes import get_recipe
from hvit.training.freezing import count_trained, freeze
from hvit.verbs.train import plan, train

MODELS = {
    "nest_micro_32": {"drop_path": 0.2},
    "hiera_micro_32": {"drop_path": 0.2},
    "mvitv2_micro_32": {"drop_path": 0.2},
    "resnet_micro_32": {},
    "mae_hiera_micro_32": {},
}


@pytest.mark.parametrize("how", ["stem", "levels:1", "levels:2", "encoder"])
@pytest.mark.parametrize("name", MODELS)
def test_what_is_frozen_follows_the_layers(name: str, how: str) -> None:
    model = hvit.create_model(name, **MODELS[name])
    depths = getattr(model.config, "encoder", model.config).depths
    highest = {"stem": 0, "levels:1": depths[0], "levels:2": sum(depths[:2]), "encoder": sum(depths)}[how]
    parts = freeze(model, how)
    for parameter, tensor in model.named_parameters():
        assert tensor.requires_grad == (model.level_of(parameter) > highest)
    assert 0 < count_trained(model) < sum(one.numel() for one in model.parameters())
    assert parts
    assert all(not tensor.requires_grad for part in parts for tensor in part.parameters())


def test_nothing_is_frozen_by_default_and_what_cannot_be_is_refused() -> None:
    model = hvit.create_model("nest_micro_32")
    assert freeze(model, "none") == ()
    assert all(one.requires_grad for one in model.parameters())
    with pytest.raises(UserError, match="at most levels:3"):
        freeze(model, "levels:4")
    with pytest.raises(UserError, match="no levels"):
        freeze(nn.Linear(2, 2), "stem")
    for wrong in ("levels:0", "levels", "head", "levels:-1", ""):
        with pytest.raises(UserError, match=r"optimize\.freeze must be"):
            replace(get_recipe("nest_micro_folder").optimize, freeze=wrong)


def test_a_run_trains_the_rest_and_nothing_else(photo_folder: Path, tmp_path: Path) -> None:
    recipe = get_recipe("nest_micro_folder")
    small = hvit.create_model("resnet_micro_32", num_classes=2, input_size=16)
    hvit.save_weights(small, tmp_path / "start.safetensors")
    recipe = replace(
        recipe, model=replace(small.config, num_classes=None), data=FolderData(root=str(photo_folder)),
        weights=str(tmp_path / "start.safetensors"),
        optimize=replace(recipe.optimize, freeze="levels:2", warmup_epochs=0),
        loop=replace(recipe.loop, epochs=1, batch_size=4, workers=0, device="cpu"),
    )  # fmt: skip
    trained = sum(value.numel() for name, value in small.named_parameters() if small.level_of(name) > 4)
    assert plan(recipe)["frozen"].startswith(f"levels:2: {trained:,} of ")
    train(recipe, tmp_path / "run")
    before, after = small.state_dict(), open_weights(tmp_path / "run").model.state_dict()
    below = ("network.conv1", "network.bn1", "network.layer1", "network.layer2")
    for name, tensor in before.items():
        if name.startswith(below):  # the statistics of batch norms, too
            assert torch.equal(tensor, after[name]), name
    assert not torch.equal(before["network.layer3.0.conv1.weight"], after["network.layer3.0.conv1.weight"])
    assert not torch.equal(before["network.fc.weight"], after["network.fc.weight"])


def test_no_gradient_is_computed_below_what_is_trained() -> None:
    model = hvit.create_model("hiera_micro_32", num_classes=2).train()
    freeze(model, "encoder")
    levels = model.levels(torch.randn(2, 3, 32, 32))
    assert not any(level.requires_grad for level in levels)
    model.classify(levels[-1]).sum().backward()
    assert {name for name, one in model.named_parameters() if one.grad is not None} == {
        "norm.weight", "norm.bias", "head.weight", "head.bias",
    }  # fmt: skip
