"""The loop's claims: exact resume, exact accumulation, honest stops."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.tasks.task import Batch, Networks, Phase, Task
from hvit.training.checkpoint import newest_checkpoint
from hvit.training.distribute import Processes
from hvit.training.journal import read_journal
from hvit.training.loop import Trainer
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig, Schedule


class Line(Task):
    """Learns a line with dropout, so that a wrong random state shows."""

    phases = (Phase("fit", "model"),)
    score = "closeness"

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.networks = {"model": nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.5), nn.Linear(16, 1))}
        self.saved = 0

    def loss(self, phase: Phase, networks: Networks, batch: Batch) -> Tensor:
        return (networks["model"](batch["inputs"]) - batch["targets"]).square().mean()

    def evaluate(self, networks: Networks, batches: Iterable[Batch]) -> dict[str, Any]:
        with torch.no_grad():
            loss = torch.stack([self.loss(self.phases[0], networks, batch) for batch in batches]).mean().item()
        return {"loss": loss, "closeness": -loss, "labels": [1, 2]}

    def save(self, folder: Path, networks: Networks, step: int) -> None:
        self.saved += 1


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
    folder.mkdir(exist_ok=True)
    loop = loop or LoopConfig(epochs=4, batch_size=8, checkpoint_steps=3)
    optimize = optimize or OptimizeConfig(learning_rate_per_256=0.3, warmup_epochs=1)
    ranks = Processes(0, 1, torch.device("cpu"))
    schedule = Schedule.of(loop, optimize, 5, ranks)

    def batches(start: int) -> Iterable[Batch]:
        for step in range(start, schedule.total_steps):
            if step == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)
            yield make_batch(step, poison_at)

    return Trainer(Line(), batches, lambda: [make_batch(1000)], loop, optimize, schedule, ranks, folder, seed=7)


def weights(one: Trainer) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in one.networks["model"].parameters()])


def test_a_stopped_and_resumed_run_equals_an_unbroken_one_bit_for_bit(tmp_path: Path) -> None:
    config = OptimizeConfig(learning_rate_per_256=0.3, warmup_epochs=1, average_decay=0.9)
    whole = trainer(tmp_path / "whole", optimize=config)
    scores = whole.run()
    with pytest.raises(UserError, match=r"`hvit resume .*` continues exactly from step 9"):
        trainer(tmp_path / "broken", optimize=config, stop_at=8).run()
    resumed = trainer(tmp_path / "broken", optimize=config)
    assert resumed.run() == scores
    assert torch.equal(weights(whole), weights(resumed))
    rows = [{**row, "seconds": 0, "images_per_second": 0, "time": 0} for row in read_journal(resumed.journal.path)]
    unbroken = [{**row, "seconds": 0, "images_per_second": 0, "time": 0} for row in read_journal(whole.journal.path)]
    assert [row for row in rows if row["kind"] in ("evaluate", "train")] == [
        row for row in unbroken if row["kind"] in ("evaluate", "train")
    ]


def test_a_run_killed_after_a_checkpoint_continues_from_it(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole")
    whole.run()

    class Killed(BaseException):
        pass

    broken = trainer(tmp_path / "broken")
    usual = broken.train_batches

    def dies_at_eleven(start: int) -> Iterable[Batch]:
        for step, batch in enumerate(usual(start), start=start):
            if step == 11:
                raise Killed
            yield batch

    broken.train_batches = dies_at_eleven
    with pytest.raises(Killed):
        broken.run()
    resumed = trainer(tmp_path / "broken")
    resumed.run()
    assert torch.equal(weights(whole), weights(resumed))


def test_a_finished_run_that_is_resumed_only_evaluates(tmp_path: Path) -> None:
    scores = trainer(tmp_path).run()
    assert trainer(tmp_path).run() == scores


def test_a_loss_that_is_no_number_stops_the_run_and_no_later_checkpoint_is_kept(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"training loss became nan.*learning-rate"):
        trainer(tmp_path, poison_at=7).run()
    state, damaged = newest_checkpoint(tmp_path)
    assert state is not None
    assert state["step"] <= 7
    assert not damaged
    assert all(tensor.isfinite().all() for tensor in state["networks"]["model"].values())


def test_parts_of_a_batch_give_the_step_of_the_whole_batch(tmp_path: Path) -> None:
    results = []
    for accumulate in (1, 4):
        loop = LoopConfig(epochs=2, batch_size=8, accumulate=accumulate)
        one = trainer(tmp_path / str(accumulate), loop)
        one.networks["model"][1].p = 0.0
        one.run()
        results.append(weights(one))
    assert torch.allclose(*results, atol=1e-6)


def test_clipping_limits_how_far_a_huge_gradient_moves_the_weights(tmp_path: Path) -> None:
    loop = LoopConfig(epochs=1, batch_size=8)
    one = trainer(tmp_path, loop, OptimizeConfig(clip_norm=1e-3))
    one.learn(make_batch(0))
    one.collect_gradients(one.task.phases[0], [make_batch(1)])
    one.change_weights(Phase("learn", "model"))
    one.collect_gradients(one.task.phases[0], [make_batch(1)])
    nn.utils.clip_grad_norm_(one.networks["model"].parameters(), one.optimize.clip_norm)
    norm = torch.cat([p.grad.flatten() for p in one.networks["model"].parameters()]).norm().item()
    assert norm <= 1e-3 * 1.001


def test_weights_gone_bad_are_never_saved_even_when_the_loss_was_finite(tmp_path: Path) -> None:
    one = trainer(tmp_path)
    usual = one.change_weights

    def spoil(name: str) -> None:
        usual(name)
        if one.step == 6:
            with torch.no_grad():
                one.networks["model"][0].weight[0, 0] = float("inf")

    one.change_weights = spoil
    with pytest.raises(UserError, match=r"(largest weight|training loss) became (inf|nan)"):
        one.run()
    state, _ = newest_checkpoint(tmp_path)
    assert state is not None
    assert all(tensor.isfinite().all() for tensor in state["networks"]["model"].values())


def test_the_running_average_of_a_short_run_has_forgotten_the_first_weights(tmp_path: Path) -> None:
    config = OptimizeConfig(learning_rate_per_256=3.0, warmup_epochs=0, weight_decay=0.0, average_decay=0.9999)
    one = trainer(tmp_path, LoopConfig(epochs=20, batch_size=8), config)
    first = weights(one).clone()
    one.run()
    average = torch.cat([value.flatten() for value in one.averages["model"].module.parameters()])
    assert (average - weights(one)).norm() < 0.5 * (first - weights(one)).norm()


def test_bfloat16_autocast_learns_and_keeps_its_weights_in_float32(tmp_path: Path) -> None:
    one = trainer(tmp_path, LoopConfig(epochs=4, batch_size=8, precision="bfloat16"))
    seen: list[torch.dtype] = []
    one.networks["model"][0].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    scores = one.run()
    assert set(seen) == {torch.bfloat16}
    assert weights(one).dtype == torch.float32
    assert scores["loss"] < 10


@pytest.mark.slow
def test_a_compiled_network_learns_what_a_plain_one_does(tmp_path: Path) -> None:
    results = []
    for compiled in (False, True):
        one = trainer(tmp_path / str(compiled), LoopConfig(epochs=2, batch_size=8, compile=compiled))
        one.networks["model"][1].p = 0.0
        one.run()
        results.append(weights(one))
    assert torch.allclose(*results, atol=1e-5)


def test_max_steps_cuts_a_run_short_without_changing_its_learning_rates(tmp_path: Path) -> None:
    short = LoopConfig(epochs=4, batch_size=8, max_steps=3)
    one = trainer(tmp_path, short)
    one.run()
    assert one.step == 3
    assert one.schedule.learning_rate(2) == trainer(tmp_path / "b").schedule.learning_rate(2)


def test_the_journal_holds_numbers_only_and_reads_back(tmp_path: Path) -> None:
    one = trainer(tmp_path)
    one.run()
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert kinds[0] == "start"
    assert kinds[-1] == "finish"
    evaluations = [row for row in read_journal(tmp_path / "journal.jsonl") if row["kind"] == "evaluate"]
    assert [row["epoch"] for row in evaluations] == [1, 2, 3, 4]
    assert all("labels" not in row for row in evaluations)
