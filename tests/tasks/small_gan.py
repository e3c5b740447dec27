"""Small generators and discriminators, batches for them, and a trainer, for tests of generation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn

from hvit.data.preprocess import Preprocess
from hvit.models.gan.config import GanConfig, build_discriminator, build_generator
from hvit.models.gan.conv_generator import ConvolutionGeneratorConfig
from hvit.models.gan.discriminators import ResidualDiscriminatorConfig, SaganDiscriminatorConfig
from hvit.models.gan.generator import Generator
from hvit.models.gan.nest_generator import NestGeneratorConfig
from hvit.tasks.extractors import pixel_extractor
from hvit.tasks.generate import Generate
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


class Copies(Generator):
    """Generates images that it knows, the one whose number is in the latent's place; or one and the same."""

    def __init__(self, images: Tensor, same: bool = False) -> None:
        super().__init__(NEST)
        self.images, self.same = images, same
        self.weight = nn.Parameter(torch.zeros(1))
        self.generated = 0

    def generate(self, latents: Tensor) -> Tensor:
        if self.same:
            return self.images[:1].expand(len(latents), -1, -1, -1) + 1e-4 * latents[:, :1, None, None]
        self.generated += len(latents)
        return self.images[self.generated - len(latents) : self.generated]
