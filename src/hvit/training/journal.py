"""The journal of a run: one JSON object a line, only ever appended to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hvit.errors import UserError

JOURNAL = "journal.jsonl"


class Journal:
    """Appends what happens in a run to `journal.jsonl`; a kill can tear its last line at most."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / JOURNAL
        if self.path.exists() and not self.path.read_bytes().endswith(b"\n"):
            with self.path.open("a", encoding="utf-8") as file:
                file.write("\n")

    def write(self, kind: str, step: int, **values: Any) -> None:
        """Adds one line. kind: such as "train" or "evaluate"; values: anything JSON can hold."""
        line = json.dumps({"kind": kind, "step": step, **values}, allow_nan=True)
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise UserError(f"{self.path} cannot be written: {error.strerror}; make room and resume") from error


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal in order of their steps.

    A resumed run repeats the steps after its checkpoint: of lines with the same kind and step the later one counts.
    Lines torn by a kill are left out.
    """
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
            row["step"] = int(row["step"])
            rows[str(row["kind"]), row["step"]] = row
        except (ValueError, KeyError, TypeError, OverflowError):
            continue
    return sorted(rows.values(), key=lambda row: row["step"])
