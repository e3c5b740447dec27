"""Every number of a recipe has bounds, which all recipes keep, and nothing beyond them is ever built."""

from __future__ import annotations

import dataclasses
import json
import typing
from dataclasses import replace
from pathlib import Path
from types import UnionType
from typing import Any

import pytest

from hvit import recipes
from hvit.bounds import BOUNDS, LONGEST_TEXT, MOST_ENTRIES, check_bounds
from hvit.errors import UserError
from hvit.recipe import Recipe, as_json, read_recipe
from hvit.verbs import train

DIGITS = recipes.get_recipe("nest_micro_digits")


def numbers_of(kind: Any, name: str = "") -> set[str]:
    """Names of the fields that hold numbers, anywhere in a type."""
    if typing.get_origin(kind) is typing.Literal:
        return {name} if any(isinstance(choice, int) for choice in typing.get_args(kind)) else set()
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind, include_extras=True)
        return set().union(*(numbers_of(hints[field.name], field.name) for field in dataclasses.fields(kind)))
    if typing.get_origin(kind) in (typing.Annotated, typing.Union, UnionType, tuple):
        return set().union(*(numbers_of(one, name) for one in typing.get_args(kind)))
    return {name} if kind in (int, float) else set()


def test_every_number_of_a_recipe_has_bounds_and_nothing_else_has() -> None:
    assert numbers_of(Recipe) == set(BOUNDS)
    assert all(low < high for low, high in BOUNDS.values())


@pytest.mark.parametrize("name", recipes.list_recipes())
def test_our_recipes_are_far_inside_the_bounds(name: str) -> None:
    check_bounds(recipes.get_recipe(name))


@pytest.mark.parametrize(
    ("group", "field", "value"),
    [
        ("loop", "workers", 100_000), ("loop", "batch_size", 10**12), ("loop", "epochs", 10**18),
        ("loop", "max_steps", 10**30), ("augment", "pad", 10**9), ("optimize", "weight_decay", 1e300),
        ("model", "depths", [10**9, 1, 1]), ("model", "dims", [10**9] * 3), ("data", "canvas", 10**6),
        (None, "seed", 10**40), (None, "crop", 1e9), (None, "crop", float("nan")), (None, "weights", "x" * 10_000),
        ("augment", "rand_augment", "rand-m9-n1000000000"), ("augment", "rand_augment", "rand-m99999"),
    ],
)  # fmt: skip
def test_a_recipe_beyond_the_bounds_is_refused_in_a_sentence(
    tmp_path: Path, group: str | None, field: str, value: Any
) -> None:
    content = as_json(DIGITS)
    (content if group is None else content[group])[field] = value
    (tmp_path / "recipe.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"recipe\.json is not a valid recipe") as caught:
        read_recipe(tmp_path)
    assert field in str(caught.value)
    assert len(str(caught.value)) < 1500


def test_a_recipe_made_in_python_is_held_to_the_same_bounds(tmp_path: Path) -> None:
    huge = replace(DIGITS, loop=replace(DIGITS.loop, workers=10**6))
    with pytest.raises(UserError, match=r"loop\.workers must be from 0 to 512; got 1,000,000"):
        train.plan(huge)
    with pytest.raises(UserError, match=r"loop\.workers must be"):
        train.train(huge, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_lists_and_texts_have_ends() -> None:
    long = replace(DIGITS, weights="x" * (LONGEST_TEXT + 1))
    with pytest.raises(UserError, match=r"weights must have at most 4,096 characters; got 4,097"):
        check_bounds(long)

    @dataclasses.dataclass
    class Many:
        dims: tuple[int, ...]

    with pytest.raises(UserError, match=f"dims must have at most {MOST_ENTRIES} entries; got 65"):
        check_bounds(Many((1,) * 65))
