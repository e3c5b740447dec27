"""The loop's claims: exact resume, exact accumulation, clean stops."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from hvit.errors import UserError
from hvit.machine import missing_compiler
from hvit.models.layers.blocks import Dropout, DropPath
from hvit.models.nest.config import NEST_SIZES
from hvit.models.nest.model import Nest
from hvit.tasks.classify import Classify
from hvit.tasks.task import Batch, Phase
from hvit.training.checkpoint import newest_checkpoint, save_checkpoint
from hvit.training.distribute import Processes
from hvit.training.journal import read_journal
from hvit.training.loop import Trainer
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig, Schedule
from hvit.training.setup import BatchSource, RunSettings
from tests.training.line import Line, make_batch, story, trainer, trainer_of, weights


def test_a_stopped_and_resumed_run_equals_an_unbroken_one_bit_for_bit(tmp_path: Path) -> None:
    config = OptimizeConfig(learning_rate_per_256=0.3, warmup_epochs=1, average_decay=0.9)
    whole = trainer(tmp_path / "whole", optimize=config)
    scores = whole.run()
    with pytest.raises(UserError, match=r"`hvit resume .*` continues exactly from step 9"):
        trainer(tmp_path / "broken", optimize=config, stop_at=8).run()
    resumed = trainer(tmp_path / "broken", optimize=config)
    assert resumed.run() == scores
    assert torch.equal(weights(whole), weights(resumed))
    rows = [
        {**row, "seconds": 0, "images_per_second": 0, "time": 0}
        for row in read_journal(resumed.settings.folder / "journal.jsonl")
    ]
    unbroken = [
        {**row, "seconds": 0, "images_per_second": 0, "time": 0}
        for row in read_journal(whole.settings.folder / "journal.jsonl")
    ]
    assert [row for row in rows if row["kind"] in ("evaluate", "train")] == [
        row for row in unbroken if row["kind"] in ("evaluate", "train")
    ]


def test_losses_are_those_of_earlier_versions(tmp_path: Path) -> None:
    """Recorded before the loop was divided into its steps; equal to the last bit on the machine that recorded them."""
    config = OptimizeConfig(learning_rate_per_256=0.3, warmup_epochs=1, average_decay=0.9, clip_norm=1.0)
    one = trainer(tmp_path, LoopConfig(epochs=4, batch_size=8, accumulate=2), config)
    one.state.draws_by_sample = False
    one.run()
    losses = [row["loss"] for row in read_journal(tmp_path / "journal.jsonl") if row["kind"] in ("train", "evaluate")]
    recorded = [3.791997194290161, 1.934759497642517, 3.2758262157440186, 1.4545819759368896]
    recorded += [1.5471384525299072, 1.153906226158142, 1.3541003465652466, 1.0558022260665894]
    assert losses == pytest.approx(recorded, rel=1e-5)


def test_a_run_killed_after_a_checkpoint_continues_from_it(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole")
    whole.run()

    class Killed(BaseException):
        pass

    broken = trainer(tmp_path / "broken")
    usual = broken.batches.train

    def dies_at_eleven(start: int) -> Iterable[Batch]:
        for step, batch in enumerate(usual(start), start=start):
            if step == 11:
                raise Killed
            yield batch

    broken.batches = replace(broken.batches, train=dies_at_eleven)
    with pytest.raises(Killed):
        broken.run()
    resumed = trainer(tmp_path / "broken")
    resumed.run()
    assert torch.equal(weights(whole), weights(resumed))


def test_an_evaluation_that_is_interrupted_is_made_up_for_after_the_resume(tmp_path: Path) -> None:
    loop = LoopConfig(epochs=4, batch_size=8)
    whole = trainer(tmp_path / "whole", loop)
    whole.run()
    for stops_at in (5, 20):  # in the middle, and at the very end
        broken = trainer(tmp_path / str(stops_at), loop)

        def two_batches(one: Trainer = broken, stops_at: int = stops_at) -> Iterable[Batch]:
            yield make_batch(1000)
            if one.state.step == stops_at:
                os.kill(os.getpid(), signal.SIGTERM)
                yield make_batch(1001)

        broken.batches = replace(broken.batches, held_out=two_batches)
        with pytest.raises(UserError, match=f"continues exactly from step {stops_at}"):
            broken.run()
        assert not any(row["kind"] == "evaluate" and row["step"] == stops_at for row in story(broken))
        resumed = trainer(tmp_path / str(stops_at), loop)
        resumed.run()
        assert story(resumed) == story(whole)
        assert torch.equal(weights(whole), weights(resumed))


class Dropping(Line):
    """With all that is drawn for samples in a network, and a weight that every forward pass would change."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        last = nn.utils.parametrizations.spectral_norm(nn.Linear(16, 1))
        self.networks = {"model": nn.Sequential(nn.Linear(4, 16), Dropout(0.5), DropPath(0.3), last)}


def test_the_parts_of_a_step_train_what_the_whole_trains(tmp_path: Path) -> None:
    found = []
    for accumulate in (1, 2, 4):
        loop = LoopConfig(epochs=2, batch_size=8, accumulate=accumulate)
        optimize = OptimizeConfig(learning_rate_per_256=0.3, warmup_epochs=1)
        one = trainer_of(Dropping(), make_batch, tmp_path / str(accumulate), loop, optimize, -1)
        one.run()
        found.append(torch.cat([weights(one), torch.tensor([row["loss"] for row in story(one) if "loss" in row])]))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-4, atol=1e-6)


def test_a_run_of_an_earlier_version_goes_on_drawing_for_each_part(tmp_path: Path) -> None:
    """Its checkpoints do not say how numbers are drawn."""
    loop = LoopConfig(epochs=2, batch_size=8, accumulate=2, checkpoint_steps=5)
    optimize = OptimizeConfig(learning_rate_per_256=0.3, warmup_epochs=1)

    def one(name: str, stop_at: int = -1) -> Trainer:
        return trainer_of(Dropping(), make_batch, tmp_path / name, loop, optimize, stop_at)

    with pytest.raises(UserError, match="continues exactly from step 5"):
        one("first", stop_at=4).run()
    state, _ = newest_checkpoint(tmp_path / "first", lambda _: True)
    assert state is not None
    assert state.pop("draws") == "by sample"
    save_checkpoint(tmp_path / "old", 5, state)
    old = one("old")
    old.run()
    again = one("first")
    again.run()
    assert not torch.equal(weights(old), weights(again))
    assert not old.state.draws_by_sample
    state, _ = newest_checkpoint(tmp_path / "old", lambda _: True)
    assert (state or {})["draws"] == "by part", "it stays so when it is resumed once more"


def test_a_checkpoint_anywhere_changes_nothing_of_the_journal(tmp_path: Path) -> None:
    loops = {
        name: LoopConfig(epochs=5, batch_size=8, checkpoint_steps=steps, evaluate_every=5)
        for name, steps in {"never": 1000, "often": 7}.items()
    }
    stories = []
    for name, loop in loops.items():
        one = trainer(tmp_path / name, loop)
        one.run()
        stories.append(story(one))
    assert stories[0] == stories[1]
    with pytest.raises(UserError, match="continues exactly from step 12"):
        trainer(tmp_path / "stopped", loops["never"], stop_at=11).run()
    resumed = trainer(tmp_path / "stopped", loops["never"])
    resumed.run()
    assert story(resumed) == stories[0]


def test_a_run_whose_batches_no_longer_come_saves_what_it_has_learned(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole")
    whole.run()
    broken = trainer(tmp_path / "broken", LoopConfig(epochs=4, batch_size=8, checkpoint_steps=1000))
    usual = broken.batches.train

    def ends(start: int) -> Iterable[Batch]:
        for step, batch in enumerate(usual(start), start=start):
            if step == 13:
                raise UserError("a worker was killed")
            yield batch

    broken.batches = replace(broken.batches, train=ends)
    with pytest.raises(UserError, match=r"a worker was killed; `hvit resume .*` continues exactly from step 13"):
        broken.run()
    resumed = trainer(tmp_path / "broken")
    resumed.run()
    assert torch.equal(weights(whole), weights(resumed))


def test_a_finished_run_that_is_resumed_only_evaluates(tmp_path: Path) -> None:
    scores = trainer(tmp_path).run()
    assert trainer(tmp_path).run() == scores


def test_parts_of_a_batch_give_the_step_of_the_whole_batch(tmp_path: Path) -> None:
    results = []
    for accumulate in (1, 4):
        loop = LoopConfig(epochs=2, batch_size=8, accumulate=accumulate)
        one = trainer(tmp_path / str(accumulate), loop)
        one.state.networks["model"][1].p = 0.0
        one.run()
        results.append(weights(one))
    assert torch.allclose(*results, atol=1e-6)


def test_clipping_limits_how_far_a_huge_gradient_moves_the_weights(tmp_path: Path) -> None:
    loop = LoopConfig(epochs=1, batch_size=8)
    one = trainer(tmp_path, loop, OptimizeConfig(clip_norm=1e-3))
    one.train_step(make_batch(0))
    one.collect_gradients(one.task.phases[0], [make_batch(1)])
    one.optimizer_step(Phase("learn", "model"))
    one.collect_gradients(one.task.phases[0], [make_batch(1)])
    nn.utils.clip_grad_norm_(one.state.networks["model"].parameters(), one.settings.optimize.clip_norm)
    norm = torch.cat([p.grad.flatten() for p in one.state.networks["model"].parameters()]).norm().item()
    assert norm <= 1e-3 * 1.001


def test_bfloat16_autocast_learns_and_keeps_its_weights_in_float32(tmp_path: Path) -> None:
    one = trainer(tmp_path, LoopConfig(epochs=4, batch_size=8, precision="bfloat16"))
    seen: list[torch.dtype] = []
    one.state.networks["model"][0].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    scores = one.run()
    assert set(seen) == {torch.bfloat16}
    assert weights(one).dtype == torch.float32
    assert scores["loss"] < 10


@pytest.mark.slow
def test_a_compiled_network_learns_what_a_plain_one_does(tmp_path: Path) -> None:
    results = []
    for compiled in (False, True):
        one = trainer(tmp_path / str(compiled), LoopConfig(epochs=2, batch_size=8, compile=compiled))
        one.state.networks["model"][1].p = 0.0
        one.run()
        results.append(weights(one))
    assert torch.allclose(*results, atol=1e-5)


def test_max_steps_cuts_a_run_short_without_changing_its_learning_rates(tmp_path: Path) -> None:
    short = LoopConfig(epochs=4, batch_size=8, max_steps=3)
    one = trainer(tmp_path, short)
    one.run()
    assert one.state.step == 3
    assert one.settings.schedule.learning_rate(2) == trainer(tmp_path / "b").settings.schedule.learning_rate(2)


def test_the_journal_holds_numbers_only_and_reads_back(tmp_path: Path) -> None:
    one = trainer(tmp_path)
    one.run()
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert kinds[0] == "start"
    assert kinds[-1] == "finish"
    evaluations = [row for row in read_journal(tmp_path / "journal.jsonl") if row["kind"] == "evaluate"]
    assert [row["epoch"] for row in evaluations] == [1, 2, 3, 4]
    assert all("labels" not in row for row in evaluations)


def test_what_is_augmented_on_the_device_is_augmented_alike_after_a_resume(tmp_path: Path) -> None:
    def add_noise(batch: Batch, step: int) -> Batch:
        noise = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
        return {**batch, "inputs": batch["inputs"] + noise}

    runs = {
        name: trainer(tmp_path / name, stop_at=8 if name == "broken" else -1) for name in ("whole", "broken", "off")
    }
    for name in ("whole", "broken"):
        runs[name].batches = replace(runs[name].batches, augment=add_noise)
    runs["whole"].run()
    runs["off"].run()
    with pytest.raises(UserError, match="continues exactly from step 9"):
        runs["broken"].run()
    resumed = trainer(tmp_path / "broken")
    resumed.batches = replace(resumed.batches, augment=add_noise)
    resumed.run()
    assert torch.equal(weights(runs["whole"]), weights(resumed))
    assert not torch.equal(weights(runs["whole"]), weights(runs["off"]))


NO_COMPILER = missing_compiler() is not None


@pytest.mark.slow
@pytest.mark.skipif(NO_COMPILER, reason="torch.compile needs a C++ compiler, and there is none here")
def test_a_compiled_transformer_that_forgets_learns_what_a_plain_one_does_and_resumes_bit_for_bit(
    tmp_path: Path,
) -> None:
    """With stochastic depth, so that compiled random numbers have to follow from the seed as well."""

    def make(step: int) -> Batch:
        random = torch.Generator().manual_seed(step)
        return {"images": torch.randn(8, 3, 16, 16, generator=random), "targets": torch.arange(8)}

    def learner(name: str, rate: float, compiled: bool, stop_at: int = -1) -> Trainer:
        torch.manual_seed(0)
        config = replace(NEST_SIZES["nest_micro_32"], dims=(16, 32), heads=(1, 2), depths=(1, 1), drop_path=rate)
        task = Classify(Nest(replace(config, input_size=(16, 16))), tuple("0123456789"), {})
        loop = LoopConfig(epochs=2, batch_size=8, checkpoint_steps=3, compile=compiled, checkpoint_activations=compiled)
        optimize = OptimizeConfig(learning_rate_per_256=0.03, warmup_epochs=0)
        return trainer_of(task, make, tmp_path / name, loop, optimize, stop_at)

    plain, compiled = learner("plain", 0.0, False), learner("compiled", 0.0, True)
    before = weights(plain).clone()
    plain.run()
    compiled.run()
    assert isinstance(compiled.state.wrapped["model"], torch._dynamo.OptimizedModule)
    assert torch.allclose(weights(plain), weights(compiled), atol=2e-4)
    assert (weights(plain) - before).abs().max() > 0.004
    whole = learner("whole", 0.5, True)
    whole.run()
    with pytest.raises(UserError, match="continues exactly from step"):
        learner("broken", 0.5, True, stop_at=4).run()
    resumed = learner("broken", 0.5, True)
    resumed.run()
    assert torch.equal(weights(whole), weights(resumed))
    assert not torch.allclose(weights(whole), weights(compiled), atol=1e-3)


def test_a_mode_of_compiling_without_compiling_is_refused() -> None:
    with pytest.raises(UserError, match=r"compile_mode max-autotune needs --loop\.compile"):
        LoopConfig(compile_mode="max-autotune")


def test_channels_last_learns_the_same_but_for_rounding_and_resumes_bit_for_bit(tmp_path: Path) -> None:
    def learner(name: str, channels_last: bool, stop_at: int = -1) -> Trainer:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3, 2), nn.Flatten())
        task = Line()
        task.networks = {"model": network.append(nn.Linear(36, 1))}
        loop = LoopConfig(epochs=2, batch_size=8, checkpoint_steps=3, channels_last=channels_last)
        optimize = OptimizeConfig(learning_rate_per_256=0.03, warmup_epochs=0, average_decay=0.9, epsilon=1e-3)
        ranks = Processes(0, 1, torch.device("cpu"))
        schedule = Schedule.of(loop, optimize, 5, ranks)

        def batches(start: int) -> Iterable[Batch]:
            for step in range(start, schedule.total_steps):
                if step == stop_at:
                    os.kill(os.getpid(), signal.SIGTERM)
                inputs = torch.randn(8, 3, 9, 9, generator=torch.Generator().manual_seed(step))
                yield {"inputs": inputs, "targets": inputs.mean((1, 2, 3))[:, None]}

        (tmp_path / name).mkdir(exist_ok=True)
        settings = RunSettings(tmp_path / name, loop, optimize, schedule, ranks, seed=7)
        return Trainer(task, BatchSource(batches, list), settings)

    def run(one: Trainer) -> Tensor:
        one.evaluate = lambda tests=False: {"loss": 0.0, "closeness": 0.0}
        one.run()
        return torch.cat([value.double().flatten() for value in one.state.networks["model"].state_dict().values()])

    usual, last = run(learner("usual", False)), learner("last", True)
    whole = run(last)
    assert last.state.networks["model"][0].weight.is_contiguous(memory_format=torch.channels_last)
    assert last.to_device({"x": torch.zeros(2, 3, 4, 4)})["x"].is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(whole, usual, atol=1e-4)
    with pytest.raises(UserError, match="continues exactly from step"):
        run(learner("broken", True, stop_at=4))
    assert torch.equal(run(learner("broken", True)), whole)


def test_a_step_reads_no_number_back_from_the_device(tmp_path: Path) -> None:
    """On a GPU reading one waits until everything before it is done."""

    class Reading(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.count += function is torch.ops.aten._local_scalar_dense.default
            return function(*args, **kwargs or {})

    one = trainer(tmp_path, optimize=OptimizeConfig(clip_norm=1.0))
    with Reading() as reading:
        for step in range(3):
            one.train_step(make_batch(step))
        assert reading.count == 0
        one.state.take_mean_losses()
    assert reading.count > 0
