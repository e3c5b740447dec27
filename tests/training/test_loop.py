"""The loop's claims: exact resume, exact accumulation, clean stops."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from hvit.errors import UserError
from hvit.machine import missing_compiler
from hvit.models.nest.config import NEST_SIZES
from hvit.models.nest.model import Nest
from hvit.tasks.classify import Classify
from hvit.tasks.task import Batch, Networks, Phase, Task
from hvit.training.checkpoint import newest_checkpoint
from hvit.training.distribute import Processes, is_compile_failure
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
    loop = loop or LoopConfig(epochs=4, batch_size=8, checkpoint_steps=3)
    optimize = optimize or OptimizeConfig(learning_rate_per_256=0.3, warmup_epochs=1)
    return trainer_of(Line(), lambda step: make_batch(step, poison_at), folder, loop, optimize, stop_at)


def trainer_of(
    task: Task, make: Callable[[int], Batch], folder: Path, loop: LoopConfig, optimize: OptimizeConfig, stop_at: int
) -> Trainer:
    """Learns a task in epochs of five steps from the batches that are made; is told to stop before a step."""
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


def story(one: Trainer) -> list[dict[str, Any]]:
    """The journal without its times, and without where it was resumed."""
    times = {"seconds": 0, "images_per_second": 0, "time": 0}
    rows = [row | times for row in read_journal(one.settings.folder / "journal.jsonl")]
    return [row for row in rows if row["kind"] in ("train", "evaluate", "finish")]


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


def test_a_checkpoint_of_another_recipe_or_other_data_is_refused_unless_that_is_accepted(tmp_path: Path) -> None:
    def of(recipe: str, data: str, accepts: bool = False) -> Trainer:
        one = trainer(tmp_path)
        prints = {"recipe": recipe, "data": data}
        return Trainer(one.task, one.batches, replace(one.settings, belongs_to=prints, accepts_changes=accepts))

    of("a", "b").run()
    with pytest.raises(UserError, match=r"written with another data than plan\.json has.*--accept-changed-data"):
        of("a", "c").run()
    of("a", "c", accepts=True).run(accepted=["images: one is new"])
    last = [row for row in read_journal(tmp_path / "journal.jsonl") if row["kind"] == "resume"][-1]
    assert last["accepted"] == ["images: one is new"]


def test_a_damaged_checkpoint_is_named_in_the_journal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer(tmp_path).run()
    newest = max((tmp_path / "checkpoints").iterdir())
    newest.write_bytes(b"damaged")
    trainer(tmp_path).run()
    assert f"{newest} is damaged; an older checkpoint is used" in capsys.readouterr().err
    resumed = [row for row in read_journal(tmp_path / "journal.jsonl") if row["kind"] == "resume"]
    assert resumed[0]["damaged"] == [newest.name]
    assert newest_checkpoint(tmp_path)[1] == [], "the damaged one is gone"


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


def test_weights_gone_bad_are_never_saved_even_when_the_loss_was_finite(tmp_path: Path) -> None:
    one = trainer(tmp_path)
    usual = one.optimizer_step

    def spoil(name: str) -> None:
        usual(name)
        if one.state.step == 6:
            with torch.no_grad():
                one.state.networks["model"][0].weight[0, 0] = float("inf")

    one.optimizer_step = spoil
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
    average = torch.cat([value.flatten() for value in one.state.averages["model"].module.parameters()])
    assert (average - weights(one)).norm() < 0.5 * (first - weights(one)).norm()


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


def test_compiling_without_a_compiler_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"there is no no-such-compiler here: install one .* leave out --loop\.compile"):
        trainer(tmp_path, LoopConfig(batch_size=8, compile=True))


def test_a_mode_of_compiling_without_compiling_is_refused() -> None:
    with pytest.raises(UserError, match=r"compile_mode max-autotune needs --loop\.compile"):
        LoopConfig(compile_mode="max-autotune")


def test_the_mode_of_compiling_reaches_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(torch, "compile", lambda network, mode: asked.append(mode) or network)
    monkeypatch.setenv("CXX", sys.executable)
    ranks = Processes(0, 1, torch.device("cpu"))
    network = nn.Linear(1, 1)
    assert ranks.wrap(network, None) is ranks.wrap(network, "reduce-overhead") is network
    assert asked == ["reduce-overhead"]


def test_only_failures_of_compiling_count_as_such() -> None:
    class Ours(RuntimeError):
        pass

    theirs = type("BackendCompilerFailed", (RuntimeError,), {"__module__": "torch._dynamo.exc"})
    assert is_compile_failure(theirs("g++ ended with status 1"))
    assert not is_compile_failure(Ours("shapes do not fit"))


def test_channels_last_is_refused_without_convolutions_of_images(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="convolutions of images, and this has none"):
        trainer(tmp_path, LoopConfig(batch_size=8, channels_last=True))


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
        one.evaluate = lambda: {"loss": 0.0, "closeness": 0.0}
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
