"""The one training loop: any task, any model, one process or many, stopped and continued anywhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from hvit.errors import Stopped, UserError
from hvit.randomness import RandomState, Share, derive_seed, drawing_for, places_of
from hvit.tasks.task import Batch, Outputs, Phase, Scores, Task, join
from hvit.training.agreement import STEPS_BETWEEN_REPORTS, Agreement
from hvit.training.journal import Journal
from hvit.training.optimize import set_learning_rate
from hvit.training.progress import ProgressView
from hvit.training.setup import BatchSource, RunSettings
from hvit.training.state import TrainingState

_SECONDS_BETWEEN_CHECKPOINTS = 300.0


class _EvaluationGivenUp(Exception):
    """The run is to stop, and the rest of an evaluation does not count."""


class Trainer:
    """Trains a task: `run()` goes from the newest checkpoint, or from the start, to the last step.

    Raises UserError when the loss stops being a finite number, when a checkpoint cannot be written, when no batches
    come any more, and when the run is interrupted (everything is saved then).
    """

    def __init__(self, task: Task, batches: BatchSource, settings: RunSettings) -> None:
        self.task, self.batches, self.settings = task, batches, settings
        self.state = TrainingState(task, settings)
        self.journal = Journal(settings.folder) if settings.ranks.is_first else None
        self.agreement = Agreement(settings.ranks, 0)
        self.scores: Scores = {}
        self.lacks_data = False
        self.known_shares: dict[tuple[int, int], list[Share]] = {}

    def run(self, **facts: object) -> Scores:
        """Trains to the last step; returns the scores of the weights that the run delivers.

        facts: more for the journal's first line. Interrupted, or without data, it saves what it has trained and raises
        UserError.
        """
        state, ranks, total_steps = self.state, self.settings.ranks, self.settings.schedule.total_steps
        if damaged := state.restore():
            facts["damaged"] = damaged
        self.write("resume" if state.step else "start", time=time.time(), **facts)
        with (
            ProgressView(state.step, total_steps, not ranks.is_first, self.batches.samples) as view,
            self.batches.interrupts.kept(),
        ):
            self.agreement, delivered = Agreement(ranks, state.step), False
            try:
                if state.owes_evaluation:
                    self.evaluate_and_report(view)
                for batch in () if state.is_complete else self.watched(self.batches.train(state.step)):
                    self.train_step(batch)
                    if self.after_step(view):
                        break
                if state.is_complete:
                    with state.gathered():
                        self.scores = self.deliver()
                    delivered = True
            except (_EvaluationGivenUp, UserError, RuntimeError) as error:
                self.save_after(error)
            finally:
                state.join()
            state.wait()
            if not delivered:
                raise Stopped(f"stopped; {self.how_to_continue}")
        self.write("finish", seconds=state.seconds)
        return self.scores

    def train_step(self, batch: Batch) -> None:
        """One step: in every phase the gradients over all parts of the batch, then the optimizer's step."""
        state, seed = self.state, self.settings.seed
        state.release()
        torch.manual_seed(derive_seed(seed, "step", state.step, 0))
        parts = _parts(self.to_device(batch, self.batches.augment), self.settings.loop.accumulate)
        for phase in self.task.phases:
            if state.step % phase.every == 0:
                state.losses[phase.name].append(self.collect_gradients(phase, parts))
                self.optimizer_step(phase)
        state.step += 1

    def collect_gradients(self, phase: Phase, parts: list[Batch]) -> Tensor:
        """The gradients of a phase, added up over the parts of a step; returns the mean loss.

        Every part draws what the whole batch of all processes would, and takes the numbers of its samples.
        """
        ranks, wrapped, losses = self.settings.ranks, self.state.wrapped, []
        self.state.start_training_mode()
        for network in self.state.networks.values():
            network.zero_grad()
        shares = self.shares(parts)
        beginning = RandomState(ranks.device) if len(parts) > 1 else None
        for number, (part, share) in enumerate(zip(parts, shares, strict=True), start=1):
            if beginning and number > 1 and share:
                beginning.restore()
                self.state.hold_parametrizations()
            alone = ranks.without_averaging(wrapped[phase.network]) if number < len(parts) else nullcontext()
            with alone, drawing_for(share):
                with self.autocast():
                    loss = self.task.loss(phase, wrapped, part) / len(parts)
                loss.backward()
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def shares(self, parts: list[Batch]) -> list[Share] | list[None]:
        """Where in the whole batch of all processes the samples of each part are; None for runs of older versions."""
        if not self.state.draws_by_sample:
            return [None] * len(parts)
        ranks, count = self.settings.ranks, len(parts)
        total = sum(len(next(iter(part.values()))) for part in parts) * ranks.world_size
        if (total, count) not in self.known_shares:
            places = places_of(total, ranks.rank, ranks.world_size)
            self.known_shares = {(total, count): Share(places, total, ranks.device).parts(count)}
        return self.known_shares[total, count]

    def optimizer_step(self, phase: Phase) -> None:
        """One step of the optimizer of a phase's network, and of the network's running average."""
        state, name = self.state, phase.network
        if self.settings.optimize.clip_norm:
            nn.utils.clip_grad_norm_(state.networks[name].parameters(), self.settings.optimize.clip_norm)
        set_learning_rate(state.optimizers[name], phase.rate * self.settings.schedule.learning_rate(state.step))
        state.optimizers[name].step()
        if name in state.averages:
            state.averages[name].update_parameters(state.networks[name])

    def after_step(self, view: ProgressView) -> bool:
        """Between two steps: reports, evaluates and saves what is due. Returns whether the run is to stop here."""
        state, loop, schedule = self.state, self.settings.loop, self.settings.schedule
        is_last = state.step == schedule.total_steps
        evaluates = is_last or state.step % (loop.evaluate_steps or schedule.steps_per_epoch * loop.evaluate_every) == 0
        if evaluates or state.step % STEPS_BETWEEN_REPORTS == 0:
            self.report(view)
        view.step(state.step)
        if evaluates:
            state.owes_evaluation = True
            self.evaluate_and_report(view)
        late = time.monotonic() - state.saved_at > _SECONDS_BETWEEN_CHECKPOINTS
        interrupted, late = self.agreement.ask(state.step, bool(self.batches.interrupts), late)
        stops = interrupted and not is_last
        checkpoint_is_due = state.step % loop.checkpoint_steps == 0 if loop.checkpoint_steps else late
        if evaluates or stops or checkpoint_is_due:
            state.save()
        return stops or state.is_complete

    def report(self, view: ProgressView) -> None:
        """Writes the losses, rate and speed since the last time into the journal and on the screen.

        "loss" is that of the first phase; where there are more, each has its own line of values as well.
        """
        state = self.state
        losses = state.take_mean_losses()
        loss = losses[self.task.phases[0].name]
        speed = view.report(state.step, self.epoch, loss, self.settings.loop.batch_size)
        rate = self.settings.schedule.learning_rate(state.step - 1)
        phases = {f"{name}_loss": value for name, value in losses.items()} if len(state.losses) > 1 else {}
        self.write(
            "train", epoch=self.epoch, loss=loss, **phases, learning_rate=rate, images_per_second=speed,
            seconds=state.seconds,
        )  # fmt: skip

    def evaluate_and_report(self, view: ProgressView) -> None:
        """Evaluates and saves the weights; scores go into the journal and on the screen.

        The weights of a run that delivers the best ones are saved when they are. Raises _EvaluationGivenUp if the run
        is to stop.
        """
        with self.state.gathered():
            self._evaluate_and_save(view)

    def _evaluate_and_save(self, view: ProgressView) -> None:
        state, task, folder = self.state, self.task, self.settings.folder
        self.scores = self.evaluate()
        networks, score = state.evaluated_networks, self.scores[task.score]
        is_best = state.kept.take(state.step, score, self.scores["loss"], networks)
        state.owes_evaluation = False

        def save() -> None:
            if is_best or state.kept.keep != "best":
                task.save_weights(folder, networks)
            task.draw(folder, networks, state.step)

        self.settings.ranks.first_only(save)
        self.write("evaluate", epoch=self.epoch, seconds=state.seconds, **_numbers(self.scores))
        view.evaluated(self.epoch, self.scores["loss"], task.score, score)
        view.warn(self.scores.get("warning", ""))
        if state.is_complete and state.step < self.settings.schedule.total_steps:
            view.say(f"stopped at step {state.step}: no better {task.score} for {state.kept.stale} evaluations")

    def deliver(self) -> Scores:
        """Saves the weights that the run delivers, and returns their scores on the test set where there is one.

        "delivered" has, if weights were chosen, how, of which step, and the scores of these and of the last weights;
        "validation", if there is a test set, the numbers on the held-out set.
        """
        state, batches = self.state, self.batches
        kept, networks = state.kept, state.evaluated_networks
        are_saved = bool(self.scores)
        validation = self.scores or self.evaluate()
        scores = self.evaluate(tests=True) if batches.test else validation
        facts: Scores = {}
        if kept.keep != "last":
            delivered = {"keep": kept.keep, "score": self.task.score, "last_step": state.step}
            delivered |= {f"last_{name}": value for name, value in self._score_of(validation, scores).items()}
            if kept.weights and not (kept.keep == "best" and kept.step == state.step):
                kept.deliver(networks)
                validation = self.evaluate()
                scores = self.evaluate(tests=True) if batches.test else validation
                are_saved = False
            delivered |= {"best_step": kept.step} if kept.keep == "best" else {"evaluations": kept.count}
            delivered |= self._score_of(validation, scores)
            self.write("deliver", **delivered)
            facts["delivered"] = delivered
        if not are_saved:
            self.settings.ranks.first_only(lambda: self.task.save_weights(self.settings.folder, networks))
        if batches.test:
            facts |= {"evaluated_on": "test", "validation": _numbers(validation)}
        return scores | facts

    def _score_of(self, validation: Scores, scores: Scores) -> dict[str, float]:
        """The task's score on the held-out set, and on the test set where there is one."""
        tested = {"test": scores[self.task.score]} if self.batches.test else {}
        return {"validation": validation[self.task.score], **tested}

    def evaluate(self, tests: bool = False) -> Scores:
        """The task's scores on the held-out set, or on the test set, with the averaged weights where there are any.

        Every process computes the outputs of its part of the set; the first joins them and scores the whole.
        """
        self.state.check_weights()
        networks, ranks = self.state.evaluated_networks, self.settings.ranks
        batches, before = self.batches.held_out, self.batches.held_out_before
        if tests and self.batches.test:
            batches, before = self.batches.test, self.batches.test_before

        def work() -> Outputs | None:
            for network in networks.values():
                network.eval()
            try:
                with self.autocast():
                    return self.task.outputs(networks, self.until_interrupted(batches()), before)
            except _EvaluationGivenUp:
                return None

        parts, scores = ranks.gather(work), Scores()

        def conclude() -> None:
            whole = [part for part in parts if part is not None]
            if len(whole) == len(parts):
                scores.update((self.task.scores_of_test if tests else self.task.scores_of)(join(whole)))

        ranks.first_only(conclude)
        scores = ranks.share(scores)
        if not scores:
            raise _EvaluationGivenUp
        return scores

    def save_after(self, error: Exception) -> None:
        """Saves what was trained where an error came between two steps; raises what is not just the wish to stop."""
        stopped, state = isinstance(error, _EvaluationGivenUp), self.state
        # What was trained is whole where no batch came, and anything else would be in the middle of a step.
        between_steps = stopped or self.lacks_data
        if between_steps and state.step > state.saved_step and (stopped or self.settings.ranks.world_size == 1):
            state.save()
        interrupted = bool(self.batches.interrupts)
        if self.lacks_data and not interrupted:
            raise UserError(f"{error}; {self.how_to_continue}") from error
        # A termination of all processes may end the data workers, and other processes of this run, first.
        if not (between_steps or (interrupted and isinstance(error, RuntimeError))):
            raise error

    def watched(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The same batches; keeps in mind where they fail to come, which spoils nothing that was trained."""
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

    def until_interrupted(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches on the device; raises _EvaluationGivenUp instead of going on with a run that is to stop."""
        for batch in self.watched(batches):
            if self.batches.interrupts:
                raise _EvaluationGivenUp
            yield self.to_device(batch)

    def to_device(self, batch: Batch, augment: Callable[[Batch, int], Batch] | None = None) -> Batch:
        """The batch on the device, augmented there if asked, and laid out in memory as the networks want it."""
        batch = {name: value.to(self.settings.ranks.device, non_blocking=True) for name, value in batch.items()}
        if augment:
            batch = augment(batch, self.state.step)
        if not self.settings.loop.channels_last:
            return batch
        return {
            name: value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value
            for name, value in batch.items()
        }

    def autocast(self) -> torch.autocast:
        """The precision of this run, as a context."""
        low = self.settings.schedule.precision == "bfloat16"
        return torch.autocast(self.settings.ranks.device.type, dtype=torch.bfloat16, enabled=low)

    def write(self, kind: str, **values: object) -> None:
        """A line in the journal, in the first process."""
        if self.journal:
            self.journal.write(kind, self.state.step, **values)

    @property
    def epoch(self) -> float:
        """Passes over the training set so far."""
        return self.state.step / self.settings.schedule.steps_per_epoch

    @property
    def how_to_continue(self) -> str:
        """The command that continues a stopped run, as a clause."""
        return f"`hvit resume {self.settings.folder}` continues exactly from step {self.state.saved_step}"


def _parts(batch: Batch, count: int) -> list[Batch]:
    pieces = {name: value.chunk(count) for name, value in batch.items()}
    return [{name: piece[number] for name, piece in pieces.items()} for number in range(count)]


def _numbers(scores: Scores) -> Scores:
    """What the journal keeps of scores: numbers, and what goes wrong."""
    return {name: value for name, value in scores.items() if isinstance(value, (int, float)) or name == "warning"}
