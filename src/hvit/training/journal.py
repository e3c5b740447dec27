"""The journal of a run: one JSON object a line, only ever appended to."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, TypeGuard

from hvit.errors import UserError
from hvit.files import read_whole, short_path
from hvit.run_names import JOURNAL, with_present_keys

LONGEST_JOURNAL = 512 * 2**20
"""Bytes that a journal may have: more than a million steps leave."""
Row = dict[str, Any]
"""A line: its kind and step, and values by their names."""
_NUMBERS = ("epoch", "loss", "learning_rate", "images_per_second", "seconds", "top1", "top5")


class Journal:
    """Appends what happens in a run to `journal.jsonl`; a kill can tear its last line at most.

    Raises UserError where it is no file, or cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / JOURNAL
        if os.path.lexists(self.path):
            content = read_whole(self.path, LONGEST_JOURNAL)
            if content and not content.endswith(b"\n"):
                self._append("\n")

    def write(self, kind: str, step: int, **values: object) -> None:
        """Adds one line. kind: such as "train" or "evaluate"; values: anything JSON can hold."""
        self._append(json.dumps({"kind": kind, "step": step, **values}, allow_nan=True) + "\n")

    def _append(self, text: str) -> None:
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise UserError(
                f"{short_path(self.path)} cannot be written: {error.strerror or error}; make room and resume"
            ) from error


def read_journal(path: Path) -> list[Row]:
    """The lines of a journal in order of their steps.

    A resumed run repeats the steps after its checkpoint: of lines with the same kind and step the later one counts.
    Lines that a kill has torn, and others that no run writes, are passed over (see `parse_row`).
    Raises UserError where it is no file, or cannot be read.
    """
    rows: dict[tuple[str, int], Row] = {}
    for line in read_whole(path, LONGEST_JOURNAL).splitlines():
        row = parse_row(line)
        if row is not None:
            rows[row["kind"], row["step"]] = row
    return sorted(rows.values(), key=lambda row: row["step"])


def parse_row(line: bytes) -> Row | None:
    """A line of a journal, or None where it is damaged: a kind, a step from 0, and numbers where runs write numbers."""
    try:
        row = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not isinstance(row.get("kind"), str):
        return None
    step = row.get("step")
    if not _is_number(step) or not 0 <= step < 2**63 or step != int(step):
        return None
    row = with_present_keys(row) | {"step": int(step)}
    whole = all(row.get(name) is None or _is_number(row[name]) for name in _NUMBERS)
    return row if whole else None


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
