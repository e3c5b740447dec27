"""The contract of a task: what a task has to say, and what it has without saying it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hvit.tasks.task import Batch, Networks, Phase, Scores, Task


class Line(Task):
    """One weight that is drawn to a target."""

    def __init__(self) -> None:
        self.networks, self.phases, self.score = {"line": nn.Linear(1, 1)}, (Phase("fit", "line"),), "near"

    def loss(self, phase: Phase, networks: Networks, batch: Batch) -> Tensor:
        return (networks[phase.network](batch["x"]) - batch["y"]).square().mean()

    def evaluate(self, networks: Networks, batches: Iterable[Batch]) -> Scores:
        return {"loss": 0.0, "near": 1.0}

    def save_weights(self, folder: Path, networks: Networks) -> None:
        (folder / "weights").touch()


def test_a_task_without_a_loss_is_none() -> None:
    with pytest.raises(TypeError, match="loss"):
        type("NoLoss", (Task,), {"evaluate": Line.evaluate, "save_weights": Line.save_weights})()


def test_a_phase_runs_at_every_step_with_the_runs_learning_rate_and_all_networks_are_averaged() -> None:
    task = Line()
    (phase,) = task.phases
    assert (phase.every, phase.rate, task.averaged) == (1, 1.0, ())
    task.loss(phase, task.networks, {"x": torch.ones(2, 1), "y": torch.zeros(2, 1)}).backward()
    assert all(weight.grad is not None for weight in task.networks[phase.network].parameters())
