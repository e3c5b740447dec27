"""The game of generator and discriminator has the published losses, learns in its phases, and is judged honestly."""

from __future__ import annotations

import math
import os
import pickle
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed
from PIL import Image
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from hvit.data.preprocess import Preprocess
from hvit.errors import UserError
from hvit.metrics.frechet import FeatureStatistics
from hvit.models.build import build
from hvit.models.catalogue import change, entry
from hvit.models.gan.config import GanConfig, build_discriminator, build_generator
from hvit.models.gan.conv_generator import ConvolutionGeneratorConfig
from hvit.models.gan.discriminators import ResidualDiscriminatorConfig, SaganDiscriminatorConfig
from hvit.models.gan.generator import Generator
from hvit.models.gan.nest_generator import NestGeneratorConfig
from hvit.models.gan.sampling import generate_images, interpolate
from hvit.models.weights.save import save_weights
from hvit.snapshots.samples import draw_neighbours, lay_grid
from hvit.tasks.adversarial import discriminator_loss, generator_loss, r1_penalty, vary
from hvit.tasks.extractors import classifier_extractor, full_name, open_extractor, pixel_extractor
from hvit.tasks.generate import Generate
from hvit.tasks.memorisation import compare_with_training
from hvit.tasks.task import Batch
from hvit.training.distribute import Processes
from hvit.training.loop import Trainer
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig, Schedule
from hvit.training.setup import BatchSource, RunSettings

NEST = NestGeneratorConfig(
    output_size=(8, 8), out_channels=1, latent_dim=6, dims=(16, 8), heads=(2, 1), depths=(1, 1)
)  # fmt: skip
CONVOLUTION = ConvolutionGeneratorConfig(
    output_size=(8, 8), out_channels=1, latent_dim=6, dims=(8, 8), attention_side=8
)
RESIDUAL = ResidualDiscriminatorConfig(input_size=(8, 8), in_channels=1, dims=(4, 8))
SAGAN = SaganDiscriminatorConfig(input_size=(8, 8), in_channels=1, dims=(4, 8), attention_side=4)
GAME = GanConfig(NEST, RESIDUAL, r1_weight=3.0, r1_every=4)
ALL_ON = replace(GAME, consistency=2.0, diff_augment=("color", "translation", "cutout"))
GAMES = {
    "plain": GAME,
    "all on": ALL_ON,
    "sagan": GanConfig(CONVOLUTION, SAGAN, loss="hinge", r1_weight=1.0, conditional=True).with_classes(3),
}
PREPROCESS = Preprocess((8, 8), (0.4,), (0.2,), 1.0)


def make(config: GanConfig = GAME, **more: Any) -> Generate:
    torch.manual_seed(0)
    networks = build_generator(config.generator), build_discriminator(config.discriminator)
    classes = ("a", "b", "c") if config.num_classes else ()
    return Generate(*networks, config, PREPROCESS, pixel_extractor(4), classes, **more)


def make_batch(step: int = 0, size: int = 8) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(step)
    pixels = torch.rand(size, 1, 8, 8, generator=random)
    return {"images": (pixels - 0.4) / 0.2, "targets": torch.arange(size) % 3}


def signed(batch: Batch) -> Tensor:
    return (batch["images"] * 0.2 + 0.4) * 2 - 1


def gradients(network: nn.Module) -> list[Tensor | None]:
    return [None if parameter.grad is None else parameter.grad.clone() for parameter in network.parameters()]


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
    told = task.loss(task.phases[0], task.networks, batch)
    torch.manual_seed(5)
    made = generator(torch.randn(8, 6))
    expected = discriminator_loss(discriminator(signed(batch)), discriminator(made), loss)
    torch.testing.assert_close(told, expected)
    torch.manual_seed(5)
    told = task.loss(task.phases[-1], task.networks, batch)
    torch.testing.assert_close(told, generator_loss(discriminator(made), loss))


def test_consistency_is_the_squared_change_of_logits_of_real_and_of_made_images() -> None:
    config = replace(GAME, consistency=2.0, consistency_augment=("translation",))
    task, batch = make(config), make_batch()
    torch.manual_seed(5)
    told = task.loss(task.phases[0], task.networks, batch)
    torch.manual_seed(5)
    made = task.networks["generator"](torch.randn(8, 6))
    both = torch.cat([signed(batch), made])
    judge = task.networks["discriminator"]
    change = (judge(both) - judge(vary(both, ("translation",)))).square()
    real, fake = judge(both).chunk(2)
    expected = discriminator_loss(real, fake, "logistic") + 2.0 * (change[:8].mean() + change[8:].mean())
    torch.testing.assert_close(told, expected)
    assert change.mean() > 1e-6


def test_variations_do_what_they_are_called() -> None:
    torch.manual_seed(0)
    images = torch.rand(64, 3, 8, 8) + 1
    assert torch.equal(vary(images, ()), images)
    moved = vary(images, ("translation",))
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
    cut = vary(images, ("cutout",))
    assert torch.equal(cut[cut != 0], images[cut != 0])
    holes = (cut == 0).all(dim=1).sum(dim=(1, 2))
    assert holes.max() == 16
    assert holes.min() >= 4
    coloured = vary(images, ("color",))
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
        varied = vary(images, (variation,))
        torch.manual_seed(3)
        assert torch.equal(vary(images, (variation,)), varied)
        assert not torch.equal(vary(images, (variation,)), varied)
        (gradient,) = torch.autograd.grad(varied.square().sum(), images)
        assert (gradient != 0).float().mean() > 0.5


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


def trainer(folder: Path, name: str, steps: int, accumulate: int = 1) -> Trainer:
    folder.mkdir(exist_ok=True)
    loop = LoopConfig(epochs=1, batch_size=8, checkpoint_steps=3, accumulate=accumulate)
    optimize = OptimizeConfig(
        learning_rate_per_256=0.03, betas=(0.0, 0.99), weight_decay=0.0, warmup_epochs=0, average_decay=0.9
    )
    schedule = Schedule.of(loop, optimize, 6, Processes(0, 1, torch.device("cpu")))

    def batches(start: int) -> Iterator[Batch]:
        for step in range(start, steps):
            yield make_batch(step)

    def held_out() -> Iterable[Batch]:
        return [make_batch(100), make_batch(101, 4)]

    ranks = Processes(0, 1, torch.device("cpu"))
    settings = RunSettings(folder, loop, optimize, schedule, ranks, seed=7)
    return Trainer(make(GAMES[name]), BatchSource(batches, held_out), settings)


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


def test_two_processes_share_the_latents_that_one_would_draw() -> None:
    batch, found = make_batch(), []
    for rank, processes in ((0, 1), (0, 2), (1, 2)):
        task = make(place=(rank, processes))
        size = 8 // processes
        images = batch["images"][rank * size : (rank + 1) * size]
        drawn = []
        for step in range(2):
            torch.manual_seed(step if rank == 0 else 1000 + step)
            task.start_step(step)
            drawn += [task._latents(images), task._latents(images)]
        found.append(drawn)
    for one, first, second in zip(*found, strict=True):
        assert torch.equal(one, torch.cat([first, second]))
    assert not torch.equal(found[0][0], found[0][1])
    assert not torch.equal(found[0][0], found[0][2])


def test_parts_of_a_batch_give_the_gradient_of_their_mean(tmp_path: Path) -> None:
    one, batch = trainer(tmp_path, "plain", 6, accumulate=2), make_batch(0)
    halves = [{name: value[part] for name, value in batch.items()} for part in (slice(4), slice(4, 8))]
    for phase in one.task.phases:
        torch.manual_seed(4)
        one.collect_gradients(phase, halves)
        together = gradients(one.state.networks[phase.network])
        torch.manual_seed(4)
        apart = []
        for half in halves:
            one.collect_gradients(phase, [half])
            apart.append(gradients(one.state.networks[phase.network]))
        for whole, *parts in zip(together, *apart, strict=True):
            assert whole is not None
            torch.testing.assert_close(whole, torch.stack(parts).mean(0))


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


class Copies(Generator):
    """Paints images that it knows, the one whose number is in the latent's place; or one and the same."""

    def __init__(self, images: Tensor, same: bool = False) -> None:
        super().__init__(NEST)
        self.images, self.same = images, same
        self.weight = nn.Parameter(torch.zeros(1))
        self.painted = 0

    def generate(self, latents: Tensor) -> Tensor:
        if self.same:
            return self.images[:1].expand(len(latents), -1, -1, -1) + 1e-4 * latents[:, :1, None, None]
        self.painted += len(latents)
        return self.images[self.painted - len(latents) : self.painted]


def test_copies_of_the_real_images_are_perfect_and_one_image_is_a_collapse() -> None:
    batches = [make_batch(100, 20), make_batch(101, 12)]
    task = make()
    images = torch.cat([signed(batch) for batch in batches])
    judge = task.networks["discriminator"]
    scores = task.evaluate({"generator": Copies(images), "discriminator": judge}, batches)
    assert scores["distance"] == pytest.approx(0, abs=1e-9)
    assert scores["negative_distance"] == -scores["distance"]
    assert scores["precision"] == scores["recall"] == 1.0
    assert scores["diversity"] == pytest.approx(1)
    assert scores["distinctness"] == pytest.approx(1)
    assert not scores["collapsed"]
    assert "warning" not in scores
    assert scores["distance_of_halves"] > 0
    same = task.evaluate({"generator": Copies(images, same=True), "discriminator": judge}, batches)
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


def test_an_evaluation_settles_batch_norm_and_changes_nothing_that_is_learned_from() -> None:
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


@pytest.mark.parametrize("name", ["plain", "sagan"])
def test_samples_of_the_same_latents_are_kept_and_drawn_at_every_evaluation(tmp_path: Path, name: str) -> None:
    task = make(GAMES[name])
    columns = 3 if name == "sagan" else 8
    sizes = []
    for step in (0, 10, 20):
        task.save(tmp_path, task.networks, step)
        with Image.open(tmp_path / "pictures" / "samples_over_time.png") as picture:
            sizes.append(picture.height)
        if step == 0:
            first = (tmp_path / "samples" / "step_000000000.png").read_bytes()
            with torch.no_grad():
                next(iter(task.networks["generator"].parameters())).mul_(-1.0)
    assert sizes[0] < sizes[1] < sizes[2]
    grids = sorted((tmp_path / "samples").iterdir())
    assert [path.name for path in grids] == [f"step_{step:09d}.png" for step in (0, 10, 20)]
    assert grids[0].read_bytes() == first != grids[1].read_bytes() == grids[2].read_bytes()
    with Image.open(grids[0]) as grid:
        assert grid.size == (columns * 8, 8 * 8)
    with Image.open(tmp_path / "pictures" / "interpolation.png") as picture:
        assert picture.size == (8 * 66 - 2, 8 * 66 - 2), "two pixels between images"
    assert (tmp_path / "weights.safetensors").exists()
    assert (tmp_path / "pictures" / "samples.png").exists()


def test_a_walk_keeps_its_ends_and_its_length() -> None:
    torch.manual_seed(0)
    first, last = torch.randn(2, 6)
    last = last * first.norm() / last.norm()
    way = interpolate(first, last, 5)
    torch.testing.assert_close(way[0], first)
    torch.testing.assert_close(way[-1], last)
    torch.testing.assert_close(way.norm(dim=1), first.norm().expand(5))


def test_painting_in_parts_and_grids_keep_the_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    generator, latents = make().networks["generator"], torch.randn(5, 6)
    assert isinstance(generator, Generator)
    whole = generate_images(generator, latents)
    monkeypatch.setattr("hvit.models.gan.sampling._AT_ONCE", 2)
    torch.testing.assert_close(generate_images(generator, latents), whole)
    assert 0 <= whole.min() < whole.max() <= 1
    tiles = np.arange(5, dtype=np.uint8)[:, None, None, None].repeat(2, 1).repeat(3, 2)
    grid = lay_grid(tiles, 3)
    assert grid.shape == (4, 9, 1)
    assert grid[::2, ::3, 0].tolist() == [[0, 1, 2], [3, 4, 0]]
    draw_neighbours(whole[:3], whole[2:], [0.1, 0.2, 0.3], 0.25, tmp_path / "neighbours.png")
    assert (tmp_path / "neighbours.png").stat().st_size > 1000


def test_pixels_are_features_and_say_so() -> None:
    extractor = open_extractor("pixels")
    images = torch.rand(2, 3, 16, 16)
    expected = images.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5)).flatten(1)
    np.testing.assert_allclose(extractor.features(images), expected.numpy(), rtol=1e-5)
    assert extractor.source.measure == "Frechet distance in 8x8 pixel features"


def test_a_classifier_s_features_are_what_its_head_sees(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build(change(entry("nest_micro_32").config, dims=(8, 8, 8), heads=(1, 1, 1))).eval()  # pyright: ignore
    preprocess = Preprocess((32, 32), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), 1.0)
    extractor = classifier_extractor(model, preprocess, "small")
    images = torch.rand(2, 3, 32, 32)
    normalised = (images - torch.tensor([0.5, 0.4, 0.3])[:, None, None]) / torch.tensor([0.2, 0.3, 0.4])[:, None, None]
    features = torch.from_numpy(extractor.features(images)).float()
    torch.testing.assert_close(model.head(features), model(normalised))
    grey = images[:, :1, ::2, ::2]
    assert extractor.features(grey).shape == (2, 8)
    np.testing.assert_allclose(extractor.features(grey), extractor.features(grey.repeat(1, 3, 1, 1)))
    save_weights(model, tmp_path / "weights.safetensors", preprocess={"input_size": [32, 32], "mean": [0.5, 0.4, 0.3],
                                                                     "std": [0.2, 0.3, 0.4], "crop": 1.0})  # fmt: skip
    opened = open_extractor(str(tmp_path / "weights.safetensors"))
    np.testing.assert_allclose(opened.features(images), extractor.features(images), rtol=1e-5)
    assert opened.source.fingerprint == extractor.source.fingerprint
    with torch.no_grad():
        next(model.parameters()).add_(1e-3)
    assert classifier_extractor(model, preprocess, "small").source.fingerprint != opened.source.fingerprint


def test_paths_of_extractors_hold_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert full_name("pixels") == "pixels"
    assert full_name("runs/digits") == str(tmp_path / "runs" / "digits")
    assert full_name("inception:weights.pth") == f"inception:{tmp_path / 'weights.pth'}"


def test_inception_needs_its_library_and_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(UserError, match="FID needs torch-fidelity"):
        open_extractor(f"inception:{tmp_path / 'weights.pth'}")

    class Inception:
        """Stands for torch-fidelity's network: takes bytes in colour, gives a tuple."""

        def __init__(self, name: str, features_list: list[str], feature_extractor_weights_path: str) -> None:
            assert features_list == ["2048"]

        def to(self, device: torch.device) -> None: ...

        def __call__(self, images: Tensor) -> tuple[Tensor]:
            assert images.dtype == torch.uint8
            assert images.shape[1] == 3
            return (images.float().mean((2, 3)),)

    library: Any = ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    library.FeatureExtractorInceptionV3 = Inception
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", library)
    with pytest.raises(UserError, match="cannot be read"):
        open_extractor(f"inception:{tmp_path / 'weights.pth'}")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="it is a pipe"):
        open_extractor(f"inception:{tmp_path / 'pipe'}")
    (tmp_path / "weights.pth").write_bytes(b"weights")
    library.FeatureExtractorInceptionV3 = lambda *_, **__: pickle.loads(b"no pickle")
    with pytest.raises(UserError, match="holds no weights of torch-fidelity's Inception"):
        open_extractor(f"inception:{tmp_path / 'weights.pth'}")
    library.FeatureExtractorInceptionV3 = Inception
    extractor = open_extractor(f"inception:{tmp_path / 'weights.pth'}")
    assert extractor.source.measure == "FID"
    assert len(extractor.source.fingerprint) == 64
    np.testing.assert_allclose(extractor.features(torch.full((1, 1, 4, 4), 0.5)), [[128.0] * 3])


def test_a_generator_that_copies_is_as_near_to_the_training_images_as_can_be(tmp_path: Path) -> None:
    training, held_out = [make_batch(step, 64) for step in range(4)], [make_batch(50, 40), make_batch(51, 40)]
    copies = Copies(torch.cat([signed(batch) for batch in training]))
    path = tmp_path / "pictures" / "neighbours.png"
    found = compare_with_training(copies, pixel_extractor(4), PREPROCESS, training, held_out, path)
    assert found["sample_to_training"] == pytest.approx(0, abs=1e-4)
    assert found["held_out_to_training"] > 0.1
    assert path.exists()
    strangers = Copies(torch.cat([signed(make_batch(step, 64)) for step in range(90, 94)]))
    other = compare_with_training(strangers, pixel_extractor(4), PREPROCESS, training, held_out, path)
    assert other["sample_to_training"] == pytest.approx(found["held_out_to_training"], rel=0.2)
    assert other["held_out_to_training"] == found["held_out_to_training"]
