"""A pretended step keeps what a real one keeps, and what is kept between steps is what a real optimizer has."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from hvit.models.layers import linear
from hvit.models.layers.attention import attention_kernel
from hvit.planning.step import StepBytes, kept_bytes, pretended_step, real_step
from hvit.recipe import Recipe
from hvit.recipes import get_recipe
from hvit.runs.kinds import kind_of_run
from hvit.tasks.task import Task
from hvit.training.average import RunningAverage
from hvit.training.freezing import freeze
from hvit.training.optimize import make_optimizer

IMAGES = 4
FAMILIES = [
    "nest_micro_digits",
    "mvitv2_micro_cifar10",
    "hiera_micro_digits",
    "hiera_micro_mae_cifar10",
    "mvitv2_micro_maskfeat_cifar10",
    pytest.param("conv_gan_digits_32", marks=pytest.mark.long),
    pytest.param("nest_gan_digits_32", marks=pytest.mark.long),
]


def small(name: str) -> Recipe:
    """A recipe with one layer a level."""
    recipe = get_recipe(name)
    model = recipe.model
    encoder = getattr(model, "encoder", model)
    if "gan" not in name:
        encoder = replace(encoder, depths=(1,) * len(encoder.depths))
    return replace(recipe, model=replace(model, encoder=encoder) if hasattr(model, "encoder") else encoder)


def real_task(recipe: Recipe) -> Task:
    kind = kind_of_run(recipe)
    built = kind.build(recipe)
    for network in (built,) if isinstance(built, nn.Module) else built:
        freeze(network.train(), recipe.optimize.always_frozen)
    return kind.bare_task(recipe, built)


def really_saved(recipe: Recipe) -> int:
    """Bytes that torch's own hooks see saved for the backward pass, the most of any phase."""
    task, config = real_task(recipe), recipe.model
    batch = {"images": torch.randn(IMAGES, config.in_channels, *config.input_size)}
    batch["targets"] = torch.zeros(IMAGES, dtype=torch.long)
    there = [one for network in task.networks.values() for one in (*network.parameters(), *network.buffers())]
    own = {one.untyped_storage()._cdata for one in (*there, *batch.values())}
    found = []
    for phase in task.phases:
        kept: dict[int, torch.UntypedStorage] = {}

        def keep(tensor: torch.Tensor, kept: dict[int, torch.UntypedStorage] = kept) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in own:
                kept[storage._cdata] = storage
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = task.loss(phase, task.networks, batch)
        found.append(sum(storage.nbytes() for storage in kept.values()))
        del loss
    return max(found)


@pytest.fixture
def as_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what layers do on a CPU alone: oneDNN's MLP keeps less."""
    monkeypatch.setattr(linear, "has_onednn", lambda: False)


@pytest.mark.usefixtures("as_a_gpu")
@pytest.mark.parametrize("name", FAMILIES)
def test_a_pretended_step_saves_what_a_real_step_saves(name: str) -> None:
    recipe = small(name)
    kind = kind_of_run(recipe)
    pretended = pretended_step(recipe, kind, IMAGES, low=False)
    with attention_kernel("fused"):
        assert pretended.saved == pytest.approx(really_saved(recipe), rel=0.01)
        real = real_step(recipe, kind, IMAGES)
    assert pretended.saved == pytest.approx(real.saved, rel=0.015)
    assert pretended.peak == pytest.approx(real.peak, rel=0.015)
    assert pretended.multiply_adds == real.multiply_adds
    assert pretended.casts == 0


def test_in_bfloat16_a_step_takes_less_but_keeps_the_weights_it_has_cast() -> None:
    recipe = small("hiera_micro_digits")
    kind = kind_of_run(recipe)
    full, low = (pretended_step(recipe, kind, 64, low=low) for low in (False, True))
    assert 0.5 < (low.saved - low.casts) / full.saved < 0.75
    assert 0.9 < low.casts / (kept_bytes(recipe, kind).weights / 2) < 1
    assert low.multiply_adds == full.multiply_adds


def test_checkpointed_blocks_save_their_inputs_only_and_are_computed_twice() -> None:
    recipe = small("nest_micro_digits")
    kind = kind_of_run(recipe)
    usual = pretended_step(recipe, kind, IMAGES, low=True)
    forgetful = replace(recipe, loop=replace(recipe.loop, checkpoint_activations=True))
    found = pretended_step(forgetful, kind, IMAGES, low=True)
    assert found.saved - found.casts < 0.4 * (usual.saved - usual.casts)
    assert found.saved < found.peak < usual.peak
    assert 1.1 < found.multiply_adds / usual.multiply_adds < 1.35


def test_gradients_of_earlier_parts_are_there_while_later_ones_are_computed() -> None:
    recipe = small("nest_micro_digits")
    kind, gradients = kind_of_run(recipe), kept_bytes(recipe, kind_of_run(recipe)).gradients
    one = pretended_step(recipe, kind, IMAGES, low=False)
    several = pretended_step(replace(recipe, loop=replace(recipe.loop, accumulate=2)), kind, IMAGES, low=False)
    assert several.saved == one.saved
    assert one.peak < several.peak <= one.peak + 2 * gradients


@pytest.mark.parametrize("name", ["nest_micro_digits", "hiera_micro_mae_cifar10", "nest_gan_digits_32"])
@pytest.mark.parametrize(("method", "frozen"), [("adamw", "none"), ("sgd", "stem")])
def test_what_is_kept_between_steps_is_what_real_networks_optimizers_and_averages_have(
    name: str, method: str, frozen: str
) -> None:
    recipe = small(name)
    if "gan" in name:
        frozen = "none"
    change = {"method": method, "freeze": frozen, "average_decay": 0.99}
    recipe = replace(recipe, optimize=replace(recipe.optimize, **change))
    kept, task = kept_bytes(recipe, kind_of_run(recipe)), real_task(recipe)
    state = average = gradients = 0
    for key, network in task.networks.items():
        optimizer = make_optimizer(network, recipe.optimize)
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
            gradients += parameter.grad.nbytes if parameter.grad is not None else 0
        optimizer.step()
        state += sum(value.nbytes for one in optimizer.state.values() for value in one.values()
                     if isinstance(value, torch.Tensor) and value.ndim)  # fmt: skip
        if key in (task.averaged or task.networks):
            module = RunningAverage(network, 0.99).module
            average += sum(one.nbytes for one in (*module.parameters(), *module.buffers()))
    held = [one for network in task.networks.values() for one in (*network.parameters(), *network.buffers())]
    assert kept.weights == sum(one.nbytes for one in held)
    assert (kept.gradients, kept.optimizer, kept.average) == (gradients, state, average)
    assert sum(kept.units) == sum(one.numel() for one in held if isinstance(one, nn.Parameter))
    assert kept.checkpoint == kept.weights + state + average


def test_memory_grows_with_the_images_in_a_straight_line() -> None:
    recipe = small("hiera_micro_mae_cifar10")
    kind = kind_of_run(recipe)
    found: list[StepBytes] = [pretended_step(recipe, kind, images, low=True) for images in (32, 64, 96)]
    assert found[2].saved - found[1].saved == pytest.approx(found[1].saved - found[0].saved, rel=0.001)
