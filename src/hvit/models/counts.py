"""What counting found for every model of the catalogue, stored: listing them needs neither a minute nor torch."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import TypedDict

from hvit.markup import three_digits

# Written by `python benchmarks/seed_tables.py --write-counts`; tests/models/test_catalogue.py counts again.
FILE = "counts.json"


class Counted(TypedDict):
    """One row of `hvit models`."""

    parameters: int
    multiply_adds: int
    """Of one forward pass on one input."""
    input: str
    """Channels and sizes, such as "3x224x224"."""
    published: str | None
    source: str


@cache
def stored() -> dict[str, Counted]:
    """Name of a model -> its row of `hvit models`, in the order of the catalogue."""
    return json.loads(files("hvit.models").joinpath(FILE).read_text(encoding="utf-8"))


def in_billions(multiply_adds: int) -> str:
    """A count of multiply-adds in billions, such as "9.38 G"."""
    billions = multiply_adds / 1e9
    return f"{three_digits(billions)} G"
