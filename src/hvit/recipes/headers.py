"""What is said of every recipe, stored: listing them does not wait for torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

# Written by `python -m tests.recipe_headers --write`; tests/recipes/test_headers.py compares it with the recipes.
FILE = "headers.json"


@dataclass(frozen=True)
class Header:
    """What is said of a recipe; `departures`, how it differs from its source, is empty for recipes of our own."""

    summary: str
    claim: str
    command: str
    cost: str
    expected: str
    source: str
    run_here: str
    departures: str = ""


@dataclass(frozen=True)
class Stored:
    """A recipe's header, and the kind of its data."""

    data: str
    header: Header


@cache
def stored() -> dict[str, Stored]:
    """Name of a recipe -> what is said of it, in the order of the recipes."""
    rows = json.loads(files("hvit.recipes").joinpath(FILE).read_text(encoding="utf-8"))
    return {name: Stored(row["data"], Header(**row["header"])) for name, row in rows.items()}
