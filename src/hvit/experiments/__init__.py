"""Experiments: the tables of the papers as named grids of runs, each with its claim and what would refute it."""

from __future__ import annotations

from collections.abc import Callable

from hvit.errors import UserError, did_you_mean
from hvit.experiments.aggregation import aggregation
from hvit.experiments.augmentation import augmentation
from hvit.experiments.convergence import convergence
from hvit.experiments.data_efficiency import data_efficiency
from hvit.experiments.experiment import Experiment, ScaleName
from hvit.experiments.higher_resolution import higher_resolution
from hvit.experiments.long_runs import long_runs
from hvit.experiments.masking import masking
from hvit.experiments.multi_view import multi_view
from hvit.experiments.rivals import rivals
from hvit.experiments.simplification import simplification
from hvit.experiments.structure import structure
from hvit.markup import quoted

EXPERIMENTS: dict[str, Callable[[ScaleName], Experiment]] = {
    builder.__name__: builder
    for builder in (
        aggregation, convergence, simplification, rivals, augmentation, data_efficiency, higher_resolution, masking,
        structure, multi_view, long_runs,
    )
}  # fmt: skip
"""Every experiment by its name, in the order in which they are run."""


def get_experiment(name: str, scale: ScaleName = "small") -> Experiment:
    """The experiment of a name. Raises UserError for an unknown one."""
    if name not in EXPERIMENTS:
        meant = did_you_mean(name, EXPERIMENTS)
        raise UserError(
            f"there is no experiment called {quoted(name)}{meant or ';'} `hvit experiments list` shows them"
        )
    return EXPERIMENTS[name](scale)
