"""From experiments to their runs: the folder of each, its recipe, what it waits for, and how far it is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite
from pathlib import Path
from typing import Literal

from hvit.experiments.experiment import Cell, Experiment, ScaleName, with_data_under, with_rate
from hvit.experiments.settings import sweep
from hvit.recipe import RECIPE, Recipe
from hvit.run_names import WEIGHTS
from hvit.training.journal import JOURNAL, read_journal

State = Literal["new", "begun", "done", "failed"]
BEYOND = 2
"""Learning rates that a sweep tries at most beyond those of its scale."""


@dataclass(frozen=True)
class Job:
    """A run of an experiment: where, what, with whose learning rate, and from whose weights.

    trains: whether it trains, or tests these weights as they are. sweeps: the family whose learning rate it looks for.
    """

    folder: Path
    recipe: Recipe
    family: str | None = None
    starts_from: Path | None = None
    trains: bool = True
    sweeps: str | None = None


@dataclass(frozen=True)
class Place:
    """Where the runs of a scale are: `root`/scale/experiment/cell-seed-N."""

    root: Path
    scale: ScaleName

    def sweep(self, family: str, rate: float) -> Path:
        """The folder of a run that tries a learning rate."""
        return self.root / self.scale / "learning_rates" / f"{family}-{rate:g}"

    def run(self, experiment: Experiment, cell: Cell, seed: int) -> Path:
        """The folder of a cell's run."""
        return self.root / self.scale / (cell.home or experiment.name) / f"{cell.name}-seed-{seed}"

    def pretraining(self, experiment: Experiment, cell: Cell, seed: int) -> Path:
        """The folder of the run that a cell starts from."""
        assert cell.pretraining is not None
        return self.root / self.scale / experiment.name / f"pretraining-{cell.pretraining.name}-seed-{seed}"


def jobs_of(experiments: Sequence[Experiment], place: Place, seeds: int | None, data_root: str) -> list[Job]:
    """All runs in the order in which they are done: for each experiment its sweeps, then seed after seed every cell.

    How long a sweep is depends on its runs (`sweep_runs`), so the list may have grown after one of them.
    """
    jobs: dict[Path, Job] = {}

    def add(
        folder: Path,
        recipe: Recipe,
        family: str | None = None,
        starts_from: Path | None = None,
        trains: bool = True,
        sweeps: str | None = None,
    ) -> None:
        jobs.setdefault(folder, Job(folder, with_data_under(recipe, data_root), family, starts_from, trains, sweeps))

    for experiment in experiments:
        for family in experiment.families:
            for rate, recipe in sweep_runs(family, place).items():
                add(place.sweep(family, rate), recipe, sweeps=family)
        for seed in range(experiment.seeds if seeds is None else seeds):
            for cell in experiment.cells:
                start = None
                if cell.pretraining is not None:
                    start = place.pretraining(experiment, cell, seed)
                    before = experiment.of_seed(cell.pretraining.recipe, seed)
                    add(start, before, family=cell.pretraining.family)
                recipe = experiment.of_seed(cell.recipe, seed)
                add(place.run(experiment, cell, seed), recipe, cell.family, start, cell.trains)
    return list(jobs.values())


def part_of(jobs: Sequence[Job], part: tuple[int, int]) -> list[Job]:
    """The runs of part k of n: every n-th from the k-th, where the sweep of a family counts as one."""
    numbers: dict[str | Path, int] = {}
    for job in jobs:
        numbers.setdefault(job.sweeps or job.folder, len(numbers))
    return [job for job in jobs if numbers[job.sweeps or job.folder] % part[1] == part[0]]


def missing(jobs: Sequence[Job]) -> int:
    """How many runs are neither done nor failed."""
    return sum(state_of(job.folder) not in ("done", "failed") for job in jobs)


def state_of(folder: Path) -> State:
    """How far a run is, from its journal alone."""
    if not os.path.lexists(folder / RECIPE):
        return "new"
    kinds = [row["kind"] for row in read_journal(folder / JOURNAL)] if (folder / JOURNAL).exists() else []
    if "finish" in kinds:
        return "done"
    return "failed" if kinds and "failed" in kinds else "begun"


@dataclass(frozen=True)
class Rate:
    """The learning rate that a family's sweep chose. is_edge: whether it is the smallest or largest that was tried."""

    rate: float
    losses: dict[float, float]

    @property
    def is_edge(self) -> bool:
        """Whether a rate beyond those that were tried may be better."""
        return self.rate in (min(self.losses), max(self.losses))


def sweep_runs(family: str, place: Place) -> dict[float, Recipe]:
    """The short runs that choose a family's learning rate: those of the scale and, while the best of them has the
    smallest or the largest rate, one more beyond it, at most `BEYOND`; none where published rates are taken."""
    runs = dict(sweep(family, place.scale))
    for _ in range(BEYOND if runs else 0):
        losses = {rate: _late_loss(place.sweep(family, rate)) for rate in runs}
        if None in losses.values():
            break
        best = _lowest(losses)
        if best not in (min(runs), max(runs)):
            break
        beyond = best * 2 if best == max(runs) else best / 2
        runs[beyond] = with_rate(runs[best], beyond)
    return dict(sorted(runs.items()))


def chosen_rate(family: str, place: Place) -> Rate | None:
    """The rate with the lowest training loss over the last quarter of its run; None while the sweep is not done.

    A run that failed, such as by a loss that is no number, loses. Where there is no sweep there is nothing to choose.
    """
    losses = {rate: _late_loss(place.sweep(family, rate)) for rate in sweep_runs(family, place)}
    if not losses or None in losses.values():
        return None
    return Rate(_lowest(losses), {rate: loss for rate, loss in losses.items() if loss is not None})


def _lowest(losses: dict[float, float | None]) -> float:
    """The rate of the lowest loss."""
    return min(losses, key=lambda rate: inf if (loss := losses[rate]) is None else loss)


def _late_loss(folder: Path) -> float | None:
    """The mean training loss of the last quarter of a run, infinite where it failed; None while it is not done."""
    state = state_of(folder)
    if state not in ("done", "failed"):
        return None
    rows = [row for row in read_journal(folder / JOURNAL) if row["kind"] == "train"]
    late = [row["loss"] for row in rows if row["step"] > 0.75 * rows[-1]["step"] and isfinite(row["loss"])]
    return sum(late) / len(late) if state == "done" and late else inf


def ready(job: Job, place: Place) -> Recipe | None:
    """The recipe of a run with its learning rate and weights; None while it waits for other runs."""
    recipe = job.recipe
    if job.family is not None and sweep(job.family, place.scale):
        rate = chosen_rate(job.family, place)
        if rate is None:
            return None
        recipe = with_rate(recipe, rate.rate)
    if job.starts_from is None:
        return recipe
    if state_of(job.starts_from) != "done":
        return None
    return replace(recipe, weights=str((job.starts_from / WEIGHTS).resolve()))
