"""Generator and discriminator have the published losses, learn in their phases, and are evaluated on real images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from hvit.errors import UserError
from hvit.metrics.frechet import FeatureStatistics
from hvit.randomness import Share, drawing_for, places_of
from hvit.tasks.adversarial import augment, discriminator_loss, generator_loss, r1_penalty
from hvit.tasks.extractors import pixel_extractor
from hvit.tasks.task import Before, join
from tests.tasks.small_gan import (
    GAME,
    GAMES,
    Copies,
    gradients,
    make,
    make_batch,
    signed,
    trainer,
)


def test_the_lazy_penalty_counts_for_all_steps_between() -> None:
    task, batch = make(), make_batch()
    discriminate, penalise, generate = task.phases
    assert [phase.name for phase in task.phases] == ["discriminate", "penalise", "generate"]
    assert (discriminate.every, penalise.every, generate.every) == (1, 4, 1)
    images = signed(batch).requires_grad_()
    once = r1_penalty(task.networks["discriminator"](images), images).item()
    assert task.loss(penalise, task.networks, batch).item() == pytest.approx(3.0 * 4 * once, rel=1e-5)
    assert [phase.name for phase in make(replace(GAME, r1_weight=0.0)).phases] == ["discriminate", "generate"]


@pytest.mark.parametrize("name", GAMES)
def test_a_phase_gives_every_weight_of_its_own_network_a_gradient_and_no_other(name: str) -> None:
    task, batch = make(GAMES[name]), make_batch()
    for phase in task.phases:
        for network in task.networks.values():
            network.train().zero_grad()
        task.loss(phase, task.networks, batch).backward()
        own = task.networks[phase.network]
        (other,) = (network for key, network in task.networks.items() if key != phase.network)
        assert all(gradient is not None for gradient in gradients(own)), phase
        assert any(gradient.abs().max() > 0 for gradient in gradients(own) if gradient is not None)
        assert all(gradient is None for gradient in gradients(other)), phase
        assert all(parameter.requires_grad for parameter in other.parameters())


@pytest.mark.parametrize("loss", ["logistic", "hinge"])
def test_the_phases_play_against_each_other_with_these_losses(loss: Any) -> None:
    task, batch = make(replace(GAME, loss=loss)), make_batch()
    generator, discriminator = task.networks["generator"], task.networks["discriminator"]
    torch.manual_seed(5)
    found = task.loss(task.phases[0], task.networks, batch)
    torch.manual_seed(5)
    made = generator(torch.randn(8, 6))
    expected = discriminator_loss(discriminator(signed(batch)), discriminator(made), loss)
    torch.testing.assert_close(found, expected)
    torch.manual_seed(5)
    found = task.loss(task.phases[-1], task.networks, batch)
    torch.testing.assert_close(found, generator_loss(discriminator(made), loss))


def test_consistency_is_the_squared_change_of_logits_of_real_and_of_made_images() -> None:
    config = replace(GAME, consistency=2.0, consistency_augment=("translation",))
    task, batch = make(config), make_batch()
    torch.manual_seed(5)
    found = task.loss(task.phases[0], task.networks, batch)
    torch.manual_seed(5)
    made = task.networks["generator"](torch.randn(8, 6))
    both = torch.cat([signed(batch), made])
    rival = task.networks["discriminator"]
    change = (rival(both) - rival(augment(both, ("translation",)))).square()
    real, fake = rival(both).chunk(2)
    expected = discriminator_loss(real, fake, "logistic") + 2.0 * (change[:8].mean() + change[8:].mean())
    torch.testing.assert_close(found, expected)
    assert change.mean() > 1e-6


def test_with_diff_augment_the_discriminator_never_sees_an_image_as_it_is() -> None:
    task, batch = make(replace(GAME, diff_augment=("cutout",))), make_batch()
    seen: list[Tensor] = []
    task.networks["discriminator"].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    for phase in task.phases:
        task.loss(phase, task.networks, batch)
    assert [len(images) for images in seen] == [16, 8, 8]
    for images in seen:
        assert ((images == 0).sum(dim=(1, 2, 3)) >= 4).all()


def test_r1_and_scores_are_in_float32_under_autocast() -> None:
    task, batch = make(), make_batch()
    for network in task.networks.values():
        network.eval()
    penalty, scores = task.loss(task.phases[1], task.networks, batch), task.evaluate(task.networks, [batch])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(task.loss(task.phases[1], task.networks, batch), penalty)
        assert task.evaluate(task.networks, [batch]) == scores
        for phase in task.phases:
            loss = task.loss(phase, task.networks, batch)
            assert loss.dtype == torch.float32
            loss.backward()


def test_made_images_have_the_labels_of_the_real_ones() -> None:
    task, batch = make(GAMES["sagan"]), make_batch()
    for network in task.networks.values():
        network.eval()
    shares = {"images": batch["images"], "targets": torch.eye(3)[batch["targets"]] * 0.8 + 0.05}
    wrong = {"images": batch["images"], "targets": (batch["targets"] + 1) % 3}
    for phase in task.phases:
        losses = []
        for one in (batch, shares, wrong):
            torch.manual_seed(1)
            losses.append(task.loss(phase, task.networks, one).item())
        assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("name", ["plain", "all on"])
def test_several_processes_would_average_the_gradients_of_every_phase(name: str, tmp_path: Path) -> None:
    """One process in DDP's clothes: it refuses passes after which a weight waits for a gradient."""
    batch, found = make_batch(), []
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1)
    try:
        for wrap in (lambda network: network, DistributedDataParallel):
            task = make(GAMES[name])
            networks = {key: wrap(network) for key, network in task.networks.items()}
            torch.manual_seed(9)
            for phase in task.phases * 2:
                for network in task.networks.values():
                    network.zero_grad()
                task.loss(phase, networks, batch).backward()
                found.append(gradients(task.networks[phase.network]))
    finally:
        torch.distributed.destroy_process_group()
    half = len(found) // 2
    for plain, wrapped in zip(found[:half], found[half:], strict=True):
        for one, other in zip(plain, wrapped, strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", ["all on", "sagan"])
def test_a_stopped_and_resumed_game_equals_an_unbroken_one_bit_for_bit(tmp_path: Path, name: str) -> None:
    whole = trainer(tmp_path / "whole", name, 6)
    scores = whole.run()
    with pytest.raises(UserError, match="continues exactly from step 3"):
        trainer(tmp_path / "broken", name, 4).run()
    resumed = trainer(tmp_path / "broken", name, 6)
    again = resumed.run()
    assert again == scores
    for key, network in whole.state.networks.items():
        for ours, theirs in zip(
            network.state_dict().values(), resumed.state.networks[key].state_dict().values(), strict=True
        ):
            assert torch.equal(ours, theirs)


def test_the_generator_alone_is_averaged_and_the_discriminator_learns_at_its_own_rate(tmp_path: Path) -> None:
    one = trainer(tmp_path, "plain", 6)
    one.task = make(replace(GAME, discriminator_rate=4.0))
    one.train_step(make_batch(0))
    rates = {name: optimizer.param_groups[0]["lr"] for name, optimizer in one.state.optimizers.items()}
    assert rates["discriminator"] == pytest.approx(4 * rates["generator"])
    assert rates["generator"] == pytest.approx(one.settings.schedule.learning_rate(0))
    assert one.state.averages.keys() == {"generator"}
    assert {phase.rate for phase in make().phases} == {1.0}


def test_latents_and_augmentations_belong_to_the_places_of_samples_in_the_whole_batch() -> None:
    """Those of generated images, which follow the real ones in a pass of the discriminator, too."""
    batch, kinds = make_batch(), ("color", "translation", "cutout")

    def drawn(share: Share) -> tuple[torch.Tensor, ...]:
        torch.manual_seed(3)
        task, images = make(), batch["images"][share.places]
        with drawing_for(share):
            latents = task._latents(images)
            return latents, *augment(torch.cat([images, -images]), kinds).chunk(2), task._latents(images)

    whole = drawn(Share(torch.arange(8), 8))
    for rank in range(2):
        places = places_of(8, rank, 2)
        for everything, some in zip(whole, drawn(Share(places, 8)), strict=True):
            assert torch.equal(everything[places], some)
    assert not torch.equal(whole[0], whole[-1])


def test_parts_of_a_batch_give_the_gradient_of_the_whole(tmp_path: Path) -> None:
    one, batch = trainer(tmp_path, "plain", 6, accumulate=2), make_batch(0)
    halves = [{name: value[part] for name, value in batch.items()} for part in (slice(4), slice(4, 8))]
    for phase in one.task.phases:
        torch.manual_seed(4)
        one.collect_gradients(phase, halves)
        together = gradients(one.state.networks[phase.network])
        torch.manual_seed(4)
        one.collect_gradients(phase, [batch])
        for parts, whole in zip(together, gradients(one.state.networks[phase.network]), strict=True):
            assert parts is not None
            torch.testing.assert_close(parts, whole)


def test_the_generator_moves_towards_the_real_images() -> None:
    """A set of one dark image: made ones become dark."""
    task = make(replace(GAME, r1_weight=0.1))
    optimizers = {
        name: torch.optim.Adam(network.parameters(), lr=2e-2, betas=(0.0, 0.99))
        for name, network in task.networks.items()
    }
    batch = {"images": torch.full((8, 1, 8, 8), (0.1 - 0.4) / 0.2), "targets": torch.zeros(8)}
    latents = torch.randn(16, 6)
    generator = task.networks["generator"]
    before = generator(latents).mean().item()
    torch.manual_seed(0)
    for step in range(24):
        for phase in task.phases:
            if step % phase.every == 0:
                for network in task.networks.values():
                    network.zero_grad()
                task.loss(phase, task.networks, batch).backward()
                optimizers[phase.network].step()
    after = generator(latents).mean().item()
    assert after < before - 0.2


def test_copies_of_the_real_images_are_perfect_and_one_image_is_a_collapse() -> None:
    batches = [make_batch(100, 20), make_batch(101, 12)]
    task = make()
    images = torch.cat([signed(batch) for batch in batches])
    rival = task.networks["discriminator"]
    scores = task.evaluate({"generator": Copies(images), "discriminator": rival}, batches)
    assert scores["distance"] == pytest.approx(0, abs=1e-9)
    assert scores["negative_distance"] == -scores["distance"]
    assert scores["precision"] == scores["recall"] == 1.0
    assert scores["diversity"] == pytest.approx(1)
    assert scores["distinctness"] == pytest.approx(1)
    assert not scores["collapsed"]
    assert "warning" not in scores
    assert scores["distance_of_halves"] > 0
    same = task.evaluate({"generator": Copies(images, same=True), "discriminator": rival}, batches)
    assert same["collapsed"]
    assert "nearly all alike" in same["warning"]
    assert same["distance"] > 0.1
    assert same["recall"] < 0.5


def test_evaluations_are_equal_whatever_was_drawn_before_and_say_what_they_are() -> None:
    task, batches = make(), [make_batch(100), make_batch(101, 5)]
    for network in task.networks.values():
        network.eval()
    first = task.evaluate(task.networks, batches)
    torch.rand(3)
    assert task.evaluate(task.networks, batches) == first
    assert first["count"] == first["reference_count"] == 13
    assert first["measure"] == "Frechet distance in 4x4 pixel features"
    assert first["split"] == "held out"
    assert task.score in first
    assert first["loss"] > 0
    with pytest.raises(UserError, match="two held-out"):
        make().evaluate(task.networks, [make_batch(0, 1)])


def test_the_outputs_of_parts_of_a_set_are_those_of_the_whole() -> None:
    """Up to as many images as are compared; those of a process that has only later ones are nothing."""
    batches = [make_batch(number) for number in range(4)]
    for compared in (1000, 16):
        game = replace(GAMES["sagan"], compared=compared)
        found = []
        for cuts in ([], [1], [1, 2], [2, 3]):
            task = make(game)
            for network in task.networks.values():
                network.eval()
            ends = zip([0, *cuts], [*cuts, 4], strict=True)
            parts = []
            for first, last in ends:
                task.real_is_seen = False  # as in a process of its own
                parts.append(task.outputs(task.networks, batches[first:last], Before(first, 8 * first)))
            found.append(join(parts))
        assert len(found[0]["generated"]) == min(compared, 32)
        for other in found[1:]:
            assert all(torch.equal(other[name], found[0][name]) for name in found[0])


def test_an_evaluation_settles_batch_norm_and_changes_nothing_that_is_trained_on() -> None:
    batch, losses = make_batch(), []
    for evaluates in (False, True):
        task = make(GAMES["sagan"])
        generator = task.networks["generator"]
        if evaluates:
            generator.get_buffer("norm.running_mean").fill_(50.0)
            for network in task.networks.values():
                network.eval()
            task.evaluate(task.networks, [batch])
            assert generator.get_buffer("norm.running_mean").abs().max() < 5
        for phase in task.phases:
            for network in task.networks.values():
                network.train()
            torch.manual_seed(2)
            losses.append(task.loss(phase, task.networks, batch).item())
    assert losses[:3] == losses[3:]


def test_the_distance_is_from_the_reference_where_one_is_given() -> None:
    source = pixel_extractor(4).source
    reference = FeatureStatistics.of(np.random.default_rng(0).normal(size=(50, 16)), source, "training")
    task, batches = make(reference=reference), [make_batch(100, 12)]
    scores = task.evaluate(task.networks, batches)
    assert (scores["split"], scores["reference_count"]) == ("training", 50)
    held_out = make().evaluate(task.networks, batches)
    assert held_out["distance"] != pytest.approx(scores["distance"])
    assert held_out["precision"] == scores["precision"]
    other = replace(reference, source=replace(source, name="others"))
    with pytest.raises(UserError, match="others"):
        make(reference=other).evaluate(task.networks, batches)


def test_samples_are_told_of_before_they_are_no_numbers() -> None:
    task = make()
    with torch.no_grad():
        next(task.networks["generator"].parameters()).fill_(float("nan"))
    with pytest.raises(UserError, match="diverged"):
        task.evaluate(task.networks, [make_batch()])
