"""Which recipes are trained by default, and what their runs omit."""

from __future__ import annotations

import sys

import pytest

from hvit import recipes
from hvit.models.gan.config import GanConfig
from hvit.models.masked.config import MaskedConfig


def one_per_kind(names: list[str]) -> list[object]:
    """The recipes: slow where an earlier one is of the same builder, kind of data and family, long where images are."""
    seen: set[tuple[object, ...]] = set()
    marked: list[object] = []
    for name in names:
        recipe, is_micro = recipes.get_recipe(name), "micro" in name
        whole = recipe.model
        network = whole.generator if isinstance(whole, GanConfig) else whole
        builder = type(whole).__name__ if isinstance(whole, (GanConfig, MaskedConfig)) or not is_micro else "classifier"
        sampling = getattr(recipe.data, "sampling", "")
        kinds = {(builder, is_micro, type(recipe.data), sampling, recipe.weights is None), (type(network),)}
        marks = [] if kinds - seen else [pytest.mark.slow]
        if name.endswith("_384"):
            marks.append(pytest.mark.long)
        marked.append(pytest.param(name, marks=marks))
        seen |= kinds
    return marked


def leave_out(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Makes functions do nothing where a module of runs or verbs has imported them."""
    modules = [module for name, module in sys.modules.items() if name.startswith(("hvit.runs", "hvit.verbs"))]
    for name in names:
        places = [place for place in modules if name in vars(place) and vars(place)[name].__module__ != place.__name__]
        assert places, f"nothing imports {name}"
        for place in places:
            monkeypatch.setattr(place, name, lambda *_, **__: None)
