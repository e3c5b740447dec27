"""The one training loop: any task, any model, one process or many, stopped and continued anywhere."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hvit.errors import UserError
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


class Trainer:
    """Carries out a task's learning: `run()` goes from the newest checkpoint, or from the start, to the last step.

    train_batches(start_step): this process's part of every batch from that step on. evaluation_batches(): the whole
    held-out set. folder: the run folder. vary(batch, step): what is done to a training batch on the device, if
    anything. Raises UserError when the loss stops being a finite number, when a checkpoint cannot be written, and when
    the run is interrupted (everything is saved then).
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
    ) -> None:
        self.task, self.loop, self.optimize, self.schedule = task, loop, optimize, schedule
        self.train_batches, self.evaluation_batches = train_batches, evaluation_batches
        self.ranks, self.folder, self.seed, self.vary = ranks, folder, seed, vary
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

    def run(self) -> dict[str, Any]:
        """Trains to the last step; returns the scores of the last evaluation."""
        self.restore()
        self.write("resume" if self.step else "start", time=time.time())
        with (
            ProgressView(self.step, self.schedule.total_steps, silent=not self.ranks.is_first) as view,
            _first_interrupt_is_kept() as interrupts,
        ):
            try:
                for batch in self.train_batches(self.step):
                    self.learn(batch)
                    self.step += 1
                    if self.look_around(view, interrupts):
                        break
            except (RuntimeError, UserError):
                # The next batch never comes where a termination of all processes has ended the data workers.
                if not interrupts:
                    raise
        if self.step < self.schedule.total_steps:
            raise UserError(f"stopped; `hvit resume {self.folder}` continues exactly from step {self.saved_step}")
        self.write("finish", seconds=self.seconds)
        return self.scores or self.evaluate()

    def look_around(self, view: ProgressView, interrupts: list[int]) -> bool:
        """Between two steps: tells, evaluates and saves what is due. Returns whether the run is to stop here."""
        is_last = self.step == self.schedule.total_steps
        between = self.loop.evaluate_steps or self.schedule.steps_per_epoch * self.loop.evaluate_every
        evaluates = is_last or self.step % between == 0
        if evaluates or self.step % _STEPS_BETWEEN_NEWS == 0:
            self.tell(view)
        view.step(self.step)
        if evaluates:
            self.scores = self.evaluate()
            self.write("evaluate", epoch=self.epoch, seconds=self.seconds, **_numbers(self.scores))
            view.evaluated(self.epoch, self.scores["loss"], self.task.score, self.scores[self.task.score])
            view.warn(self.scores.get("warning", ""))
        stops = self.any_process(bool(interrupts)) and not is_last
        if evaluates or stops or self.checkpoint_is_due():
            self.save()
        return stops

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
        means = {name: self.ranks.mean(torch.stack(losses).mean()).item() for name, losses in self.losses.items()
                 if losses}  # fmt: skip
        for name, loss in means.items():
            self.losses[name].clear()
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
            with self.autocast():
                scores.update(self.task.evaluate(networks, map(self.to_device, self.evaluation_batches())))
            self.task.save(self.folder, networks, self.step)

        self.ranks.first_only(work)
        return self.ranks.share(scores)

    def save(self) -> None:
        """Writes a checkpoint from which `restore` continues bit for bit; never one of weights gone bad."""
        self.mean_losses()
        self.check_weights()
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "networks": {name: network.state_dict() for name, network in self.networks.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "averages": {name: average.state_dict() for name, average in self.averages.items()},
        }
        self.ranks.first_only(lambda: save_checkpoint(self.folder, self.step, state))
        self.saved_at, self.saved_step = time.monotonic(), self.step

    def restore(self) -> None:
        """Continues from the newest intact checkpoint, if there is one."""
        state, damaged = newest_checkpoint(self.folder)
        if self.ranks.is_first:
            for path in damaged:
                print(f"{path} is damaged; an older checkpoint is used")
        if state is None:
            return
        self.step = self.saved_step = state["step"]
        self.started -= state["seconds"]
        try:
            for name, network in self.networks.items():
                network.load_state_dict(state["networks"][name])
                self.optimizers[name].load_state_dict(state["optimizers"][name])
            for name, average in self.averages.items():
                average.load_state_dict(state["averages"][name])
        except (KeyError, ValueError, RuntimeError) as error:
            raise UserError(
                f"the checkpoints in {self.folder} are not those of its recipe.json or data: one of them was changed"
            ) from error

    def checkpoint_is_due(self) -> bool:
        """Whether enough steps, or minutes where no number of steps was asked for, have gone by."""
        if self.loop.checkpoint_steps:
            return self.step % self.loop.checkpoint_steps == 0
        return self.any_process(time.monotonic() - self.saved_at > _SECONDS_BETWEEN_CHECKPOINTS)

    def any_process(self, here: bool) -> bool:
        """Whether it is so in any process, so that all act alike; many processes ask each other now and then only."""
        if self.ranks.world_size == 1:
            return here
        if self.step % _STEPS_BETWEEN_NEWS:
            return False
        return self.ranks.mean(torch.tensor(float(here), device=self.ranks.device)).item() > 0

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


@contextmanager
def _first_interrupt_is_kept() -> Iterator[list[int]]:
    """Collects the first Ctrl-C or termination instead of dying of it; the second has its usual effect."""
    received: list[int] = []
    usual: dict[int, Callable[..., Any] | int | None] = {}

    def keep(number: int, frame: object) -> None:
        received.append(number)
        for each, handler in usual.items():
            signal.signal(each, handler)
        # The same signal may end the data workers; torch would raise for it in the middle of a step.
        if hasattr(signal, "SIGCHLD"):
            signal.signal(signal.SIGCHLD, lambda number, frame: None)

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            usual[number] = signal.signal(number, keep)
    except ValueError:  # only the main thread may listen; elsewhere interrupts keep their usual effect
        usual.clear()
    try:
        yield received
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
