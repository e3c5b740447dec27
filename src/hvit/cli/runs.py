"""The verbs that make, continue and report runs: demo, train, resume, report."""

from __future__ import annotations

import os
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from hvit.cli.arguments import parse
from hvit.cli.help import example_of_recipe, print_of_recipes
from hvit.cli.printing import print_folds, print_plan, print_report, print_scores, say, wait_for
from hvit.errors import UserError
from hvit.run_names import REPORT

# Heavy imports stand inside the verbs, so that `hvit --help` answers at once.


_RESUME = "Continue the run in --out, if it holds one of this recipe: for jobs that are started again."


@dataclass(frozen=True)
class DemoArguments:
    """Trains a small NesT on handwritten digits, evaluates and explains it, and writes a report: about two minutes."""

    out: Path | None = None
    """Folder of the run; default: runs/demo."""


def demo(rest: list[str]) -> None:
    """trains and explains a small model on embedded data in two minutes"""
    arguments = parse(DemoArguments, "hvit demo", rest)
    from hvit.recipes import get_recipe
    from hvit.verbs.train import train

    folder = arguments.out or new_folder("demo")
    wait_for("hvit demo: opening the data")
    scores = train(get_recipe("nest_micro_digits"), folder, print_plan)
    print_scores(scores)
    print_report(folder, scores)
    say(f"The explanations: {folder / 'pictures'}")


def train(rest: list[str]) -> None:
    """runs a recipe; every field of it is an option"""
    from hvit.recipes import get_recipe

    if not rest or rest[0].startswith("-"):
        if rest and rest[0] not in ("-h", "--help"):
            raise UserError(f"name a recipe first: hvit train RECIPE {' '.join(rest)}")
        print_of_recipes(
            "train",
            "[--field value ...] [--weights FILE] [--out DIR] [--dry-run]",
            "Trains a model as a recipe says; every field of the recipe is an option.",
        )
        return
    name, *fields = rest
    recipe = get_recipe(name)  # first, so that an unknown name is refused at once
    from hvit.recipe import Recipe, with_classes_of_the_data
    from hvit.recipes.families import with_family
    from hvit.verbs import folds, train

    recipe = with_family(with_classes_of_the_data(recipe), fields)

    options = make_dataclass(
        "TrainArguments",
        [
            ("recipe", Annotated[Recipe, tyro.conf.arg(name="")]),
            ("out", Annotated[Path | None, tyro.conf.arg(help=f"Folder of the run; default: runs/{name}.")], None),
            ("resume", Annotated[bool, tyro.conf.arg(help=_RESUME)], False),
            ("dry_run", Annotated[bool, tyro.conf.arg(help="Print the plan and train nothing.")], False),
        ],
        namespace={"__doc__": recipe.summary},
    )
    arguments = parse(options, f"hvit train {name}", fields, options(recipe), example_of_recipe("train", name, recipe))
    if arguments.dry_run:
        wait_for(f"hvit train {name}: opening the data")
        print_plan((folds if folds.has_folds(arguments.recipe) else train).plan(arguments.recipe))
        return
    if arguments.resume and arguments.out is None:
        raise UserError("name the run folder with --out, which --resume continues if it holds a run")
    folder = arguments.out or new_folder(name)
    wait_for(f"hvit train {name}: opening the data")
    if arguments.resume and folds.is_cross_validation(folder):
        print_folds(folds.resume(folder, None, print_plan), folder)
        return
    if folds.has_folds(arguments.recipe):
        print_folds(folds.cross_validate(arguments.recipe, folder, print_plan), folder)
        return
    scores = train.train(arguments.recipe, folder, print_plan, resumes=arguments.resume)
    print_scores(scores)
    print_report(folder, scores)


@dataclass(frozen=True)
class ResumeArguments:
    """Continues a stopped run from its last checkpoint."""

    run: tyro.conf.Positional[Path]
    """The run folder."""
    root: str | None = None
    """Folder of the data, if it has moved; default: the recipe's."""
    accept_changed_data: bool = False
    """Continue although the data or the recipe has changed since the start; the journal then lists the changes."""
    parallel: Literal["auto", "ddp", "fsdp", "hsdp"] | None = None
    """How several processes share the work from now on; default: as the run began."""


@dataclass(frozen=True)
class ReportArguments:
    """Writes the report of a run again."""

    run: tyro.conf.Positional[Path]
    """The run folder."""
    tensorboard: bool = False
    """Also write the curves as event files for TensorBoard, into the folder tensorboard of the run (extra
    `tensorboard`)."""


def resume(rest: list[str]) -> None:
    """continues a stopped run from its last checkpoint"""
    arguments = parse(ResumeArguments, "hvit resume", rest)
    from hvit.verbs import folds, train

    wait_for("hvit resume: opening the data")
    if folds.is_cross_validation(arguments.run):
        scores = folds.resume(arguments.run, arguments.root, print_plan, arguments.accept_changed_data)
        print_folds(scores, arguments.run)
        return
    how = {"report": print_plan, "accept_changed_data": arguments.accept_changed_data, "parallel": arguments.parallel}
    scores = train.resume(arguments.run, arguments.root, **how)
    print_scores(scores)
    print_report(arguments.run, scores)


def report(rest: list[str]) -> None:
    """writes the report of a run again"""
    arguments = parse(ReportArguments, "hvit report", rest)
    from hvit.report import write_report
    from hvit.verbs import folds

    if folds.is_cross_validation(arguments.run):
        folds.summarise(arguments.run)
        say(str(arguments.run / REPORT))
        return
    say(str(write_report(arguments.run)))
    if arguments.tensorboard:
        from hvit.report.tensorboard import write_events

        say(f"tensorboard --logdir {write_events(arguments.run)}")


def new_folder(name: str) -> Path:
    """runs/<name>, or the first of runs/<name>-2, -3 ... that does not exist."""
    if "WORLD_SIZE" in os.environ and os.environ["WORLD_SIZE"] != "1":
        raise UserError("name the run folder with --out when several processes train together")
    folder, number = Path("runs") / name, 1
    while folder.exists():
        number += 1
        folder = Path("runs") / f"{name}-{number}"
    return folder
