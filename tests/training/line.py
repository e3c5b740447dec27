"""A line that is fitted with dropout, its batches and its trainer, for tests of training."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hvit.tasks.task import WHOLE, Batch, Before, Networks, Outputs, Phase, Task, join
from hvit.training.distribute import Processes
from hvit.training.journal import read_journal
from hvit.training.loop import Trainer
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig, Schedule
from hvit.training.setup import BatchSource, RunSettings


class Line(Task):
    """Learns a line with dropout, so that a wrong random state shows."""

    phases = (Phase("fit", "model"),)
    score = "closeness"

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.networks = {"model": nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.5), nn.Linear(16, 1))}

    def loss(self, phase: Phase, networks: Networks, batch: Batch) -> Tensor:
        return (networks["model"](batch["inputs"]) - batch["targets"]).square().mean()

    def outputs(self, networks: Networks, batches: Iterable[Batch], before: Before = WHOLE) -> Outputs:
        with torch.no_grad():
            return join({"losses": self.loss(self.phases[0], networks, batch)[None]} for batch in batches)

    def scores_of(self, outputs: Outputs) -> dict[str, Any]:
        loss = outputs["losses"].mean().item()
        return {"loss": loss, "closeness": -loss, "labels": [1, 2]}

    def save_weights(self, folder: Path, networks: Networks) -> None:
        values = torch.cat([value.detach().flatten() for value in networks["model"].state_dict().values()])
        torch.save(values, folder / "weights.pt")


def make_batch(step: int, poison_at: int = -1) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(step)
    inputs = torch.randn(8, 4, generator=random)
    targets = inputs.sum(dim=1, keepdim=True)
    return {"inputs": inputs, "targets": targets * (float("nan") if step == poison_at else 1.0)}


def trainer(
    folder: Path,
    loop: LoopConfig | None = None,
    optimize: OptimizeConfig | None = None,
    poison_at: int = -1,
    stop_at: int = -1,
) -> Trainer:
    loop = loop or LoopConfig(epochs=4, batch_size=8, checkpoint_steps=3)
    optimize = optimize or OptimizeConfig(learning_rate_per_256=0.3, warmup_epochs=1)
    return trainer_of(Line(), lambda step: make_batch(step, poison_at), folder, loop, optimize, stop_at)


def trainer_of(
    task: Task, make: Callable[[int], Batch], folder: Path, loop: LoopConfig, optimize: OptimizeConfig, stop_at: int
) -> Trainer:
    """Learns a task in epochs of five steps from the batches that are made; is asked to stop before a step."""
    folder.mkdir(exist_ok=True)
    ranks = Processes(0, 1, torch.device("cpu"))
    schedule = Schedule.of(loop, optimize, 5, ranks)

    def batches(start: int) -> Iterable[Batch]:
        for step in range(start, schedule.total_steps):
            if step == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)
            yield make(step)

    settings = RunSettings(folder, loop, optimize, schedule, ranks, seed=7)
    return Trainer(task, BatchSource(batches, lambda: [make(1000)]), settings)


def weights(one: Trainer) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in one.state.networks["model"].parameters()])


def story(one: Trainer) -> list[dict[str, Any]]:
    """The journal without its times, and without where it was resumed."""
    times = {"seconds": 0, "images_per_second": 0, "time": 0}
    rows = [row | times for row in read_journal(one.settings.folder / "journal.jsonl")]
    return [row for row in rows if row["kind"] in ("train", "evaluate", "finish")]
