"""The one training loop: any task, any model, one process or many, stopped and continued anywhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hvit.errors import Stopped, UserError
from hvit.interrupts import Interrupts
from hvit.randomness import derive_seed
from hvit.tasks.task import Batch, Phase, Task
from hvit.training.activations import checkpoint_activations
from hvit.training.average import RunningAverage
from hvit.training.checkpoint import newest_checkpoint, save_checkpoint
from hvit.training.distribute import Processes
from hvit.training.journal import Journal
from hvit.training.optimize import OptimizeConfig, make_optimizer, set_learning_rate
from hvit.training.progress import ProgressView
from hvit.training.schedule import LoopConfig, Schedule

_SECONDS_BETWEEN_CHECKPOINTS = 300.0
_STEPS_BETWEEN_NEWS = 20
_SECONDS_BETWEEN_QUESTIONS = 5.0
_SECTIONS: Mapping[str, type | tuple[type, ...]] = {
    "step": int,
    "seconds": (int, float),
    "networks": dict,
    "optimizers": dict,
    "averages": dict,
}


class _Stopped(Exception):
    """An evaluation was given up because the run is to stop."""


class Trainer:
    """Carries out a task's learning: `run()` goes from the newest checkpoint, or from the start, to the last step.

    train_batches(start_step): this process's part of every batch from that step on. evaluation_batches(): the whole
    held-out set. folder: the run folder. vary(batch, step): what is done to a training batch on the device, if
    anything. interrupts: the wish to stop, where batches look at it, too. belongs_to: fingerprints that every
    checkpoint keeps, such as that of the recipe; a checkpoint with others is refused unless accepts_changes.
    samples: what is seen in a line of progress, images or clips.
    Raises UserError when the loss stops being a finite number, when a checkpoint cannot be written, when no batches
    come any more, and when the run is interrupted (everything is saved then).
    """

    def __init__(
        self,
        task: Task,
        train_batches: Callable[[int], Iterable[Batch]],
        evaluation_batches: Callable[[], Iterable[Batch]],
        loop: LoopConfig,
        optimize: OptimizeConfig,
        schedule: Schedule,
        ranks: Processes,
        folder: Path,
        seed: int,
        vary: Callable[[Batch, int], Batch] | None = None,
        interrupts: Interrupts | None = None,
        belongs_to: Mapping[str, str] | None = None,
        accepts_changes: bool = False,
        samples: str = "images",
    ) -> None:
        self.samples = samples
        self.task, self.loop, self.optimize, self.schedule = task, loop, optimize, schedule
        self.train_batches, self.evaluation_batches = train_batches, evaluation_batches
        self.ranks, self.folder, self.seed, self.vary = ranks, folder, seed, vary
        self.interrupts = Interrupts() if interrupts is None else interrupts
        self.belongs_to, self.accepts_changes = dict(belongs_to or {}), accepts_changes
        self.networks = {name: network.to(ranks.device) for name, network in task.networks.items()}
        if loop.channels_last:
            _lay_channels_last(self.networks.values())
        if loop.checkpoint_activations:
            checkpoint_activations(self.networks.values())
        compile_mode = loop.compile_mode if loop.compile else None
        self.wrapped = {name: ranks.wrap(network, compile_mode) for name, network in self.networks.items()}
        self.optimizers = {name: make_optimizer(network, optimize) for name, network in self.networks.items()}
        self.averages: dict[str, RunningAverage] = {}
        if optimize.average_decay:
            chosen = task.averaged or tuple(self.networks)
            self.averages = {name: RunningAverage(self.networks[name], optimize.average_decay) for name in chosen}
        self.journal = Journal(folder) if ranks.is_first else None
        self.step = self.saved_step = 0
        self.started = self.saved_at = time.monotonic()
        self.losses: dict[str, list[Tensor]] = {phase.name: [] for phase in task.phases}
        self.scores: dict[str, Any] = {}
        self.owes_evaluation = self.lacks_data = False
        self.passed_over: list[str] = []
        self.next_question, self.asked_at, self.asked_step = 0, self.started, 0

    def run(self, **told: Any) -> dict[str, Any]:
        """Trains to the last step; returns the scores of the last evaluation. told: more for the journal's first line.

        Interrupted, or without data, it saves what it has learned and raises UserError.
        """
        self.restore()
        if self.passed_over:
            told["damaged"] = self.passed_over
        self.write("resume" if self.step else "start", time=time.time(), **told)
        with (
            ProgressView(self.step, self.schedule.total_steps, not self.ranks.is_first, self.samples) as view,
            self.interrupts.kept(),
        ):
            self.next_question, self.asked_at, self.asked_step = self.step + 1, time.monotonic(), self.step
            try:
                if self.owes_evaluation:
                    self.evaluate_here(view)
                for batch in self.noticed(self.train_batches(self.step)):
                    view.samples = "clips" if any(part.ndim == 5 for part in batch.values()) else "images"
                    self.learn(batch)
                    self.step += 1
                    if self.look_around(view):
                        break
            except (_Stopped, UserError, RuntimeError) as error:
                # What was learned is whole where no batch came, and anything else would be in the middle of a step.
                between_steps = isinstance(error, _Stopped) or self.lacks_data
                if (
                    between_steps
                    and self.step > self.saved_step
                    and (isinstance(error, _Stopped) or self.ranks.world_size == 1)
                ):
                    self.save()
                if self.lacks_data and not self.interrupts:
                    how = f"`hvit resume {self.folder}` continues exactly from step {self.saved_step}"
                    raise UserError(f"{error}; {how}") from error
                # A termination of all processes may end the data workers, and other processes of this run, first.
                if not (between_steps or (self.interrupts and isinstance(error, RuntimeError))):
                    raise
            if self.step < self.schedule.total_steps or self.owes_evaluation:
                raise Stopped(f"stopped; `hvit resume {self.folder}` continues exactly from step {self.saved_step}")
        self.write("finish", seconds=self.seconds)
        return self.scores or self.evaluate()

    def noticed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The same batches; keeps in mind where they fail to come, which spoils nothing that was learned."""
        iterator = iter(batches)
        while True:
            try:
                batch = next(iterator, None)
            except UserError:
                self.lacks_data = True
                raise
            if batch is None:
                return
            yield batch

    def look_around(self, view: ProgressView) -> bool:
        """Between two steps: reports, evaluates and saves what is due. Returns whether the run is to stop here."""
        is_last = self.step == self.schedule.total_steps
        between = self.loop.evaluate_steps or self.schedule.steps_per_epoch * self.loop.evaluate_every
        evaluates = is_last or self.step % between == 0
        if evaluates or self.step % _STEPS_BETWEEN_NEWS == 0:
            self.tell(view)
        view.step(self.step)
        if evaluates:
            self.owes_evaluation = True
            self.evaluate_here(view)
        interrupted, late = self.questions()
        stops = interrupted and not is_last
        if evaluates or stops or self.checkpoint_is_due(late):
            self.save()
        return stops

    def evaluate_here(self, view: ProgressView) -> None:
        """Evaluates, and says so in the journal and on the screen. Raises _Stopped where the run is to stop first."""
        self.scores = self.evaluate()
        self.owes_evaluation = False
        self.write("evaluate", epoch=self.epoch, seconds=self.seconds, **_numbers(self.scores))
        view.evaluated(self.epoch, self.scores["loss"], self.task.score, self.scores[self.task.score])
        view.warn(self.scores.get("warning", ""))

    def learn(self, batch: Batch) -> None:
        """One step: in every phase the gradients over all parts of the batch, then its network's weights."""
        torch.manual_seed(derive_seed(self.seed, "step", self.step, self.ranks.rank))
        self.task.start_step(derive_seed(self.seed, "step", self.step, 0))
        parts = _parts(self.to_device(batch, self.vary), self.loop.accumulate)
        for phase in self.task.phases:
            if self.step % phase.every == 0:
                self.losses[phase.name].append(self.collect_gradients(phase, parts))
                self.change_weights(phase)

    def collect_gradients(self, phase: Phase, parts: list[Batch]) -> Tensor:
        """The gradients of a phase, added up over the parts of a step; returns the mean loss."""
        wrapped = self.wrapped[phase.network]
        for network in self.networks.values():
            network.train()
            network.zero_grad()
        losses = []
        for number, part in enumerate(parts, start=1):
            more = number < len(parts)
            with self.ranks.without_averaging(wrapped) if more else nullcontext(), self.autocast():
                loss = self.task.loss(phase, self.wrapped, part) / len(parts)
            with self.ranks.without_averaging(wrapped) if more else nullcontext():
                loss.backward()
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def change_weights(self, phase: Phase) -> None:
        """One optimizer step of a phase's network, and of its running average."""
        name = phase.network
        if self.optimize.clip_norm:
            nn.utils.clip_grad_norm_(self.networks[name].parameters(), self.optimize.clip_norm)
        set_learning_rate(self.optimizers[name], phase.rate * self.schedule.learning_rate(self.step))
        self.optimizers[name].step()
        if name in self.averages:
            self.averages[name].update_parameters(self.networks[name])

    def tell(self, view: ProgressView) -> None:
        """Writes the losses, rate and speed since the last time into the journal and on the screen.

        "loss" is that of the first phase; where there are more, each has its own line of values as well.
        """
        losses = self.mean_losses()
        loss = losses[self.task.phases[0].name]
        speed = view.news(self.step, self.epoch, loss, self.loop.batch_size)
        rate = self.schedule.learning_rate(self.step - 1)
        phases = {f"{name}_loss": value for name, value in losses.items()} if len(self.losses) > 1 else {}
        self.write(
            "train", epoch=self.epoch, loss=loss, **phases, learning_rate=rate, images_per_second=speed,
            seconds=self.seconds,
        )  # fmt: skip

    def mean_losses(self) -> dict[str, float]:
        """The mean training loss of each phase since the last call; refuses to go on when one is no finite number."""
        means = self.check_losses()
        for name in means:
            self.losses[name].clear()
        return means

    def check_losses(self) -> dict[str, float]:
        """The mean training losses so far, which go on; refuses to go on when one is no finite number."""
        means = {name: self.ranks.mean(torch.stack(losses).mean()).item() for name, losses in self.losses.items()
                 if losses}  # fmt: skip
        for loss in means.values():
            self.refuse_unless_finite(loss, "training loss")
        return means

    def check_weights(self) -> None:
        """Refuses to go on with weights that are no finite numbers, before anything of them is saved."""
        parameters = [parameter for network in self.networks.values() for parameter in network.parameters()]
        size = torch.stack([parameter.detach().abs().max().float() for parameter in parameters]).max()
        self.refuse_unless_finite(self.ranks.mean(size).item(), "largest weight")

    def refuse_unless_finite(self, value: float, what: str) -> None:
        """Raises UserError, with what to try, for a value that is infinite or no number."""
        if not math.isfinite(value):
            raise UserError(
                f"the {what} became {value} before step {self.step}; the last good checkpoint in {self.folder} was "
                f"kept: try a lower --optimize.learning-rate-per-256, --optimize.clip-norm 1, --loop.precision float32"
            )

    def evaluate(self) -> dict[str, Any]:
        """The task's scores on the held-out set, with the averaged weights where there are any, which are saved."""
        self.check_weights()
        scores: dict[str, Any] = {}
        networks = {
            name: self.averages[name].module if name in self.averages else network
            for name, network in self.networks.items()
        }

        def work() -> None:
            for network in networks.values():
                network.eval()
            try:
                with self.autocast():
                    scores.update(self.task.evaluate(networks, self.until_interrupted(self.evaluation_batches())))
            except _Stopped:
                return
            self.task.save(self.folder, networks, self.step)

        self.ranks.first_only(work)
        scores = self.ranks.share(scores)
        if not scores:
            raise _Stopped
        return scores

    def until_interrupted(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches on the device; raises _Stopped instead of going on with a run that is to stop."""
        for batch in self.noticed(batches):
            if self.interrupts:
                raise _Stopped
            yield self.to_device(batch)

    def save(self) -> None:
        """Writes a checkpoint from which `restore` continues bit for bit; never one of weights gone bad."""
        self.check_losses()
        self.check_weights()
        losses = {name: self.ranks.mean(torch.stack(losses)).cpu() for name, losses in self.losses.items() if losses}
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "networks": {name: network.state_dict() for name, network in self.networks.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "averages": {name: average.state_dict() for name, average in self.averages.items()},
            "losses": losses,
            "owes_evaluation": self.owes_evaluation,
            "belongs_to": self.belongs_to,
        }
        self.ranks.first_only(lambda: save_checkpoint(self.folder, self.step, state))
        self.saved_at, self.saved_step = time.monotonic(), self.step

    def restore(self) -> None:
        """Continues from the newest intact checkpoint, if there is one.

        Checkpoints of earlier versions have neither losses nor what they belong to, and are taken as they are.
        """
        state, damaged = newest_checkpoint(self.folder, self.is_whole)
        if self.ranks.is_first:
            for path in damaged:
                print(f"{path} is damaged; an older checkpoint is used", file=sys.stderr)
        self.passed_over = [path.name for path in damaged]
        if state is None:
            return
        kept = state.get("belongs_to", {})
        changed = [name for name, value in self.belongs_to.items() if kept.get(name, value) != value]
        if changed and not self.accepts_changes:
            raise UserError(
                f"the checkpoints in {self.folder} were written with another {' and '.join(changed)} than plan.json "
                f"has: restore the files of the run, or go on all the same with --accept-changed-data"
            )
        self.step = self.saved_step = state["step"]
        self.started -= state["seconds"]
        self.owes_evaluation = state.get("owes_evaluation", False)
        for name, values in state.get("losses", {}).items():
            self.losses[name] = list(values.to(self.ranks.device))
        try:
            for name, network in self.networks.items():
                network.load_state_dict(state["networks"][name])
                self.optimizers[name].load_state_dict(state["optimizers"][name])
            for name, average in self.averages.items():
                average.load_state_dict(state["averages"][name])
        except (KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
            raise UserError(
                f"the checkpoints in {self.folder} are not those of its recipe.json or data: one of them was changed"
            ) from error

    def is_whole(self, state: dict[str, Any]) -> bool:
        """Whether a checkpoint has every section, and is of a step of this run."""
        losses = state.get("losses", {})
        return (
            all(isinstance(state.get(name), kind) for name, kind in _SECTIONS.items())
            and state["step"] > 0
            and 0 <= state["seconds"] < math.inf
            and isinstance(losses, dict)
            and all(isinstance(value, Tensor) and value.ndim == 1 for value in losses.values())
            and set(losses) <= set(self.losses)
            and isinstance(state.get("belongs_to", {}), dict)
        )

    def checkpoint_is_due(self, late: bool) -> bool:
        """Whether enough steps, or minutes where no number of steps was asked for, have gone by."""
        if self.loop.checkpoint_steps:
            return self.step % self.loop.checkpoint_steps == 0
        return late

    def questions(self) -> tuple[bool, bool]:
        """Whether the run is to stop, and whether the last checkpoint is minutes old, so that all processes act alike.

        Many processes ask each other about every five seconds only, at steps on which they agree.
        """
        interrupted, now = bool(self.interrupts), time.monotonic()
        late = now - self.saved_at > _SECONDS_BETWEEN_CHECKPOINTS
        if self.ranks.world_size == 1:
            return interrupted, late
        if self.step < self.next_question:
            return False, False
        seconds = (now - self.asked_at) / max(self.step - self.asked_step, 1)
        here = torch.tensor([float(interrupted), float(late), seconds], device=self.ranks.device)
        any_interrupted, any_late, seconds = self.ranks.mean(here).tolist()
        between = int(_SECONDS_BETWEEN_QUESTIONS / max(seconds, 1e-6))
        self.next_question = self.step + min(max(between, 1), _STEPS_BETWEEN_NEWS)
        self.asked_at, self.asked_step = time.monotonic(), self.step
        return any_interrupted > 0, any_late > 0

    def to_device(self, batch: Batch, vary: Callable[[Batch, int], Batch] | None = None) -> Batch:
        """The batch on the device, varied there if asked, and laid out in memory as the networks want it."""
        batch = {name: value.to(self.ranks.device, non_blocking=True) for name, value in batch.items()}
        if vary:
            batch = vary(batch, self.step)
        if not self.loop.channels_last:
            return batch
        return {
            name: value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value
            for name, value in batch.items()
        }

    def autocast(self) -> torch.autocast:
        """The precision of this run, as a context."""
        low = self.schedule.precision == "bfloat16"
        return torch.autocast(self.ranks.device.type, dtype=torch.bfloat16, enabled=low)

    def write(self, kind: str, **values: Any) -> None:
        """A line in the journal, in the first process."""
        if self.journal:
            self.journal.write(kind, self.step, **values)

    @property
    def epoch(self) -> float:
        """Passes over the training set so far."""
        return self.step / self.schedule.steps_per_epoch

    @property
    def seconds(self) -> float:
        """Seconds this run has worked, those before a resume included."""
        return round(time.monotonic() - self.started, 3)


def _lay_channels_last(networks: Iterable[nn.Module]) -> None:
    kernels = [value for network in networks for value in network.parameters() if value.ndim == 4]
    if not kernels:
        raise UserError("loop.channels_last fits models with convolutions of pictures, and this has none: leave it out")
    for kernel in kernels:
        kernel.data = kernel.data.contiguous(memory_format=torch.channels_last)


def _parts(batch: Batch, count: int) -> list[Batch]:
    pieces = {name: value.chunk(count) for name, value in batch.items()}
    return [{name: piece[number] for name, piece in pieces.items()} for number in range(count)]


def _numbers(scores: dict[str, Any]) -> dict[str, Any]:
    """What the journal keeps of scores: numbers, and what goes wrong."""
    return {name: value for name, value in scores.items() if isinstance(value, (int, float)) or name == "warning"}
