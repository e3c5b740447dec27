"""The verb `experiments` of the command line: list, run, status, table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from hvit.cli.arguments import parse
from hvit.cli.help import print_commands
from hvit.cli.printing import print_json_lines, print_table, say
from hvit.errors import UserError, did_you_mean
from hvit.markup import quoted

if TYPE_CHECKING:
    from hvit.recipe import Recipe

Scale = Literal["small", "quick", "published"]


@dataclass(frozen=True)
class ListArguments:
    """Lists the experiments: what each claims, and how many runs it takes."""

    scale: Scale = "small"
    """Size of the runs: small (the sizes of docs/results/experiments.md), quick (the same grids with a few thousand
    images a run), published (the papers' sizes, for GPUs)."""
    json: bool = False
    """Print JSON lines instead of a table."""


@dataclass(frozen=True)
class RunArguments:
    """Runs what is missing of experiments; finished runs are skipped, begun ones resumed exactly."""

    names: tyro.conf.Positional[tuple[str, ...]]
    """Experiments, in the order in which they are run; all stands for all of them."""
    out: Path = Path("runs/experiments")
    """Folder that holds the run folders of all experiments."""
    scale: Scale = "small"
    """Size of the runs: small, quick (a few thousand images a run), published (the papers' sizes, for GPUs)."""
    data_root: str = ""
    """Folder with the data sets in folders of their own: cifar10, photos10, clips, imagenet."""
    seeds: int | None = None
    """Seeds of every cell, from 0; default: what the experiment says, 2 or 3."""
    budget: float | None = None
    """Minutes after which it stops; the run in progress is saved and resumed next time. Default: no limit."""
    jobs: int = 1
    """Processes at once, each with its part of the runs; with CUDA_VISIBLE_DEVICES they take turns on its devices."""
    part: tuple[int, int] = (0, 1)
    """Part K of N: every N-th run from number K on, so that several machines with a shared folder divide the work."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to run."""
    workers: int | None = None
    """Processes that read and augment images; default: what the recipes say."""
    max_steps: int = 0
    """Stop every run after this many steps; 0: no limit. To see that everything works."""


@dataclass(frozen=True)
class StatusArguments:
    """Counts the runs of experiments that are done, begun and failed."""

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Experiments; default: all."""
    out: Path = Path("runs/experiments")
    """Folder that holds the run folders."""
    scale: Scale = "small"
    """Size of the runs."""
    seeds: int | None = None
    """Seeds of every cell; default: what the experiment says."""
    json: bool = False
    """Print JSON lines instead of a table."""


@dataclass(frozen=True)
class TableArguments:
    """Prints the results of an experiment from the journals of its runs: means, differences, verdicts."""

    name: tyro.conf.Positional[str]
    """The experiment."""
    out: Path = Path("runs/experiments")
    """Folder that holds the run folders."""
    scale: Scale = "small"
    """Size of the runs."""
    seeds: int | None = None
    """Seeds of every cell; default: what the experiment says."""
    picture: Path | None = None
    """PNG file to draw the results in."""
    json: bool = False
    """Print one JSON object instead of Markdown."""


def experiments(rest: list[str]) -> None:
    """the papers' tables, run anew at small scale: list, run, status, table"""
    if not rest or rest[0] in ("-h", "--help"):
        about = [(name, (arguments.__doc__ or "").strip()) for name, (arguments, _) in ACTIONS.items()]
        print_commands(
            "usage: hvit experiments list | run NAME... | status [NAME...] | table NAME",
            "The papers' tables, run anew at small scale.",
            about,
            "`hvit experiments list` names the experiments; `hvit experiments run --help` explains an action.",
        )
        return
    name, *words = rest
    if name not in ACTIONS:
        meant = did_you_mean(name, ACTIONS)
        raise UserError(f"experiments has no action {quoted(name)}{meant or ';'} it has {', '.join(ACTIONS)}")
    arguments, action = ACTIONS[name]
    action(parse(arguments, f"hvit experiments {name}", words), words)


def _list(arguments: ListArguments, words: list[str]) -> None:
    from hvit.experiments import EXPERIMENTS, get_experiment

    rows: list[dict[str, object]] = []
    for name in EXPERIMENTS:
        one = get_experiment(name, arguments.scale)
        rows.append({"experiment": name, "claim": one.header.claim, "cells": len(one.cells), "seeds": one.seeds,
                     "images_a_seed": one.images(), "published": one.header.published,
                     "refuted_by": one.header.refuted_by, "cost": one.header.cost})  # fmt: skip
    if arguments.json:
        print_json_lines(rows)
        return
    cells = [(str(row["experiment"]), str(row["claim"]), str(row["cells"]), str(row["seeds"])) for row in rows]
    print_table(["experiment", "claim", "cells", "seeds"], cells, ["experiment"])
    say("--json adds the published numbers, what would refute the claim, and the cost")


def _run(arguments: RunArguments, words: list[str]) -> None:
    from hvit.experiments.grid import Place
    from hvit.files import absolute_path
    from hvit.verbs import experiments as verb

    (part, parts), names = arguments.part, _known(arguments.names)
    if not 0 <= part < parts or arguments.jobs < 1:
        raise UserError(f"--part takes K from 0 to N - 1, and --jobs 1 or more; got {part} {parts}, {arguments.jobs}")
    for name, value in (("seeds", arguments.seeds), ("budget", arguments.budget)):
        if value is not None and value <= 0:
            raise UserError(f"--{name} must be above 0; got {value:g}")
    root = str(absolute_path(arguments.data_root)) if arguments.data_root else ""
    place = Place(arguments.out, arguments.scale)
    if arguments.jobs > 1:
        if parts > 1:
            raise UserError("give --jobs or --part, not both")
        place_of = words.index("--jobs")
        verb.run_in_parts(
            ["experiments", "run", *words[:place_of], *words[place_of + 2 :]],
            arguments.jobs,
            lambda: verb.missing_runs(names, place, arguments.seeds),
        )
        return
    missing = verb.run(
        names, place, data_root=root, seeds=arguments.seeds, budget=arguments.budget, part=arguments.part,
        change=_changes(arguments), say=say,
    )  # fmt: skip
    say(f"{missing} runs are missing" if missing else "all runs are done")


def _changes(arguments: RunArguments) -> Callable[[Recipe], Recipe]:
    def change(recipe: Recipe) -> Recipe:
        loop = replace(recipe.loop, device=arguments.device, max_steps=arguments.max_steps or recipe.loop.max_steps)
        return replace(recipe, loop=loop if arguments.workers is None else replace(loop, workers=arguments.workers))

    return change


def _status(arguments: StatusArguments, words: list[str]) -> None:
    from hvit.experiments.grid import Place
    from hvit.verbs.experiments import status

    rows = status(_known(arguments.names or ("all",)), Place(arguments.out, arguments.scale), arguments.seeds)
    if arguments.json:
        print_json_lines(rows)
        return
    columns = ["experiment", "runs", "done", "begun", "failed", "seconds"]
    print_table(columns, [[str(row[column]) for column in columns] for row in rows], ["experiment"])
    for row in rows:
        for name in row["which_failed"]:
            say(f"failed: {name}")


def _table(arguments: TableArguments, words: list[str]) -> None:
    from hvit.experiments.grid import Place
    from hvit.experiments.table import as_json, markdown
    from hvit.verbs.experiments import results

    found = results(arguments.name, Place(arguments.out, arguments.scale), arguments.seeds)
    if arguments.picture is not None:
        from hvit.experiments.picture import draw
        from hvit.files import replacing
        from hvit.pictures import figure_to_png

        with replacing(arguments.picture) as file:
            file.write(figure_to_png(draw(found)))
    if arguments.json:
        print_json_lines([as_json(found)])
        return
    for line in markdown(found).splitlines():
        say(line)


def _known(names: tuple[str, ...]) -> list[str]:
    """The experiments that are named, without doubles. Raises UserError for none and for unknown ones."""
    from hvit.experiments import EXPERIMENTS, get_experiment

    if not names:
        raise UserError(f"name the experiments, or all; there are {', '.join(EXPERIMENTS)}")
    chosen = [one for name in names for one in (EXPERIMENTS if name == "all" else [name])]
    for name in chosen:
        get_experiment(name)
    return list(dict.fromkeys(chosen))


ACTIONS: dict[str, tuple[type, Callable[..., None]]] = {
    "list": (ListArguments, _list),
    "run": (RunArguments, _run),
    "status": (StatusArguments, _status),
    "table": (TableArguments, _table),
}
