"""The results of an experiment from the journals of its runs alone: means, differences, intervals, verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, nan, sqrt
from pathlib import Path
from statistics import mean, median, stdev
from typing import Literal

from hvit.experiments.experiment import Cell, Claim, Experiment, Measure
from hvit.experiments.grid import Place, state_of
from hvit.training.journal import JOURNAL, Row, read_journal

Verdict = Literal["held", "did not hold", "cannot be decided at this scale", "not run yet"]
LEVEL = 0.95
"""The share of intervals that hold the truth, if the assumptions do."""
_HARDLY_ABOVE_CHANCE = 1.3


@dataclass(frozen=True)
class Scores:
    """What the finished runs of a cell reached. values: by measure and seed. seconds, speed: of training, the medians.

    speed: training images per second.
    """

    values: Mapping[str, Mapping[int, float]]
    seconds: float
    speed: float
    first: str

    def of(self, key: str) -> Mapping[int, float]:
        """The values of a measure by seed."""
        return self.values.get(key, {})

    @property
    def mean(self) -> float:
        """The mean of the first measure over the seeds."""
        return mean(self.of(self.first).values())


@dataclass(frozen=True)
class Difference:
    """A difference of cells over the seeds that all of them have, with intervals of 95 %.

    low, high: from the spread that all cells of the grid share: what is left of the scores without the means of cells
    and seeds (randomised blocks), so a few seeds suffice, if cells spread alike. own_low, own_high: from the spread of
    these differences alone, which with two seeds is hardly known.
    """

    mean: float
    by_seed: Mapping[int, float]
    low: float = nan
    high: float = nan
    own_low: float = nan
    own_high: float = nan


class Results:
    """An experiment and what its finished runs reached."""

    def __init__(self, experiment: Experiment, place: Place, seeds: int | None = None) -> None:
        self.experiment, self.place = experiment, place
        self.seeds = range(experiment.seeds if seeds is None else seeds)
        self._cells = {cell.name: self._read(cell) for cell in experiment.cells}

    def of(self, cell: Cell | str) -> Scores | None:
        """The scores of a cell; None while none of its runs is finished."""
        return self._cells[cell if isinstance(cell, str) else cell.name]

    def speed_of_pretraining(self, cell: str) -> float | None:
        """Images per second of the pretraining that a cell starts from, the median; None where none is finished."""
        one = next(one for one in self.experiment.cells if one.name == cell)
        folders = [self.place.pretraining(self.experiment, one, seed) for seed in self.seeds]
        rows = [row for folder in folders if state_of(folder) == "done" for row in read_journal(folder / JOURNAL)]
        speeds = [row["images_per_second"] for row in rows if row["kind"] == "train"]
        return median(speeds) if speeds else None

    def collapsed(self, cell: Cell | str) -> tuple[int, ...]:
        """The seeds with which a classifier did not train: it ends hardly above chance.

        Such a run says nothing about the spread of those that trained, and its cell nothing about a claim.
        """
        scores = self.of(cell)
        one = cell if isinstance(cell, Cell) else next(one for one in self.experiment.cells if one.name == cell)
        classes = getattr(one.recipe.model, "num_classes", None)
        if scores is None or not classes or scores.first != "top1":
            return ()
        return tuple(seed for seed, value in scores.of("top1").items() if value < _HARDLY_ABOVE_CHANCE / classes)

    @property
    def finished(self) -> int:
        """Runs that are finished."""
        return sum(len(scores.of(scores.first)) for scores in self._cells.values() if scores is not None)

    def _read(self, cell: Cell) -> Scores | None:
        measures = self.experiment.measures
        values: dict[str, dict[int, float]] = {measure.key: {} for measure in measures}
        seconds, speeds = [], []
        for seed in self.seeds:
            folder = self.place.run(self.experiment, cell, seed)
            if state_of(folder) != "done":
                continue
            rows = read_journal(folder / JOURNAL)
            seconds.append(_last(rows, "finish", "seconds"))
            speeds += [row["images_per_second"] for row in rows if row["kind"] == "train"]
            for measure in measures:
                value = self._value(cell, seed, measure, folder)
                if isfinite(value):
                    values[measure.key][seed] = value
        if not values[measures[0].key]:
            return None
        return Scores(values, median(seconds), median(speeds or [nan]), measures[0].key)

    def _value(self, cell: Cell, seed: int, measure: Measure, folder: Path) -> float:
        if measure.stage == "pretraining":
            if cell.pretraining is None:
                return nan
            folder = self.place.pretraining(self.experiment, cell, seed)
        return _last(read_journal(folder / JOURNAL), "evaluate", measure.key) if (folder / JOURNAL).exists() else nan

    def difference(self, weights: Mapping[str, float], key: str | None = None) -> Difference | None:
        """A weighted sum of cells; None where no seed has all of them."""
        key = key or self.experiment.measures[0].key
        cells = {name: scores.of(key) if (scores := self.of(name)) is not None else {} for name in weights}
        shared = sorted(set.intersection(*(set(values) for values in cells.values())))
        if not shared:
            return None
        by_seed = {seed: sum(weight * cells[name][seed] for name, weight in weights.items()) for seed in shared}
        found, count = mean(by_seed.values()), len(shared)
        spread, freedom = self.spread(key)
        half = quantile(freedom) * spread * sqrt(sum(weight**2 for weight in weights.values()) / count)
        own = quantile(count - 1) * stdev(by_seed.values()) / sqrt(count) if count > 1 else nan
        return Difference(found, by_seed, found - half, found + half, found - own, found + own)

    def spread(self, key: str) -> tuple[float, int]:
        """The standard deviation of a score around the means of its cell and seed, and its degrees of freedom.

        Of the cells that have every seed that most of the cells have, and that trained with all of them; nan and 0
        where that leaves nothing.
        """
        by_cell = [
            scores.of(key)
            for name, scores in self._cells.items()
            if scores is not None and scores.of(key) and not self.collapsed(name)
        ]
        seeds = sorted({seed for values in by_cell for seed in values})
        seeds = [seed for seed in seeds if 2 * sum(seed in values for values in by_cell) > len(by_cell)]
        whole = [[values[seed] for seed in seeds] for values in by_cell if all(seed in values for seed in seeds)]
        if len(whole) < 2 or len(seeds) < 2:
            return nan, 0
        freedom = (len(whole) - 1) * (len(seeds) - 1)
        rows, columns, all_ = [mean(row) for row in whole], [mean(column) for column in zip(*whole, strict=True)], 0.0
        grand = mean(rows)
        for row, row_mean in zip(whole, rows, strict=True):
            all_ += sum((one - row_mean - of + grand) ** 2 for one, of in zip(row, columns, strict=True))
        return sqrt(all_ / freedom), freedom

    def verdict(self, claim: Claim) -> tuple[Verdict, Difference | None]:
        """Whether a claim held."""
        found = self.difference(claim.weights(), claim.measure)
        if found is None:
            return "not run yet", None
        if any(self.collapsed(name) for name in claim.weights()):
            return "cannot be decided at this scale", found
        if found.low > -claim.margin:
            return "held", found
        return ("did not hold" if found.high < -claim.margin else "cannot be decided at this scale"), found


def _last(rows: list[Row], kind: str, key: str) -> float:
    """The last number of a key in the lines of a kind; nan where there is none."""
    found = [row[key] for row in rows if row["kind"] == kind and isinstance(row.get(key), int | float)]
    return float(found[-1]) if found else nan


def quantile(freedom: int) -> float:
    """How many standard errors an interval reaches to each side, by Student's t."""
    if freedom < 1:
        return nan
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + LEVEL) / 2))
