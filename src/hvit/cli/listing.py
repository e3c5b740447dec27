"""The verbs that list names: models and recipes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase

import tyro

from hvit.cli.arguments import parse
from hvit.cli.printing import cut, print_json_lines, print_table, say, table_width
from hvit.errors import UserError, did_you_mean
from hvit.markup import quoted

# Heavy imports stand inside the verbs, so that `hvit --help` answers at once.


@dataclass(frozen=True)
class _ListArguments:
    pattern: tyro.conf.Positional[str] = "*"
    """Shell pattern of the names to list, such as "nest*"; default: all."""
    json: bool = False
    """Print JSON lines instead of a table."""


@dataclass(frozen=True)
class ModelsArguments(_ListArguments):
    """Lists the models: parameters, multiply-adds of a forward pass, input size, published score and its source."""


@dataclass(frozen=True)
class RecipesArguments(_ListArguments):
    """Lists the recipes: what each trains, on which data, and whether it was run here; with the name of one, its claim,
    cost and expected score."""


def models(rest: list[str]) -> None:
    """lists the models: size, cost, published score"""
    arguments = parse(ModelsArguments, "hvit models", rest)
    from hvit.models import counts

    stored = counts.stored()
    names = [name for name in stored if fnmatchcase(name, arguments.pattern)]
    rows = {name: stored[name] for name in _matching(names, "model", arguments.pattern, stored)}
    if arguments.json:
        print_json_lines([{"name": name, **row} for name, row in rows.items()])
        return
    columns = ["model", "parameters", "multiply-adds", "input", "published score", "source"]
    cells = [
        (
            name,
            f"{row['parameters'] / 1e6:.2f} M",
            counts.in_billions(row["multiply_adds"]),
            row["input"],
            row["published"] or "-",
            row["source"],
        )
        for name, row in rows.items()
    ]
    if table_width() < 110:  # where a score is written is in the JSON, too
        print_table(["model", "params", "GMAC", *columns[3:5]], [_narrow(row) for row in cells], ["model"])
        say("params: parameters; GMAC: multiply-adds; --json, or more columns, adds sources")
        return
    print_table(columns, cells, ["model"])


def recipes(rest: list[str]) -> None:
    """lists the recipes: what each is for, its cost and score"""
    arguments = parse(RecipesArguments, "hvit recipes", rest)
    from hvit.recipes import list_recipes
    from hvit.recipes.headers import stored

    names = _matching(list_recipes(arguments.pattern), "recipe", arguments.pattern, list_recipes())
    headers = {name: stored()[name].header for name in names}
    if arguments.json:
        print_json_lines({"name": name, **asdict(one)} for name, one in headers.items())
        return
    if names == [arguments.pattern]:
        for key, value in {"recipe": names[0], **asdict(headers[names[0]])}.items():
            if value:
                say(f"{key.replace('_', ' '):<10} {value}")
        return
    rows = [(name, stored()[name].data, one.summary, one.run_here) for name, one in headers.items()]
    if table_width() >= 110:
        print_table(["recipe", "data", "what it does", "run here"], rows, ["recipe", "data"])
    else:
        longest = [max(len(row[column]) for row in rows) for column in (0, 1)]
        for name, data, what, run_here in rows:
            say(cut(f"{name:<{longest[0]}}  {data:<{longest[1]}}  run here: {run_here}", table_width()))
            say(cut(f"    {what}", table_width()))
    say()
    say("`hvit recipes NAME` shows claim, cost and expected score of one recipe")


def _matching(names: list[str], what: str, pattern: str, known: Iterable[str]) -> list[str]:
    if not names:
        near = did_you_mean(pattern, known)
        raise UserError(f"no {what} matches {quoted(pattern)}{near or ';'} `hvit {what}s` lists them all")
    return names


def _narrow(row: tuple[str, ...]) -> tuple[str, ...]:
    """A row of `hvit models` without units and source."""
    name, parameters, multiply_adds, size, published, _ = row
    return name, parameters.replace(" ", ""), multiply_adds.removesuffix(" G"), size, published
