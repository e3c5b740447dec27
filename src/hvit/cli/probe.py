"""The verb `probe` of the command line: heads on the frozen features of any encoder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from hvit.cli.arguments import parse
from hvit.cli.printing import percent, print_plan, print_report, print_scores, print_table, wait_for
from hvit.cli.runs import new_folder

# Heavy imports stand inside the verbs, so that `hvit --help` answers at once.


@dataclass(frozen=True)
class ProbeArguments:
    """Fits heads to the frozen features of an encoder by cross-validation, and leaves a run with the linear one.

    What it leaves is a classifier: evaluate, predict and explain work on it.
    """

    weights: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ENCODER")]
    """The encoder: a run folder (also of masked pretraining), a weights file in any known format, timm/NAME for the
    published weights of a model of timm, hf:owner/name, teacher (extra `teacher`), or auto for the best that this
    machine has."""
    root: str = ""
    """Folder of the data."""
    data: Literal["folder", "cifar10", "cifar100", "fashion_mnist", "digits", "clips", "moving_digits"] = "folder"
    """Data set; folder is your own images, in a folder per class."""
    table: str = ""
    """A table of labels instead of class folders, as --data.table of train: CSV, TSV, JSON lines, Parquet, hf:NAME."""
    path_column: str = ""
    """Column of the table with the path of each sample; default: found."""
    label_columns: tuple[str, ...] = ()
    """Columns of the table with the labels: one with class names or a number, or several of 0 and 1 or of numbers;
    default: found."""
    label_levels: tuple[str, ...] = ()
    """Levels of a hierarchy of classes, coarse to fine: columns of the table, or names for class folders in class
    folders; default: one level."""
    split_column: str = ""
    """Column of the table that says train, val or test; default: found."""
    group_column: str = ""
    """Column of the table with groups, of which none is in both parts of the split."""
    task: Literal["auto", "single", "multi", "ordinal", "regression"] = "auto"
    """What the labels of the table are; auto: what the plan says after a look at it."""
    heads: tuple[Literal["linear", "neighbours", "network"], ...] = ("linear",)
    """Heads to compare: linear (always fitted), neighbours (k-NN), network (one hidden layer); of several classes a
    sample and of numbers only linear."""
    input_size: int | None = None
    """Height and width in pixels that images are resized to; default: what the encoder was trained with."""
    per_class: int | None = None
    """Training images of each class to use; default: all."""
    out: Path | None = None
    """Folder of the run; default: runs/probe."""
    seed: int = 42
    """Seed; it decides which images are used with --per-class."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device that computes the features."""
    dry_run: bool = False
    """Print the plan and compute nothing."""


_LABEL_OPTIONS = ("table", "path_column", "label_columns", "label_levels", "split_column", "group_column", "task")


def probe(rest: list[str]) -> None:
    """fits heads to the frozen features of an encoder"""
    arguments = parse(ProbeArguments, "hvit probe", rest)
    from hvit.verbs import train
    from hvit.verbs.probe import probe_recipe

    recipe = probe_recipe(
        arguments.weights, arguments.data, arguments.root, heads=arguments.heads, input_size=arguments.input_size,
        per_class=arguments.per_class, seed=arguments.seed, device=arguments.device,
        labels={name: value for name in _LABEL_OPTIONS if (value := getattr(arguments, name)) not in ("", (), "auto")},
    )  # fmt: skip
    wait_for("hvit probe: opening the data")
    if arguments.dry_run:
        print_plan(train.plan(recipe))
        return
    folder = arguments.out or new_folder("probe")
    scores = train.train(recipe, folder, print_plan)
    print_scores(scores)
    if len(scores["heads"]) > 1:
        rows = [(name, percent(one["top1"]), f"{one['chosen']:g}") for name, one in scores["heads"].items()]
        print_table(["head", "held-out accuracy", "chosen"], rows)
    print_report(folder, scores)
