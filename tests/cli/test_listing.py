"""Models and recipes are listed for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Callable

Run = Callable[..., tuple[int, str, str]]


def test_models_and_recipes_are_listed_as_tables_and_as_json(hvit: Run) -> None:
    _, table, _ = hvit("models", "nest_tiny*")
    assert "nest_tiny_224" in table
    assert "17.06 M" in table
    _, lines, _ = hvit("models", "nest_tiny_224", "--json")
    assert json.loads(lines)["parameters"] == 17_057_608
    _, lines, _ = hvit("recipes", "nest*digits", "--json")
    assert [json.loads(line)["name"] for line in lines.splitlines()] == ["nest_micro_digits"]
