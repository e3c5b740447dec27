"""Help fits the terminal, says defaults once, and shows an example that README shows, too."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from hvit.cli.experiments import ACTIONS
from hvit.cli.help import EXAMPLES, print_help
from hvit.cli.main import VERBS
from hvit.recipes import get_recipe, list_recipes

Run = Callable[..., tuple[int, str, str]]
COMMANDS = [(), *((verb,) for verb in VERBS), *(("experiments", action) for action in ACTIONS)]


def _recipes_of_every_kind() -> list[tuple[str, str]]:
    """A recipe for each kind of model and each kind of data; the others have the same options."""
    recipes = {name: get_recipe(name) for name in list_recipes()}
    chosen = {type(recipe.model): name for name, recipe in recipes.items()}.values()
    others = {type(recipe.data): name for name, recipe in recipes.items()}.values()
    return [*(("train", name) for name in sorted({*chosen, *others})), ("plan", "photos")]


@pytest.mark.parametrize("columns", [80, 40, 200])
def test_no_line_of_help_is_wider_than_the_terminal(hvit: Run, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for words in [*COMMANDS, *(_recipes_of_every_kind() if columns == 80 else [])]:
        status, out, err = hvit(*words, "--help")
        assert (status, err) == (0, ""), words
        assert max(map(len, out.splitlines())) <= min(columns, 100), words


def test_every_command_has_an_example_and_readme_shows_the_same(hvit: Run) -> None:
    for words in COMMANDS[1:]:
        _, out, _ = hvit(*words, "--help")
        if words != ("experiments",):
            assert "example:\n  hvit " in out, words
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^\| \[(\w+)\]\(\S+\) \| `(.*?)` \|", readme, re.MULTILINE))
    assert shown == {verb: EXAMPLES[verb] for verb in VERBS}
    assert "--data.root FOLDER" in hvit("train", "photos", "--help")[1]
    assert "--data.root FOLDER" not in hvit("train", "nest_micro_digits", "--help")[1]


@dataclass(frozen=True)
class _Inner:
    """Sizes of the inside."""

    depth: int = 3
    """Layers."""


@dataclass(frozen=True)
class _Toy:
    """Does something.

    And more."""

    kind: Literal["a", "b"] = "a"
    """Which one."""
    length: float | None = None
    """Length in metres; default: as measured."""
    size: tuple[int, int] = (2, 3)
    """Height and width."""
    name: str = ""
    """What it is called."""
    shown: bool = True
    """Show it."""
    json: bool = False
    """Print JSON."""
    inner: _Inner = field(default_factory=_Inner)


def test_an_option_has_what_it_takes_and_its_default_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    print_help(_Toy, "hvit toy", _Toy(length=2.5), "hvit toy")
    out = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[:5] == ["usage: hvit toy [options]", "", "Does something.", "", "And more."]
    for line in (
        "--kind a|b Which one. Default: a.",
        "--length X Length in metres; default: as measured. Here: 2.5.",
        "--size N N Height and width. Default: 2 3.",
        "--name TEXT What it is called. Default: none.",
        "--shown, --no-shown Show it. Default: yes.",
        "--json Print JSON.",
        "--inner.depth N Layers. Default: 3.",
    ):
        assert line in lines
    assert lines.index("output:") < lines.index("--json Print JSON.") < lines.index("inner:")
    assert "Sizes of the inside." in lines
