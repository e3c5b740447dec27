"""A small network that several processes train together, for tests of what they share and save."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hvit.tasks.task import WHOLE, Batch, Before, Networks, Outputs, Phase, Task, join
from hvit.training.distribute import processes
from hvit.training.loop import Trainer
from hvit.training.optimize import OptimizeConfig
from hvit.training.parallel import whole
from hvit.training.schedule import LoopConfig, Schedule
from hvit.training.setup import BatchSource, RunSettings
from tests.processes import in_processes

BATCH = 8


class Block(nn.Module):
    """A residual block with an odd number of hidden units, which no number of processes divides."""

    def __init__(self) -> None:
        super().__init__()
        self.widen, self.narrow = nn.Linear(4, 7), nn.Linear(7, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.narrow(torch.tanh(self.widen(inputs)))


class Blocks(Task):
    """Learns sums with two blocks."""

    phases = (Phase("fit", "model"),)
    score = "closeness"

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.networks = {"model": nn.Sequential(Block(), Block(), nn.BatchNorm1d(4), nn.Linear(4, 1))}

    def loss(self, phase: Phase, networks: Networks, batch: Batch) -> Tensor:
        return (networks["model"](batch["inputs"]) - batch["targets"]).square().mean()

    def outputs(self, networks: Networks, batches: Iterable[Batch], before: Before = WHOLE) -> Outputs:
        with torch.no_grad():
            return join({"losses": self.loss(self.phases[0], networks, batch)[None]} for batch in batches)

    def scores_of(self, outputs: Outputs) -> dict[str, Any]:
        loss = outputs["losses"].mean().item()
        return {"loss": loss, "closeness": -loss}

    def save_weights(self, folder: Path, networks: Networks) -> None:
        torch.save(networks["model"].state_dict(), folder / "weights.pt")


def make_batch(step: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(step)
    inputs = torch.randn(BATCH, 4, generator=random)
    return {"inputs": inputs, "targets": inputs.sum(dim=1, keepdim=True)}


def learn(folder: Path, steps: int, loop: dict[str, Any], optimize: dict[str, Any]) -> None:
    """Trains up to a step from the newest checkpoint, if there is one, and saves.

    The first process writes all tensors of the state, whole, as they were at the beginning and at the end.
    """
    with processes("cpu") as ranks:
        settings = OptimizeConfig(
            **{"learning_rate_per_256": 0.3, "warmup_epochs": 0, "average_decay": 0.9, **optimize}
        )
        wanted = LoopConfig(epochs=10, batch_size=BATCH, device="cpu", workers=0, **loop)
        schedule = Schedule.of(wanted, settings, 5, ranks)
        run = RunSettings(folder, wanted, settings, schedule, ranks, seed=7)
        one = Trainer(Blocks(), BatchSource(lambda start: [], lambda: [make_batch(1000)]), run)
        state = one.state
        state.restore()
        before = everything(one)
        share = BATCH // ranks.world_size
        losses = []
        while state.step < steps:
            batch = make_batch(state.step)
            one.train_step({name: value[ranks.rank * share :][:share] for name, value in batch.items()})
            losses.append(ranks.mean(state.losses["fit"][-1]))
        state.save()
        state.wait()
        with state.gathered():
            score = one.task.evaluate({k: n.eval() for k, n in state.evaluated_networks.items()}, [make_batch(1000)])
        after = everything(one)
        if ranks.is_first:
            kinds = sorted({type(p).__name__ for p in state.networks["model"].parameters()})
            torch.save(
                {"before": before, "after": after, "losses": losses, "kinds": kinds, "score": score["loss"]},
                folder / f"seen_{ranks.world_size}.pt",
            )


def work(folder: Path, count: int, steps: int, loop: dict[str, Any], **optimize: object) -> dict[str, Any]:
    """What `learn` writes, in so many processes."""
    folder.mkdir(exist_ok=True)
    in_processes(count, learn, folder, steps, loop, optimize)
    return torch.load(folder / f"seen_{count}.pt")


def everything(one: Trainer) -> dict[str, Tensor]:
    """Copies of all tensors that a checkpoint must bring back, whole."""
    state, found = one.state, {}
    for name, value in state.networks["model"].state_dict().items():
        found[name] = whole(value).detach().clone()
    for name, average in state.averages.items():
        for key, value in average.state_dict().items():
            found[f"average {name} {key}"] = whole(value).detach().clone()
    for number, values in state.optimizers["model"].state_dict()["state"].items():
        for key, value in values.items():
            if isinstance(value, Tensor):
                found[f"optimizer {number} {key}"] = whole(value).detach().clone()
    return found
