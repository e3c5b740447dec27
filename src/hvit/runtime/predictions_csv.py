"""Predictions as a table: a CSV file with a row for each image or clip."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from hvit.files import JsonObject, replacing


class Add(Protocol):
    """Adds an answer of `predict` to the table."""

    def __call__(self, answer: Mapping[str, object], /) -> object: ...


@contextmanager
def csv_of_answers(path: Path) -> Iterator[Add]:
    """A CSV file that is complete when the block ends, and absent if it fails.

    Columns are those of the first answer: file, then class_1, probability_1, class_2 and so on, of a hierarchy
    level_genus, level_genus_probability and so on, and what else an answer says; numbers by their names. Names that are
    no text are escaped. Raises UserError where it cannot be written.
    """
    with replacing(path) as file:
        columns: list[str] = []

        def add_row(values: list[object]) -> None:
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerow(values)
            file.write(text.getvalue().encode("utf-8", "backslashreplace"))

        def add(answer: Mapping[str, object]) -> None:
            row = flat(answer)
            if not columns:
                columns.extend(row)
                add_row(list(columns))
            add_row([row.get(name, "") for name in columns])

        yield add
        if not columns:
            add_row(["file"])


def written(answers: Iterable[JsonObject], path: Path) -> Iterator[JsonObject]:
    """The same answers; when the last one was taken, the CSV file is complete."""
    with csv_of_answers(path) as add:
        for answer in answers:
            add(answer)
            yield answer


def flat(answer: Mapping[str, object]) -> dict[str, object]:
    """An answer as one level of names; what happens over time in a clip is not in it."""
    row: dict[str, object] = {}
    for name, value in answer.items():
        if name == "classes" and isinstance(value, list):
            for rank, one in enumerate(value, start=1):
                row |= {f"class_{rank}": one["class"], f"probability_{rank}": one["probability"]}
        elif name == "levels" and isinstance(value, Mapping):
            for level, one in value.items():
                row |= {f"level_{level}": one["class"], f"level_{level}_probability": one["probability"]}
        elif isinstance(value, Mapping):
            row |= {str(key): inner for key, inner in value.items()}
        elif isinstance(value, list):
            if not any(isinstance(one, dict | list) for one in value):
                row[name] = "|".join(map(str, value))
        else:
            row[name] = "" if value is None else value
    return row
