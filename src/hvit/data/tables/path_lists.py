"""Lists of image files of any length: the folders and files that are named, and tables with a column of paths."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from hvit.data.images.listing import SUFFIXES, is_image_or_array_name, names_below, show
from hvit.data.images.paths import PathList
from hvit.data.regular_files import is_folder, state_of
from hvit.data.tables.columns import path_column
from hvit.data.tables.files import as_bytes, as_file
from hvit.data.tables.read import ParquetTable, Table, read_table
from hvit.errors import UserError

LISTS = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson")


def listed_files(paths: Sequence[Path]) -> PathList:
    """All files that some paths stand for, in their order and each as often as it is named.

    A table (Parquet, CSV, TSV, JSON lines) stands for the files in its column of paths, which start from the table's
    folder, and an index of images for its images; a folder for the images in it and in its sub-folders; any other file
    for itself. Raises UserError where there is nothing, and for a table without paths.
    """
    files = PathList.of_names(Path(), (name for path in paths for name in _names(path.absolute())))
    if not len(files):
        raise UserError(f"{', '.join(show(path) for path in paths[:3])}: no image is named")
    return files


def _names(path: Path) -> Iterator[str | bytes]:
    if state_of(path) is None:
        raise UserError(f"cannot read {show(path)}: there is no such file.")
    if is_folder(path):
        found = False
        for name in names_below(path):
            if is_image_or_array_name(name):
                found = True
                yield name
        if not found:
            raise UserError(f"{show(path)} holds no image: expected files ending in {', '.join(SUFFIXES)}.")
    elif path.suffix.lower() in LISTS:
        yield from _names_in_table(path)
    else:
        yield str(path)


def _names_in_table(path: Path) -> Iterator[str | bytes]:
    table = read_table(path, is_image_or_array_name)
    if isinstance(table, ParquetTable):
        yield from _names_in_parquet(table)
        return
    column = path_column(table, is_image_or_array_name)
    for number, (name,) in table.cells((column,)):
        if not isinstance(name, str) or not name:
            raise UserError(f"{table.place(number)}: there is no path in the column {column}")
        yield as_bytes(os.path.normpath(path.parent / _file_of(table, number, name)))


def _file_of(table: Table, number: int, name: str) -> Path:
    try:
        return as_file(name)
    except UserError as error:
        raise UserError(f"{table.place(number)}: {error}") from error


def _names_in_parquet(table: ParquetTable) -> Iterator[str | bytes]:
    with table.opened() as file:
        facts = (file.schema_arrow.metadata or {}).get(b"hvit")
        if facts is not None and "path" in table.columns:
            folder, column = Path(json.loads(facts)["root"]), "path"
        else:
            folder, column = table.path.parent, path_column(table, is_image_or_array_name)
        above = os.fsencode(folder / "_")[:-1]
        number = 0
        for batch in file.iter_batches(columns=[column]):
            for name in batch.column(0).to_pylist():
                number += 1
                if not name or not isinstance(name, str | bytes):
                    raise UserError(f"{table.place(number)}: there is no path in the column {column}")
                if facts is None and isinstance(name, str):
                    name = as_bytes(str(_file_of(table, number, name)))
                encoded = as_bytes(name) if isinstance(name, str) else name
                yield encoded if encoded.startswith(b"/") else above + encoded
