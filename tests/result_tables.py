"""The tables of docs/results/ as JSON, so that the measured numbers can be read by a program.

    python -m tests.result_tables            compares docs/results/<page>.json with the tables of the page
    python -m tests.result_tables --write    writes them anew

A file is {"page": ..., "tables": [{"section": ..., "columns": [...], "rows": [[cell, ...], ...]}, ...]}. A cell is a
number where it is nothing else; {"text": ..., "numbers": [...]} where it begins with a number, such as "99.1 %" or
"1.09 to 1.11"; null where it is empty; and text otherwise.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"

FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?(?!\w)")
BEGINS_WITH_A_NUMBER = re.compile(r"[-+~]?\d")


def pages() -> list[Path]:
    """The pages of results that have tables."""
    return [page for page in sorted(RESULTS.glob("*.md")) if tables(page)]


def tables(page: Path) -> list[dict[str, Any]]:
    """Every table of a page, in order."""
    found: list[dict[str, Any]] = []
    section, rows = "", []
    for line in [*FENCE.sub("", page.read_text(encoding="utf-8")).splitlines(), ""]:
        if line.startswith("|"):
            rows.append([text.strip() for text in line.strip().strip("|").split("|")])
        elif rows:
            header, _, *body = rows
            found.append(
                {"section": section, "columns": header, "rows": [[cell(text) for text in row] for row in body]}
            )
            rows = []
        if line.startswith("#"):
            section = line.lstrip("# ")
    return found


def cell(text: str) -> Any:
    """A cell of a table as JSON has it."""
    plain = text.replace("**", "")
    if not plain:
        return None
    if not BEGINS_WITH_A_NUMBER.match(plain):
        return plain
    numbers = [float(number.replace(",", "")) for number in NUMBER.findall(plain)]
    numbers = [int(number) if number.is_integer() else number for number in numbers]
    if not numbers:
        return plain
    return numbers[0] if NUMBER.fullmatch(plain) else {"text": plain, "numbers": numbers}


def as_json(page: Path) -> str:
    """What the file of a page should hold: a row on a line."""
    parts = []
    for table in tables(page):
        rows = ",\n".join(f"        {json.dumps(row, ensure_ascii=False)}" for row in table["rows"])
        head = ", ".join(
            f"{json.dumps(name)}: {json.dumps(table[name], ensure_ascii=False)}" for name in list(table)[:2]
        )
        parts.append(f'    {{{head}, "rows": [\n{rows}\n    ]}}')
    return f'{{"page": "docs/results/{page.name}", "tables": [\n' + ",\n".join(parts) + "\n]}\n"


def main() -> None:
    """Writes or compares all files."""
    differ = []
    for page in pages():
        file, wanted = page.with_suffix(".json"), as_json(page)
        if "--write" in sys.argv[1:]:
            file.write_text(wanted, encoding="utf-8")
        elif not file.is_file() or file.read_text(encoding="utf-8") != wanted:
            differ.append(file.name)
    if differ:
        sys.exit(f"not the tables of their pages: {', '.join(differ)}; `python -m tests.result_tables --write`")


if __name__ == "__main__":
    main()
