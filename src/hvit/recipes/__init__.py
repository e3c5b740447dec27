"""The named runs we stand behind: `hvit recipes` lists them, `hvit train NAME` runs one.

Published settings are in one file per family, as tables like those of the papers; `micro.py` holds our own, for a CPU.
Each file ends with `RECIPES`. What is said of them is stored (`headers.py`), so that names are listed without torch.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cache
from typing import TYPE_CHECKING

from hvit.errors import UserError, did_you_mean
from hvit.markup import quoted
from hvit.recipes.headers import Header, stored

if TYPE_CHECKING:
    from hvit.recipe import Recipe
    from hvit.recipes.named import Named

__all__ = ["Header", "get_recipe", "header", "list_recipes"]


def list_recipes(pattern: str = "*") -> list[str]:
    """Names of the recipes that match a shell pattern such as "nest*"."""
    return [name for name in stored() if fnmatchcase(name, pattern)]


def get_recipe(name: str) -> Recipe:
    """The recipe of a name, with its defaults. Raises UserError for an unknown one."""
    known = _known(name)
    return named_recipes()[known].recipe


def header(name: str) -> Header:
    """What a recipe claims, costs and gave here. Raises UserError for an unknown one."""
    return stored()[_known(name)].header


@cache
def named_recipes() -> dict[str, Named]:
    """Every recipe with its header, by its name."""
    from hvit.recipes import distilled, generation, hiera, masked, micro, mvit, nest, photos

    every = (photos, micro, distilled, nest, mvit, hiera, masked, generation)
    return {one.recipe.name: one for file in every for one in file.RECIPES}


def _known(name: str) -> str:
    if name not in stored():
        meant = did_you_mean(name, stored())
        raise UserError(f"there is no recipe called {quoted(name)}{meant or ';'} `hvit recipes` lists them")
    return name
