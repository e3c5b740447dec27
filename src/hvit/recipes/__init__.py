"""The named runs we stand behind: `hvit recipes` lists them, `hvit train NAME` runs one.

Published settings are in one file per family, as tables like those of the papers; `micro.py` holds our own, for a CPU.
Each file ends with `RECIPES`.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from hvit.errors import UserError, did_you_mean
from hvit.markup import quoted
from hvit.recipe import Recipe
from hvit.recipes import distilled, generation, hiera, masked, micro, mvit, nest, photos
from hvit.recipes.named import Header, Named

__all__ = ["Header", "get_recipe", "header", "list_recipes"]

_FILES = (photos, micro, distilled, nest, mvit, hiera, masked, generation)
_RECIPES: dict[str, Named] = {one.recipe.name: one for file in _FILES for one in file.RECIPES}


def list_recipes(pattern: str = "*") -> list[str]:
    """Names of the recipes that match a shell pattern such as "nest*"."""
    return [name for name in _RECIPES if fnmatchcase(name, pattern)]


def get_recipe(name: str) -> Recipe:
    """The recipe of a name, with its defaults. Raises UserError for an unknown one."""
    return _named(name).recipe


def header(name: str) -> Header:
    """What a recipe claims, costs and gave here. Raises UserError for an unknown one."""
    return _named(name).header


def _named(name: str) -> Named:
    if name not in _RECIPES:
        meant = did_you_mean(name, _RECIPES)
        raise UserError(f"there is no recipe called {quoted(name)}{meant or ';'} `hvit recipes` lists them")
    return _RECIPES[name]
