"""The options of data whose labels stand in a table, and of classes of unequal size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hvit.errors import UserError

Balance = Literal["none", "weights", "sampling", "effective"]


@dataclass(frozen=True)
class LabelOptions:
    """What a user's own images and own clips have in common: a table of labels, and how unequal classes are treated."""

    kind: str = ""
    """Which data set."""
    table: str = ""
    """A table of the samples instead of class folders: CSV or TSV, JSON lines, Parquet, a folder that Hugging Face
    `datasets` has saved, or hf:NAME for a data set of Hugging Face. Its paths start from the root, or else from the
    table's own folder."""
    path_column: str = ""
    """Column of the table with the path of each sample; default: found by its name or by what is in it."""
    label_columns: tuple[str, ...] = ()
    """Columns of the table with the labels: one with class names or a number, or several of 0 and 1 or of numbers;
    of shards, a field of each sample's JSON or a member such as txt; default: found by their names."""
    label_levels: tuple[str, ...] = ()
    """Levels of a hierarchy of classes, coarse to fine, such as genus species: columns of the table, or without one
    class folders in class folders (DIR/GENUS/SPECIES/...). The finest ones are the classes; scores and predictions name
    every level."""
    split_column: str = ""
    """Column of the table that says train, val or test; default: found by its name; without one a share is held out."""
    group_column: str = ""
    """Column of the table with groups, such as patients or sites, of which none is in both parts of the split."""
    weight_column: str = ""
    """Column of the table with the weight of each training sample in the loss; default: all weigh the same."""
    label_separator: str = ""
    """What separates several classes in one cell of the table; default: | or ; where the cells have them."""
    class_order: tuple[str, ...] = ()
    """Classes in their order, for task ordinal, or in the order of the model's outputs for task single; default: the
    order of whole numbers, or the alphabet."""
    task: Literal["auto", "single", "multi", "ordinal", "regression"] = "auto"
    """What the labels of a table are. single: one class; multi: any number of classes; ordinal: a class of an order;
    regression: numbers; auto: what the plan says after a look at the table."""
    balance: Balance = "none"
    """What is done about classes of unequal size. weights: the loss of a class is weighted by the inverse of its size;
    sampling: all classes are drawn equally often; effective: weights by the effective number of samples (Cui et al.
    2019)."""
    effective_beta: float = 0.999
    """With balance effective: how much a further sample of a class still adds, from 0 (nothing) to below 1."""


def check_label_options(options: LabelOptions) -> None:
    """Raises UserError for options that cannot be used together."""
    given = [
        name
        for name in ("path_column", "label_columns", "split_column", "group_column", "weight_column", "label_separator")
        if getattr(options, name)
    ]
    if getattr(options, "shards", "") and not options.table:  # these have label columns, but no others
        given = [name for name in given if name not in ("label_columns", "label_separator")]
        has_labels = True
    else:
        has_labels = bool(options.table)
    _check_levels(options)
    if (given and not options.table) or (not has_labels and (options.task != "auto" or options.class_order)):
        first = given[0] if given else "class_order" if options.class_order else "task"
        raise UserError(f"{first} is for labels in a table: name one with table (--data.table FILE in train)")
    named = [
        options.path_column,
        *options.label_columns,
        *options.label_levels,
        options.split_column,
        options.group_column,
    ]
    twice = next((name for name in named if name and named.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"the column {twice!r} is given two meanings (path, label, split, group): a column has one")
    if options.class_order and options.task not in ("auto", "ordinal", "single"):
        raise UserError(f"class_order is for task ordinal or single, not for {options.task}")
    if not 0 <= options.effective_beta < 1:
        raise UserError(f"effective_beta must be from 0 to below 1, not {options.effective_beta}")


def _check_levels(options: LabelOptions) -> None:
    """Raises UserError for levels of classes that cannot be."""
    levels = options.label_levels
    if not levels:
        return
    words = f"label_levels ({', '.join(levels)})"
    if len(levels) < 2 or len(set(levels)) < len(levels) or not all(levels):
        raise UserError(f"{words} must be two or more different names, coarse to fine, such as genus species")
    if options.task not in ("auto", "single"):
        raise UserError(f"{words} is for one class a sample, and task is {options.task}: omit one of them")
    for name in ("label_columns", "label_separator", "shards", "train_list"):
        if value := getattr(options, name, ""):
            text = ", ".join(value) if isinstance(value, tuple) else value
            raise UserError(f"{words} and {name} ({text}) cannot be given together: omit one of them")
    if getattr(options, "labels", "folders") == "none":
        raise UserError(f"{words} names levels of labels, and labels none uses none: omit one of them")
