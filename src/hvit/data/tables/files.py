"""The files that a table's column of paths names: as paths, as URIs, and those that are on another machine."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np

from hvit.data.images.listing import show
from hvit.data.images.paths import PathList
from hvit.data.layout import counted
from hvit.data.tables.cells import Cell
from hvit.errors import UserError
from hvit.files import as_path
from hvit.markup import shown

_ADDED = (".jpg", ".jpeg", ".png", ".mp4")
"""Endings that are tried where a table names samples without them."""
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_HERE = re.compile(r"file:(//(localhost)?)?(?=/(?!/))", re.IGNORECASE)


def is_url(text: str) -> bool:
    """Whether a cell is a URL of another machine, such as https://… or s3://…"""
    return bool(_URL.match(text)) and not _HERE.match(text)


def as_file(text: str) -> Path:
    """The path that a cell of a column of paths names; it may start from the table's folder.

    A name is taken as it is, whatever letters it has (%20 stays %20), only that a backslash divides folders and that ~
    in front is the home folder. A URI such as file:///data/a%20b.jpg is decoded. Raises UserError for a URL.
    """
    if found := _HERE.match(text):
        return Path(os.fsdecode(unquote_to_bytes(text[found.end() :])))
    if is_url(text):
        raise UserError(f"{shown(text)[:200]} is a URL of another machine: download it first, and name the file")
    path = Path(text.replace("\\", "/") if "\\" in text and os.sep == "/" else text)
    return as_path(path) if text.startswith("~") else path


def files_of(
    paths: Sequence[Cell], folder: Path, table: str, place: Callable[[int], str]
) -> tuple[PathList, tuple[str, ...]]:
    """The file of every row, and sentences on them.

    folder: what paths start from; those that lead out of it are used and noted. table, place: what the table and a
    row of it are called. Raises UserError for a row without a path, and for URLs, which it counts.
    """
    outside, urls, first_url = 0, 0, (0, "")

    def names() -> Iterator[bytes]:
        nonlocal outside, urls, first_url
        for row, cell in enumerate(paths):
            text = str(cell)
            if not text:
                raise UserError(f"{place(row)} names no file")
            if is_url(text):
                first_url = first_url if urls else (row, text)
                urls += 1
                continue
            path = as_file(text)
            outside += path.is_absolute() or ".." in path.parts
            yield as_bytes(str(_with_ending(path, folder)))

    files = PathList.of_names(folder, names())
    if urls:
        row, text = first_url
        raise UserError(
            f"{counted(urls, 'row')} of {table} {'names' if urls == 1 else 'name'} a URL of another machine, such as "
            f"{shown(text)[:200]} ({place(row).rpartition(', ')[2]}): download the files first, and name these in the "
            "table"
        )
    if not outside:
        return files, ()
    where = "the current folder" if folder == Path() else f"the folder {show(folder)}"
    return files, (f"{counted(outside, 'path')} of the table {'leads' if outside == 1 else 'lead'} out of {where}.",)


def as_bytes(name: str) -> bytes:
    """A name as the file system has it; of one that no file can have, some bytes that stand for it."""
    try:
        return os.fsencode(name)
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogatepass")


def _with_ending(path: Path, folder: Path) -> Path:
    """The path, or one with an ending that exists where the table has none."""
    if (path.suffix and len(path.suffix) <= 5) or not path.name or exists(folder / path):
        return path
    longer = (path.with_name(path.name + ending) for ending in _ADDED)
    return next((one for one in longer if exists(folder / one)), path)


def exists(path: Path | bytes) -> bool:
    """Whether something is at a path, which may be a name that no file can have."""
    try:
        os.stat(path)  # noqa: PTH116 (of bytes, no path is made)
    except (OSError, ValueError):
        return False
    return True


def which_exist(files: Sequence[Path], rows: np.ndarray) -> np.ndarray:
    """Which of some files exist, (rows,) bool. rows: their places among the files."""
    if isinstance(files, PathList):
        return np.fromiter(map(exists, files.take(rows).whole_names()), bool, len(rows))
    return np.fromiter((exists(files[row]) for row in rows), bool, len(rows))


def listed_before(files: PathList) -> Iterator[tuple[int, int]]:
    """The rows whose file another row before names, and the first such row."""
    hashes = np.fromiter(map(hash, files.whole_names()), np.int64, len(files))
    order = np.argsort(hashes, kind="stable")
    new = np.ones(len(order), bool)
    new[1:] = hashes[order[1:]] != hashes[order[:-1]]
    first = np.empty(len(order), np.int64)
    first[order] = order[np.flatnonzero(new)[np.cumsum(new) - 1]]
    del hashes, order, new
    for row in np.flatnonzero(first != np.arange(len(first))).tolist():
        if files[row] == files[before := int(first[row])]:
            yield row, before
