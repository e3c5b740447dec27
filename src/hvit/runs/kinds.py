"""The table of all kinds of runs."""

from __future__ import annotations

from hvit.recipe import Recipe
from hvit.runs.classification import Classification
from hvit.runs.distillation import Distillation
from hvit.runs.generation import Generation
from hvit.runs.kind import Kind, Report
from hvit.runs.pretraining import Pretraining
from hvit.runs.probing import Probing

KINDS: tuple[Kind, ...] = (Distillation(), Classification(), Pretraining(), Generation(), Probing())


def kind_of(config: object) -> Kind:
    """The kind that a model's configuration belongs to."""
    return next(kind for kind in KINDS if isinstance(config, kind.configs))


def kind_of_run(recipe: Recipe) -> Kind:
    """The kind that a recipe belongs to."""
    return next(kind for kind in KINDS if kind.takes(recipe))


def settle(recipe: Recipe, report: Report, download: bool = True) -> tuple[Recipe, Kind]:
    """A recipe with what depends on this machine decided, such as the weights to start from, and its kind.

    report: called with what was decided. download: whether something may be downloaded for it.
    """
    settled, sentence = kind_of_run(recipe).settle(recipe, download)
    if sentence:
        report({"start": sentence})
    return settled, kind_of_run(settled)
