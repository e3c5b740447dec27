"""The contract of a task: what a task has to say, and what it has without saying it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hvit.tasks.task import WHOLE, Batch, Before, Networks, Outputs, Phase, Scores, Task, join


class Line(Task):
    """One weight that is drawn to a target."""

    def __init__(self) -> None:
        self.networks, self.phases, self.score = {"line": nn.Linear(1, 1)}, (Phase("fit", "line"),), "near"

    def loss(self, phase: Phase, networks: Networks, batch: Batch) -> Tensor:
        return (networks[phase.network](batch["x"]) - batch["y"]).square().mean()

    def outputs(self, networks: Networks, batches: Iterable[Batch], before: Before = WHOLE) -> Outputs:
        return join({"x": batch["x"]} for batch in batches)

    def scores_of(self, outputs: Outputs) -> Scores:
        return {"loss": 0.0, "near": outputs["x"].sum().item()}

    def save_weights(self, folder: Path, networks: Networks) -> None:
        (folder / "weights").touch()


def test_a_task_without_a_loss_is_none() -> None:
    parts = {"outputs": Line.outputs, "scores_of": Line.scores_of, "save_weights": Line.save_weights}
    with pytest.raises(TypeError, match="loss"):
        type("NoLoss", (Task,), parts)()


def test_a_phase_runs_at_every_step_with_the_runs_learning_rate_and_all_networks_are_averaged() -> None:
    task = Line()
    (phase,) = task.phases
    assert (phase.every, phase.rate, task.averaged) == (1, 1.0, ())
    task.loss(phase, task.networks, {"x": torch.ones(2, 1), "y": torch.zeros(2, 1)}).backward()
    assert all(weight.grad is not None for weight in task.networks[phase.network].parameters())


def test_a_set_is_scored_in_one_go_or_from_the_outputs_of_its_parts() -> None:
    task, batches = Line(), [{"x": torch.full((2, 1), float(number))} for number in range(3)]
    parts = [task.outputs(task.networks, some) for some in ((), batches[:1], batches[1:])]
    assert parts[0] == {}
    whole = task.scores_of(join(parts))
    assert whole == task.evaluate(task.networks, batches) == task.scores_of_test(join(parts))
    assert whole["near"] == 6
