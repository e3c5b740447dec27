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
from hvit.models.timm_encoder import TimmConfig, TimmEncoder
from hvit.models.weights.open import open_weights
from hvit.recipes import get_recipe
from hvit.tasks.classify import Classify
from hvit.training.distribute import Processes
from hvit.training.freezing import count_trained, freeze, highest_frozen
from hvit.training.loop import Trainer
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig, Schedule
from hvit.verbs.train import plan, train
from tests.training.line import trainer_of

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
    with pytest.raises(UserError, match="at most layers:"):
        freeze(model, "layers:99")
    with pytest.raises(UserError, match="no levels"):
        freeze(nn.Linear(2, 2), "stem")
    with pytest.raises(UserError, match=r"optimize\.unfreeze_epochs 2 releases what optimize\.freeze holds"):
        replace(get_recipe("nest_micro_folder").optimize, unfreeze_epochs=2)
    for wrong in ("levels:0", "levels", "head", "levels:-1", "", "layers:x"):
        with pytest.raises(UserError, match=r"optimize\.freeze must be"):
            replace(get_recipe("nest_micro_folder").optimize, freeze=wrong)


@pytest.mark.long
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


def test_the_last_blocks_of_a_model_of_timm_are_trained_alone_and_its_head_is_never_frozen() -> None:
    with torch.device("meta"):
        model = TimmEncoder(TimmConfig(name="resnet18", input_size=(32, 32), num_classes=2))
    freeze(model, "layers:7")
    trained = {name.split(".")[1] for name, one in model.named_parameters() if one.requires_grad}
    assert trained == {"layer4", "fc"}
    freeze(model, "levels:1")
    assert {name.split(".")[1] for name, one in model.named_parameters() if one.requires_grad} == {"fc"}
    assert highest_frozen(model, "layers:2") == (2, 1, 0, -1)


def test_layers_are_released_from_the_top_one_level_after_another() -> None:
    model = hvit.create_model("hiera_micro_32", num_classes=2)
    first, second = model.config.depths[:2]
    assert highest_frozen(model, "levels:2") == (first + second, first, 0, -1)
    assert highest_frozen(model, "encoder")[0] == sum(model.config.depths)
    for released, highest in enumerate(highest_frozen(model, "levels:2")):
        frozen = freeze(model, "levels:2", released)
        assert all(one.requires_grad == (model.level_of(name) > highest) for name, one in model.named_parameters())
        assert bool(frozen) == (highest >= 0)


def unfreezing(folder: Path, stop_at: int = -1, seen: list[dict[str, torch.Tensor]] | None = None) -> Trainer:
    """Ten steps of a small ResNet whose levels are released after every second one; seen: its state before each."""
    torch.manual_seed(0)
    model = hvit.create_model("resnet_micro_32", num_classes=2, input_size=16)

    def make(step: int) -> dict[str, torch.Tensor]:
        if seen is not None and step < 1000:
            seen.append({name: value.clone() for name, value in model.state_dict().items()})
        random = torch.Generator().manual_seed(step)
        return {"images": torch.randn(4, 3, 16, 16, generator=random), "targets": torch.tensor([0, 1, 0, 1])}

    optimize = OptimizeConfig(
        learning_rate_per_256=0.3, warmup_epochs=0, freeze="levels:2", unfreeze_epochs=0.4, average_decay=0.9
    )
    loop = LoopConfig(epochs=2, batch_size=4, evaluate_every=2)
    return trainer_of(Classify(model, ("a", "b"), {}), make, folder, loop, optimize, stop_at)


def test_levels_are_released_at_their_steps_with_their_statistics(tmp_path: Path) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    unfreezing(tmp_path, seen=seen).run()
    parts = ("network.conv1.weight", "network.bn1.running_mean", "network.layer1.0.bn1.running_mean",
             "network.layer1.0.conv1.weight", "network.layer2.0.bn1.running_var", "network.layer2.0.conv1.weight",
             "network.layer3.0.conv1.weight")  # fmt: skip
    first_change = {
        part: next(step for step, state in enumerate(seen) if not torch.equal(state[part], seen[0][part])) - 1
        for part in parts
    }
    assert list(first_change.values()) == [6, 6, 4, 4, 2, 2, 0]


@pytest.mark.long
@pytest.mark.parametrize("stop_at", [1, 3, 8])
def test_gradual_unfreezing_resumes_bit_for_bit(tmp_path: Path, stop_at: int) -> None:
    whole = unfreezing(tmp_path / "whole")
    whole.run()
    with pytest.raises(UserError, match="continues exactly"):
        unfreezing(tmp_path / "broken", stop_at).run()
    resumed = unfreezing(tmp_path / "broken")
    resumed.run()
    first, second = (one.state.networks["model"].state_dict() for one in (whole, resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)
    moments = [one.state.optimizers["model"].state_dict()["state"] for one in (whole, resumed)]
    steps = [sorted(int(one["step"]) for one in state.values()) for state in moments]
    assert steps[0] == steps[1]
    # Every weight's moments begin when it is released: 10, 8, 6 and 4 steps.
    assert sorted(set(steps[0])) == [4, 6, 8, 10]


def test_the_plan_says_when_levels_are_released_and_several_processes_are_refused(photo_folder: Path) -> None:
    recipe = get_recipe("nest_micro_folder")
    recipe = replace(
        recipe, data=FolderData(root=str(photo_folder)),
        optimize=replace(recipe.optimize, freeze="encoder", unfreeze_epochs=1, warmup_epochs=0),
        loop=replace(recipe.loop, epochs=3, batch_size=4, workers=0, device="cpu"),
    )  # fmt: skip
    assert plan(recipe)["unfrozen"] == (
        "one level more, from the top, the stem last, from step 2, 4 on; 2 of 4 stay frozen, because the run ends "
        "before"
    )
    with pytest.raises(UserError, match="start it without torchrun"):
        Schedule.of(recipe.loop, recipe.optimize, 3, Processes(0, 2, torch.device("cpu")))
