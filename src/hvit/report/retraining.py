"""The command that trains a model again, as its card states it, and text without the paths of its owner's machine."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from hvit.models.probe import ProbeConfig
from hvit.recipe import Recipe, as_json, leaves
from hvit.recipes import get_recipe, list_recipes

# A path from the root of a file system, of a home folder or of a drive, up to the next sign that ends it in a sentence.
_PATH = re.compile(r"(?<![\w.:/])(?:~?/|[A-Za-z]:[\\/])(?:[^\s,;()'\"]+)")


def without_paths(value: object) -> object:
    """Text, or JSON values, with every path of a machine replaced by "…"."""
    if isinstance(value, str):
        return _PATH.sub("…", value)
    if isinstance(value, Mapping):
        return {name: without_paths(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(one) for one in value]
    return value


def retraining_command(recipe: Recipe) -> str:
    """The command that trains a recipe again, with placeholders for the paths of the owner's machine."""
    probe = isinstance(recipe.model, ProbeConfig)
    if recipe.name not in list_recipes():
        return f"hvit probe {recipe.weights if _by_name(recipe.weights) else 'YOUR_WEIGHTS'} --root YOUR_ROOT"
    now, usual = (leaves(as_json(one)) for one in (recipe, get_recipe(recipe.name)))
    # What follows from the data, or from the weights that a probe starts from.
    derived = ("model.num_classes", "name", "summary", "loop.device", "loop.workers", "data.cache")
    derived += (
        ("model.encoder.", "model.mean", "model.std", "crop", "interpolation", "optimize.freeze") if probe else ()
    )
    words = ["hvit", "train", recipe.name]
    for name, value in now.items():
        if name.startswith(derived) or value == usual.get(name) or (value is None and name != "weights"):
            continue
        words += _option(name, value)
    return shlex.join(words)


def _option(name: str, value: object) -> list[str]:
    option = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [
            option
            if value
            else f"--{name.rpartition('.')[0]}.no-{name.rpartition('.')[2].replace('_', '-')}".replace("--.", "--")
        ]
    values = value if isinstance(value, list) else [value]
    placeholder = f"YOUR_{name.rpartition('.')[2].upper()}"
    return [option, *(placeholder if _is_path(one) else str(one) for one in values)]


def _is_path(value: object) -> bool:
    return isinstance(value, str) and without_paths(value) != value


def _by_name(weights: str | None) -> bool:
    return weights is not None and not _is_path(weights)
