"""What an experiment is: a named grid of runs, the claim that it tests, and what would refute the claim."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from hvit.data.open import CifarData, DigitsData, MovingDigitsData
from hvit.recipe import Recipe

ScaleName = Literal["small", "quick", "published"]
"""small: the sizes for an afternoon or two of one CPU; quick: the same grid with a few thousand images a run, for some
hours in all; published: the papers' own sizes, for GPUs."""


@dataclass(frozen=True)
class Pretraining:
    """A run whose weights others start from; cells that name the same one share it."""

    name: str
    recipe: Recipe
    family: str | None = None


@dataclass(frozen=True)
class Cell:
    """A cell of the grid: one recipe, run once for every seed.

    factors: what it is, by the columns of the table. family: whose learning rate of the sweep it gets; None: that of
    its recipe. home: the experiment whose runs it shares, by the same name. trains: whether it trains; a cell that
    does not tests the weights of its pretraining on the held-out data of its recipe.
    """

    name: str
    factors: Mapping[str, str]
    recipe: Recipe
    family: str | None = None
    pretraining: Pretraining | None = None
    home: str | None = None
    trains: bool = True

    def __post_init__(self) -> None:
        assert self.trains or self.pretraining is not None, "what does not train tests what was trained before"


@dataclass(frozen=True)
class Claim:
    """A sentence that a difference between cells supports or refutes.

    The difference is the mean of the scores of `plus` minus that of `minus`, and minus the same of `than` where it is
    given, a difference of differences. The claim holds where the whole interval lies above -margin, and does not where
    all of it lies below. margin: a loss that counts as none, as a share of the images.
    """

    sentence: str
    plus: tuple[str, ...]
    minus: tuple[str, ...]
    than: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    margin: float = 0.0
    measure: str = "top1"

    def weights(self) -> dict[str, float]:
        """The weight of every cell in the difference."""
        found: dict[str, float] = {}
        sides = [(self.plus, 1.0), (self.minus, -1.0)]
        if self.than is not None:
            sides += [(self.than[0], -1.0), (self.than[1], 1.0)]
        for cells, sign in sides:
            for cell in cells:
                found[cell] = found.get(cell, 0.0) + sign / len(cells)
        return found


@dataclass(frozen=True)
class Header:
    """What is said of an experiment before it runs."""

    title: str
    claim: str
    published: str
    refuted_by: str
    cost: str


@dataclass(frozen=True)
class Measure:
    """A column of numbers: a key of the journal's lines of evaluation, of the run or of its pretraining."""

    key: str
    title: str
    stage: Literal["run", "pretraining"] = "run"


TOP1 = Measure("top1", "top-1")


def with_seed(recipe: Recipe, seed: int) -> Recipe:
    """The same recipe with another seed."""
    return replace(recipe, seed=seed)


@dataclass(frozen=True)
class Experiment:
    """A grid of cells with its header and its claims.

    reference: the cell that all others are compared with in the table. further: tables that only this experiment has,
    made of its results. of_seed: a recipe for a seed, where more changes with the seed than the seed, such as the fold.
    """

    name: str
    header: Header
    cells: tuple[Cell, ...]
    claims: tuple[Claim, ...]
    reference: str
    seeds: int = 2
    measures: tuple[Measure, ...] = (TOP1,)
    further: Callable[[Any], list[Table]] | None = None
    of_seed: Callable[[Recipe, int], Recipe] = with_seed

    @property
    def families(self) -> tuple[str, ...]:
        """The families whose learning rate is looked for first, in the order of the cells."""
        named = [one.family for cell in self.cells for one in (cell.pretraining, cell) if one is not None]
        return tuple(dict.fromkeys(family for family in named if family is not None))

    def images(self) -> int:
        """Training images that all runs of one seed see, without the sweeps and what other experiments run."""
        stages = {one.name: one.recipe for cell in self.cells if (one := cell.pretraining) is not None}
        stages |= {f" {cell.name}": cell.recipe for cell in self.cells if cell.home is None and cell.trains}
        return sum(map(images_seen, stages.values()))


@dataclass(frozen=True)
class Table:
    """A table of the results: its title, columns and rows of texts."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]] = field(default_factory=tuple)


def images_seen(recipe: Recipe) -> int:
    """Training images that a run sees; of folders, whose size is not known before, none are counted."""
    data = recipe.data
    if not isinstance(data, CifarData):
        return 0
    classes, whole = (10, 5_000) if data.kind == "cifar10" else (100, 500)
    size = classes * (data.num_per_class or whole)
    return recipe.loop.epochs * (size // recipe.loop.batch_size) * recipe.loop.batch_size


def with_rate(recipe: Recipe, rate: float) -> Recipe:
    """The same recipe with another peak learning rate for 256 images."""
    return replace(recipe, optimize=replace(recipe.optimize, learning_rate_per_256=rate))


def with_data_under(recipe: Recipe, root: str) -> Recipe:
    """The same recipe with its data in the folder of that name under a root."""
    data = recipe.data
    if not root or isinstance(data, DigitsData | MovingDigitsData):
        return recipe
    return replace(recipe, data=replace(data, root=f"{root}/{data.root}"))
