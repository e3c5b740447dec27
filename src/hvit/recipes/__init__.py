"""The named runs we stand behind: `hvit recipes` lists them, `hvit train NAME` carries one out.

A recipe is a function without arguments; its docstring opens with what it does and goes on with the lines
"claim", "command", "cost", "expected", "source" and "run here". A published recipe also says where it departs from its
source, under "departures".
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from hvit.errors import UserError, did_you_mean
from hvit.markup import quoted
from hvit.recipe import Recipe
from hvit.recipes.classify import CLASSIFY
from hvit.recipes.generate import GENERATE
from hvit.recipes.hiera_images import HIERA_IMAGES
from hvit.recipes.hiera_video import HIERA_VIDEO
from hvit.recipes.lineage import LINEAGE
from hvit.recipes.pretrain import PRETRAIN
from hvit.recipes.video import VIDEO

_RECIPES: dict[str, Callable[[], Recipe]] = {
    make.__name__: make for make in (*CLASSIFY, *LINEAGE, *HIERA_IMAGES, *PRETRAIN, *VIDEO, *HIERA_VIDEO, *GENERATE)
}


@dataclass(frozen=True)
class Header:
    """What a recipe's docstring says of it; `departures` is empty for recipes of our own."""

    summary: str
    claim: str
    command: str
    cost: str
    expected: str
    source: str
    run_here: str
    departures: str = ""


def list_recipes(pattern: str = "*") -> list[str]:
    """Names of the recipes that match a shell pattern such as "nest*"."""
    return [name for name in _RECIPES if fnmatchcase(name, pattern)]


def get_recipe(name: str) -> Recipe:
    """The recipe of a name, with its defaults. Raises UserError for an unknown one."""
    if name not in _RECIPES:
        meant = did_you_mean(name, _RECIPES)
        raise UserError(f"there is no recipe called {quoted(name)}{meant or ';'} `hvit recipes` lists them")
    return _RECIPES[name]()


def header(name: str) -> Header:
    """What a recipe claims, costs and gave, from its docstring."""
    get_recipe(name)
    summary, _, rest = inspect.cleandoc(_RECIPES[name].__doc__ or "").partition("\n\n")
    values: dict[str, str] = {}
    key = ""
    for line in rest.splitlines():
        if not line.startswith(" "):
            key, _, line = line.partition(":")
            key = key.replace(" ", "_")
        values[key] = f"{values.get(key, '')} {line.strip()}".strip()
    return Header(" ".join(summary.split()), **values)
