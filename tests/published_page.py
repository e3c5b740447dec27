"""The counts of docs/results/published.md: those of the catalogue next to the numbers that papers print.

    python -m tests.published_page            compares the page with the catalogue
    python -m tests.published_page --write    writes the columns of our counts and of the difference anew

Written by hand are the printed numbers, the name of our model, its recipes and the experiment that measures the table
again at small scale. The columns before "our model" are those of the source.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hvit.models import catalogue, counts
from hvit.models.build import build_empty, count_parameters, multiply_adds

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "results" / "published.md"
SOURCES = ROOT.parent / "shared"

MODEL, PARAMETERS, MULTIPLY_ADDS = "our model", "our parameters", "our multiply-adds"
DIFFERENCE, RECIPE, AGAIN = "difference", "recipe", "re-measured here at small scale"
PRINTED_PARAMETERS, PRINTED_FLOPS = ("parameters (M)", "generator parameters (M)"), ("FLOPs (G) x views", "FLOPs (G)")
NONE = "-"
DIGITS = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
NAMES = re.compile(r"[A-Za-z][\w-]*\d\w*")
CODE = re.compile(r"`([^`]+)`")


@dataclass
class Row:
    """A row of a table of the page: its section, the line in the file, and the texts of its cells by column."""

    section: str
    line: int
    cells: dict[str, str]

    @property
    def model(self) -> str | None:
        """The name of our model, or that of timm; None where there is none."""
        return next(iter(CODE.findall(self.cells[MODEL])), None)

    @property
    def recipes(self) -> list[str]:
        """The recipes that train it."""
        return CODE.findall(self.cells[RECIPE])

    @property
    def printed(self) -> list[str]:
        """Every number that the source prints in this row, without commas; names such as ImageNet-21K have none."""
        columns = list(self.cells)[1 : list(self.cells).index(MODEL)]
        return [number for name in columns for number in numbers(NAMES.sub("", self.cells[name]))]


def rows(text: str) -> Iterator[Row]:
    """The rows of all tables that have a column of our models."""
    section, columns = "", []
    for place, line in enumerate(text.splitlines()):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if line.startswith("#"):
            section = line.lstrip("# ")
        if not cells:
            columns = []
        elif not columns:
            columns = cells
        elif MODEL in columns and not set(line) <= set("|-: "):
            yield Row(section, place, dict(zip(columns, cells, strict=True)))


def counts_of(name: str) -> tuple[int, int]:
    """Parameters and multiply-adds of a model of the catalogue, as stored, or of a model of timm, counted."""
    if name in counts.stored():
        row = catalogue.entry(name)
        return row.parameters, row.multiply_adds
    config = catalogue.entry(name).config
    return count_parameters(build_empty(config)), multiply_adds(config)


def computed(row: Row) -> dict[str, str]:
    """The cells of a row that follow from its model."""
    if row.model is None:
        return {name: NONE for name in (PARAMETERS, MULTIPLY_ADDS, DIFFERENCE) if name in row.cells}
    parameters, work = counts_of(row.model)
    cells = {PARAMETERS: f"{parameters:,}", MULTIPLY_ADDS: counts.in_billions(work)}
    if DIFFERENCE in row.cells:
        pairs = (("parameters", PRINTED_PARAMETERS, parameters / 1e6), ("multiply-adds", PRINTED_FLOPS, work / 1e9))
        compared = [
            (what, ours, number)
            for what, columns, ours in pairs
            for number in numbers("".join(row.cells.get(name, "") for name in columns))[:1]
        ]
        differences = [
            f"{what} {100 * (ours / float(number) - 1):+.1f} %"
            for what, ours, number in compared
            if not rounds_to(ours, number)
        ]
        cells[DIFFERENCE] = ", ".join(differences) or ("none" if compared else NONE)
    return cells


def rounds_to(ours: float, printed: str) -> bool:
    """Whether a count is the printed number, to the printed digits."""
    return abs(ours - float(printed)) <= 0.5 * 10.0 ** -len(printed.partition(".")[2]) + 1e-9


def renewed(text: str) -> str:
    """The page with the computed cells of every row."""
    lines = text.splitlines()
    for row in rows(text):
        lines[row.line] = f"| {' | '.join((row.cells | computed(row)).values())} |"
    return "\n".join(lines) + "\n"


def numbers(line: str) -> list[str]:
    """The numbers of a text, without commas."""
    return [number.replace(",", "") for number in DIGITS.findall(line)]


def main() -> None:
    """Writes or compares the page."""
    text = PAGE.read_text(encoding="utf-8")
    if "--write" in sys.argv[1:]:
        PAGE.write_text(renewed(text), encoding="utf-8")
    elif renewed(text) != text:
        sys.exit(f"{PAGE.name} has other counts than the catalogue; `python -m tests.published_page --write`")


if __name__ == "__main__":
    main()
