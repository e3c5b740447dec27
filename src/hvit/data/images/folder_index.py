"""The index of a folder of images: one Parquet file that lists it, so that ten million images open in seconds."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from hvit.data.images.folder_listing import Classes, Listing, list_folder, split_draws
from hvit.data.images.listing import show
from hvit.data.images.paths import PathList
from hvit.data.layout import Layout
from hvit.data.regular_files import state_of
from hvit.errors import UserError
from hvit.files import as_path, opened, replacing
from hvit.labels import LabelLevel

KIND = "hvit images 1"
MOST_FOLDERS_LOOKED_AT = 1_000
"""So many folders, evenly spaced, are looked at when an index is opened; with fewer, all of them."""
PARTS = ("train", "held_out", "test")
_MOST = 64 * 2**30
_ROWS = 1 << 17


def list_by_index(
    root: str, labels: str, split_seed: int, index: Path, remember: bool, label_levels: Sequence[str] = ()
) -> Listing:
    """What `list_folder` finds, from the index where it holds, which otherwise is written.

    An index holds as long as no folder that is looked at (the first ones, and others up to a thousand, evenly spaced)
    has another time of change than when it was listed: then no file has been added to it, removed or renamed. Files
    whose content has changed are not noticed. remember: whether it may be written. Raises UserError as `list_folder`,
    and where the index cannot be written, lies in a folder that it lists, or is something else.
    """
    _pyarrow()
    top = as_path(root)
    notes: tuple[str, ...] = ()
    if state_of(index) is not None:
        found = read_index(index, top, labels, split_seed, label_levels)
        if isinstance(found, Listing):
            return found
        notes = (f"{show(index)} was made anew: {found}.",) if remember else (f"{show(index)} is old: {found}.",)
    elif not remember:
        notes = (f"{show(index)} is not there yet, and the first run writes it.",)
    folders: dict[str, int] = {}
    place = index.absolute().parent.resolve()

    def entered(folder: Path, state: os.stat_result) -> None:
        if remember and folder.resolve() == place:
            raise UserError(
                f"{show(index)} lies in a folder that it would list, which changes when it is written: name a file "
                f"outside of {show(folder)}"
            )
        folders[str(folder)] = state.st_mtime_ns

    listing = list_folder(root, labels, entered, label_levels)
    if remember:
        write_index(index, listing, top, labels, split_seed, folders)
    return replace(listing, notes=(*listing.notes, *notes), draws=None, is_indexed=True)


def write_index(
    index: Path, listing: Listing, root: Path, labels: str, split_seed: int, folders: Mapping[str, int]
) -> None:
    """Writes what was listed: a row an image with `path` (from the root), `part`, `class` and `draw`.

    folders: the time of change of every folder, in nanoseconds, from before it was listed. draw: of training images,
    what decides which of them are held out where there is no held-out folder. Memory holds some thousand rows.
    """
    parquet = _pyarrow()
    import pyarrow as pa

    facts = {
        "kind": KIND,
        "root": str(root.resolve()),
        "labels": labels,
        "labelled": listing.labelled,
        "levels": [asdict(level) for level in listing.levels],
        "split_seed": split_seed,
        "layout": [folder and os.path.relpath(folder, root) for folder in _folders_of(listing.layout)],
        "layout_notes": listing.layout.notes,
        "parts": [[[name, len(files)] for name, files in part.items()] for part in listing.parts],
        "bytes": sum(int(files.lengths.sum()) for files in _all(listing)) + _added(listing, root),
        "ignored": dict(listing.ignored),
        "notes": listing.notes,
        "folders": [[os.path.relpath(folder, root), changed] for folder, changed in folders.items()],
    }
    kinds = [("path", pa.binary()), ("part", pa.string()), ("class", pa.string()), ("draw", pa.int64())]
    schema = pa.schema(kinds, {"hvit": json.dumps(facts)})
    with replacing(index) as file, parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for part, classes in zip(PARTS, listing.parts, strict=True):
            for name, files in classes.items():
                for start in range(0, len(files), _ROWS):
                    some = files[start : start + _ROWS]
                    above = _above(some, root)
                    draws = np.zeros(len(some), np.int64)
                    if part == PARTS[0]:
                        draws = split_draws(some, listing.layout.train, split_seed)
                    columns = [
                        pa.array([above + own for own in some.names()], pa.binary()),
                        pa.DictionaryArray.from_arrays(np.zeros(len(some), np.int8), [part]).cast(pa.string()),
                        pa.DictionaryArray.from_arrays(np.zeros(len(some), np.int8), [name]).cast(pa.string()),
                        pa.array(draws),
                    ]
                    writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def read_index(
    index: Path, root: Path, labels: str, split_seed: int, label_levels: Sequence[str] = ()
) -> Listing | str:
    """What an index lists; or why it does not hold any more, as the end of a sentence.

    Raises UserError for a file that is no index.
    """
    parquet = _pyarrow()
    with opened(index, _MOST) as file:
        try:
            table = parquet.ParquetFile(file)
            facts = json.loads((table.schema_arrow.metadata or {})[b"hvit"])
            if facts["kind"] != KIND:
                raise ValueError("another kind")
            if facts["labels"] != labels:
                return f"it is of labels {facts['labels']}, and these are {labels}"
            if [level["name"] for level in facts.get("levels", [])] != list(label_levels):
                return "it is of classes of other levels"
            if (changed := _changed_folder(facts["folders"], root)) is not None:
                return f"{show(changed)} has changed"
            return _listing(table, facts, root, split_seed)
        except Exception as error:  # whatever pyarrow raises, and whatever is missing in a file of another kind
            raise UserError(
                f"{show(index)} is no index of images that hvit has written, or it is damaged: remove it, or name "
                f"another file ({str(error)[:200] or type(error).__name__})"
            ) from error


def _listing(table: Any, facts: dict[str, Any], root: Path, split_seed: int) -> Listing:
    counts = [[int(count) for _, count in part] for part in facts["parts"]]
    rows, in_train = sum(map(sum, counts)), sum(counts[0])
    if rows != table.metadata.num_rows or min((count for part in counts for count in part), default=0) < 1:
        raise ValueError("its rows are not those that it counts")
    uses_draws = facts["split_seed"] == split_seed and not facts["layout"][1]
    text, lengths = np.empty(max(1, int(facts["bytes"])), np.uint8), np.empty(rows, np.uint32)
    draws = np.empty(in_train if uses_draws else 0, np.int64)
    row = place = 0
    for batch in table.iter_batches(_ROWS, columns=["path", "draw"] if uses_draws else ["path"]):
        names = batch.column(0)
        _, ends, data = names.buffers()
        ends = np.frombuffer(ends, np.int32)[names.offset : names.offset + len(names) + 1]
        size = int(ends[-1] - ends[0])
        text[place : place + size] = np.frombuffer(data, np.uint8)[ends[0] : ends[-1]]
        lengths[row : row + len(names)] = np.diff(ends)
        if uses_draws and row < in_train:
            draws[row : row + len(names)] = batch.column(1).to_numpy()[: in_train - row]
        row, place = row + len(names), place + size
    if place != facts["bytes"]:
        raise ValueError("its names are not those that it counts")
    starts = np.zeros(rows, np.int64)
    np.cumsum(lengths[:-1], out=starts[1:])
    files, end = PathList(root, text, starts, lengths), 0
    parts: list[Classes] = []
    for part in facts["parts"]:
        classes: Classes = {}
        for name, count in part:
            classes[str(name)], end = files[end : end + count], end + count
        parts.append(classes)
    train, held_out, test = (folder and root / folder for folder in facts["layout"])
    layout = Layout(train, held_out, tuple(facts["layout_notes"]), test)
    levels = tuple(
        LabelLevel(level["name"], tuple(level["classes"]), tuple(level["of"])) for level in facts.get("levels", [])
    )
    if levels and levels[-1].classes != tuple(parts[0]):
        raise ValueError("its levels are not those of its classes")
    return Listing(
        layout, bool(facts["labelled"]), (parts[0], parts[1], parts[2]), Counter(facts["ignored"]),
        tuple(facts["notes"]), (split_seed, draws) if uses_draws else None, True, levels,
    )  # fmt: skip


def _changed_folder(folders: list[list[Any]], root: Path) -> Path | None:
    """A folder with another time of change than an index has, if one of those looked at has."""
    step = max(1, len(folders) / MOST_FOLDERS_LOOKED_AT)
    for number in range(min(len(folders), MOST_FOLDERS_LOOKED_AT)):
        name, changed = folders[int(number * step)]
        state = state_of(root / name)
        if state is None or state.st_mtime_ns != changed:
            return root / name
    return None


def _folders_of(layout: Layout) -> tuple[Path | None, Path | None, Path | None]:
    return layout.train, layout.held_out, layout.test


def _all(listing: Listing) -> list[PathList]:
    return [files for part in listing.parts for files in part.values()]


def _above(files: PathList, root: Path) -> bytes:
    """What leads from the root to what names start from."""
    return b"" if files.folder == root else os.fsencode(os.path.relpath(files.folder, root) + os.sep)


def _added(listing: Listing, root: Path) -> int:
    return sum(len(files) * len(_above(files, root)) for files in _all(listing))


def _pyarrow() -> ModuleType:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise UserError("an index of images needs pyarrow: pip install 'hvit[tables]', or omit data.index") from error
    return pyarrow.parquet
