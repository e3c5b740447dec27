"""A recipe is strict JSON: nothing is lost, unknown fields are named, and what is no recipe is refused."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from hvit import recipes
from hvit.data.open import FolderData
from hvit.errors import UserError
from hvit.recipe import as_json, read_recipe, write_recipe

DIGITS = recipes.get_recipe("nest_micro_digits")


@pytest.mark.parametrize("name", ["\0", "\x1b[2J", "two\nlines", "\u202e", "\ud800"])
def test_an_unknown_field_is_named_without_its_orders_to_a_terminal(tmp_path: Path, name: str) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps(as_json(DIGITS) | {name: 1}))
    with pytest.raises(UserError, match=r"recipe\.json is not a valid recipe") as caught:
        read_recipe(tmp_path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{" * 100_000, b'{"name": ' * 60_000, b"\xff\xfe", b'{"name": "\\ud800"}', b" " * (2**20 + 1)],
)
def test_what_is_no_recipe_is_refused_at_once(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "recipe.json").write_bytes(content)
    with pytest.raises(UserError, match=r"recipe\.json"):
        read_recipe(tmp_path)


def test_nothing_of_a_recipe_is_lost_on_its_way_to_json() -> None:
    assert as_json(DIGITS) == json.loads(json.dumps(asdict(DIGITS)))  # type: ignore[call-overload]


@pytest.mark.parametrize("before", ["/gone/run/", "C:\\gone\\run\\", ""])
def test_a_table_in_the_run_folder_is_found_where_the_folder_is_now(tmp_path: Path, before: str) -> None:
    recipe = replace(
        recipes.get_recipe("nest_micro_folder"), data=FolderData(root="/d", table=f"{before}samples.jsonl")
    )
    write_recipe(recipe, tmp_path)
    assert read_recipe(tmp_path) == recipe
    (tmp_path / "samples.jsonl").write_text("")
    assert read_recipe(tmp_path).data == FolderData(root="/d", table=str(tmp_path / "samples.jsonl"))
