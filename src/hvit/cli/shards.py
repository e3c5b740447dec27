"""The verb `shards` of the command line: a class folder or a table as tar shards."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from hvit.cli.arguments import parse
from hvit.cli.printing import note as print_note
from hvit.cli.printing import notes, print_json_lines, readable, say, wait_for

# Heavy imports stand inside the verb, so that `hvit --help` answers at once.

_NAMED = 10


@dataclass(frozen=True)
class ShardsArguments:
    """Writes images as tar shards in the layout of WebDataset, with an index; repeated, a stopped command goes on."""

    source: tyro.conf.Positional[str]
    """A folder with a sub-folder a class (or with train and val folders of these), or a table: CSV, TSV, JSON lines,
    Parquet, a saved data set of Hugging Face."""
    out: tyro.conf.Positional[Path]
    """The folder of the shards; new, or of the same command."""
    size: str = "256MB"
    """Size of a shard at most, such as 256MB or 1GiB."""
    order: Literal["shuffled", "listed"] = "shuffled"
    """Order of the samples. shuffled: the same random order each time, so that every shard has all classes; listed: as
    in the source."""
    check: Literal["header", "decode", "none"] = "header"
    """How each image is checked before it is stored: by its header, decoded, or not at all."""
    labels: Literal["auto", "folders", "none"] = "auto"
    """Labels. auto: those that there are; folders: an error without any; none: none are stored."""
    root: str = ""
    """Folder that the paths of a table start from; default: the table's."""
    path_column: str = ""
    """Column of a table with the path; default: found by its name."""
    label_columns: tuple[str, ...] = ()
    """Columns of a table with the labels; default: found by their names."""
    split_column: str = ""
    """Column of a table that says train, val or test; default: found by its name."""
    task: Literal["auto", "single", "multi", "ordinal", "regression"] = "auto"
    """What the labels of a table are; default: found out."""
    json: bool = False
    """Print the result as JSON."""


def shards(rest: list[str]) -> None:
    """writes images as tar shards, for data that is too large for a folder"""
    arguments = parse(ShardsArguments, "hvit shards", rest)
    from hvit.data.tables.settings import LabelOptions
    from hvit.errors import UserError
    from hvit.progress import DataOpening
    from hvit.verbs.shards import ShardRequest, write

    wait_for(f"hvit shards: listing {arguments.source}")
    options = LabelOptions(
        table=arguments.source, path_column=arguments.path_column, label_columns=arguments.label_columns,
        split_column=arguments.split_column, task=arguments.task,
    )  # fmt: skip
    request = ShardRequest(
        arguments.source, arguments.out, arguments.size, arguments.order, arguments.check, arguments.labels,
        arguments.root, options,
    )  # fmt: skip
    skipped = 0

    def refused(sentence: str) -> None:
        nonlocal skipped
        skipped += 1
        if skipped <= _NAMED:
            notes.print(readable(f"warning: {sentence}"), markup=False, soft_wrap=True)

    try:
        with DataOpening(notes) as progress:
            made = write(request, refused, progress)
    except UserError as error:
        full = "; what is written stays, and the same command goes on" if "No space left" in str(error) else ""
        raise UserError(f"{error}{full}") from error
    if skipped > _NAMED:
        print_note(f"warning: {skipped - _NAMED:,} more images are skipped")
    if arguments.json:
        print_json_lines([made])
        return
    for line in made["notes"]:
        print_note(line)
    for part in made["parts"]:
        found = f", {part['found']:,} of them found" if part["found"] else ""
        lost = f", {part['skipped']:,} images skipped" if part["skipped"] else ""
        written = f"{part['shards']:,} shard{'s' * (part['shards'] != 1)}"
        say(f"{part['folder']}: {part['samples']:,} samples in {written}{found}, {part['bytes'] / 1e6:,.1f} MB{lost}")
    say(f"Next: hvit train RECIPE --data.shards {shlex.quote(str(arguments.out))}")
