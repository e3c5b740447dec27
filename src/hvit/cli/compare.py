"""The verb that compares runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from hvit.cli.arguments import parse
from hvit.cli.printing import print_json_lines, print_table, say, wait_for

# Heavy imports stand inside the verb, so that `hvit --help` answers at once.
_MOST_SETTINGS = 30


@dataclass(frozen=True)
class CompareArguments:
    """Compares runs: their scores, their curves, and the settings in which they differ."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Two run folders or more."""
    picture: Path | None = None
    """File to write: .png for the curves of one quantity, .html for a page with all curves and tables."""
    quantity: str | None = None
    """Quantity to draw, such as loss or top1; default: accuracy in a PNG file, all of them on a page."""
    json: bool = False
    """Print JSON instead of tables: an object for each run, then the settings that differ."""


def compare(rest: list[str]) -> None:
    """compares runs: scores, curves, and settings that differ"""
    arguments = parse(CompareArguments, "hvit compare", rest)
    wait_for("hvit compare: reading the runs")
    from hvit.report.comparison import HEADS, cell
    from hvit.verbs import compare

    compared = compare.compare(arguments.runs)
    if arguments.picture is not None:
        compare.draw(compared, arguments.picture, arguments.quantity)
    if arguments.json:
        print_json_lines([*compared.rows, {"runs": list(compared.runs), "settings": compared.settings}])
        return
    names = [name for name in compared.rows[0] if any(row[name] is not None for row in compared.rows)]
    heads = [HEADS.get(name, name.replace("_", " ")) for name in names]
    print_table(heads, [[cell(name, row[name]) for name in names] for row in compared.rows], ["run"])
    settings = list(compared.settings.items())
    if settings:
        lines = [[field, *values] for field, values in settings[:_MOST_SETTINGS]]
        print_table(["setting that differs", *compared.runs], lines)
    if len(settings) > _MOST_SETTINGS:
        say(f"{len(settings) - _MOST_SETTINGS} more settings differ; --json, or --picture FILE.html, has all")
    if arguments.picture is not None:
        say(f"The picture: {arguments.picture}")
