"""Opens shards as samples by number: with the index that lies next to them, or after a look through the tar files."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from hvit.data.images.listing import show
from hvit.data.layout import UNLABELLED, counted, some
from hvit.data.regular_files import open_regular, state_of, system_reason
from hvit.data.sets import Progress, no_progress
from hvit.data.shards.copies import Copies, UnreachableError, is_remote, local_path, shown_place
from hvit.data.shards.index import INDEX, ShardIndex, joined, read_index
from hvit.data.shards.places import Place, parts_at
from hvit.data.shards.rows import ShardRows
from hvit.data.shards.scan import Found, index_of, scan
from hvit.data.survey import in_threads
from hvit.data.tables.settings import LabelOptions
from hvit.data.tables.targets import encode
from hvit.errors import UserError
from hvit.files import read_object, write_text
from hvit.labels import LabelSpec

MOST_SKIPPED = 100
_SCANNED = "hvit scan 1"
_LARGEST_NOTE = 2**30  # bytes of what a scan found
_WITHOUT = "train without them (--data.labels none), or say where they are (--data.label-columns)"
_UNLABELLED_NOTE = "The images in the shards have no labels: they are one unlabelled data set."


@dataclass(frozen=True)
class OpenedShards:
    """Samples of some places. counts: shards of each place. complaints: phrases on samples that are skipped. note: how
    labels were read."""

    index: ShardIndex
    counts: tuple[int, ...]
    complaints: tuple[str, ...]
    note: str = ""


def open_shards(
    named: str, copies: Copies | None = None, most_skipped: int = MOST_SKIPPED, progress: Progress = no_progress
) -> ShardRows:
    """Shards as samples by number: `len`, and `rows[number]` with content, label, key, shard and name.

    named: a folder, tar files with braces, or a URL; all parts of a divided folder, one after the other. Raises
    UserError where there are none, or where more samples than `most_skipped` are damaged.
    """
    copies = copies or Copies()
    places = [place for part in parts_at(named).values() for place in part]
    opened = open_places(places, copies, LabelOptions(), "auto", progress)
    refuse_too_many(opened.complaints, most_skipped)
    return ShardRows(opened.index, copies)


def open_places(
    places: Sequence[Place],
    copies: Copies,
    options: LabelOptions,
    labels: str,
    progress: Progress = no_progress,
) -> OpenedShards:
    """The samples of all places, in their order, with their labels.

    options: where labels stand and what they are. labels: "none" to take none, "auto" for those that are there, or
    "folders" to need them. Raises UserError for shards that cannot be read.
    """
    indexes: list[ShardIndex] = []
    complaints: list[str] = []
    counts: list[int] = []
    for place in places:
        found, more = _index_of(place, copies, options.label_columns, progress)
        indexes += found
        complaints += more
        counts.append(sum(len(one.shards) for one in found))
    whole = joined(indexes)
    if not len(whole):
        raise UserError(f"no sample is left in the shards{f': {some(complaints, 3)}' if complaints else ''}")
    index, more, note = _labelled(whole, indexes, options, labels)
    return OpenedShards(index, tuple(counts), (*complaints, *more), note)


def refuse_too_many(complaints: Sequence[str], most: int) -> tuple[str, ...]:
    """The sentence on samples that are skipped. Raises UserError where they are more than may be."""
    if not complaints:
        return ()
    sentence = f"{counted(len(complaints), 'sample')} of the shards cannot be used"
    if len(complaints) > most:
        raise UserError(f"{sentence}, and at most {most:,} may be skipped (--data.max-skipped): {some(complaints, 5)}")
    return (f"{sentence} and will be skipped: {some(complaints, 5)}.",)


def _index_of(
    place: Place, copies: Copies, fields: Sequence[str], progress: Progress
) -> tuple[list[ShardIndex], list[str]]:
    """The indexes of the shards of a place, in their order, and what is wrong with them."""
    folder = place.folder.rstrip("/")
    known = _stored_index(folder, copies)
    if known is None:
        return _scanned([f"{folder}/{name}" for name in place.names or ()], copies, fields, progress)
    numbers = {shard.name: number for number, shard in enumerate(known.shards)}
    wanted = list(numbers) if place.names is None else list(place.names)
    if lost := [name for name in wanted if name not in numbers]:
        raise UserError(
            f"{shown_place(folder)}/{INDEX} does not list {some(lost, 3)}: name the shards that it lists, or remove "
            "it to read the shards without it"
        )
    index = known.of_shards([numbers[name] for name in wanted], [f"{folder}/{name}" for name in wanted])
    _check_sizes(index)
    return [index], []


def _stored_index(folder: str, copies: Copies) -> ShardIndex | None:
    where = f"{folder}/{INDEX}"
    if not is_remote(where):
        path = local_path(where)
        return read_index(path, folder)[0] if state_of(path) is not None else None
    try:
        with copies.once(where) as path:
            return read_index(path, folder)[0]
    except UnreachableError as error:
        # Some object stores forbid what is not there.
        if isinstance(error.__cause__, FileNotFoundError | PermissionError):
            return None
        raise


def _check_sizes(index: ShardIndex) -> None:
    """Raises UserError for local shards that are missing, or not as long as their index says."""
    for shard in index.shards:
        if is_remote(shard.place):
            continue
        state = state_of(local_path(shard.place))
        if state is None:
            raise UserError(f"{shown_place(shard.place)} is missing, and its index lists it")
        if state.st_size != shard.size:
            raise UserError(
                f"{shown_place(shard.place)} has {state.st_size:,} bytes, and its index says {shard.size:,}: it was "
                "cut off, or written again since; write the shards again, or remove the index"
            )


def _scanned(
    places: Sequence[str], copies: Copies, fields: Sequence[str], progress: Progress
) -> tuple[list[ShardIndex], list[str]]:
    """The shards of other writers, looked through; what was found is kept, so that it is quick the next time."""
    progress("looking through shards", 0, len(places))

    def look(place: str) -> tuple[Found, int]:
        path = copies.path(place)
        try:
            with open_regular(path) as file:
                state = os.fstat(file.fileno())
                changed = "" if is_remote(place) else state.st_mtime_ns
                note = copies.note(json.dumps([_SCANNED, place, state.st_size, changed, list(fields)]))
                found = _remembered(note)
                if found is None:
                    found = scan(file, state.st_size, fields)
                    with suppress(UserError):  # it is looked through again, then
                        write_text(note, json.dumps(asdict(found)))
                return found, state.st_size
        except OSError as error:
            raise UnreachableError(f"cannot read {shown_place(place)}: {system_reason(error)}") from error
        except UnreachableError:
            raise
        except UserError as error:
            raise UserError(f"{shown_place(place)} cannot be read as a shard: {error}") from error

    indexes, complaints = [], []
    for done, (place, (found, size)) in enumerate(in_threads(look, places, 1), 1):
        progress("looking through shards", done, len(places))
        indexes.append(index_of(found, place, size))
        complaints += [f"{show(place.rpartition('/')[2])}: {complaint}" for complaint in found.complaints]
    return indexes, complaints


def _remembered(note: Path) -> Found | None:
    """What an earlier scan found; None where there was none, or where its note is damaged."""
    try:
        found = Found(**read_object(note, _LARGEST_NOTE))
    except (UserError, TypeError):
        return None
    lengths = {len(one) for one in (found.keys, found.offsets, found.sizes, found.names, found.cells)}
    return found if len(lengths) == 1 else None


def _labelled(
    whole: ShardIndex, indexes: Sequence[ShardIndex], options: LabelOptions, labels: str
) -> tuple[ShardIndex, list[str], str]:
    """The samples that have a label, with their labels; phrases on the others; and how labels were read."""
    specs = {index.spec for index in indexes}
    spec = next(iter(specs))
    if labels == "none" or specs == {LabelSpec("single", (UNLABELLED,))}:
        if labels == "folders":
            raise UserError(f"the shards have no labels: {_WITHOUT}")
        none = np.zeros(len(whole), np.int64)
        return replace(whole, labels=none, spec=LabelSpec("single", (UNLABELLED,))), [], _UNLABELLED_NOTE
    if len(specs) == 1 and spec is not None and options.task in ("auto", spec.kind):
        parts = [index.labels for index in indexes if index.labels is not None]
        found, note = np.concatenate(parts), f"The index of the shards says: {spec.describe()}."
        inside = (found >= 0) & (found < len(spec.names)) if spec.has_classes else np.ones(len(found), bool)
        why = f"a label from 0 to {len(spec.names) - 1}"
    else:
        cells = [cell for index in indexes for cell in _cells(index)]
        if all(cell == "" for cell in cells):
            if labels == "folders":
                raise UserError(f"no sample of the shards has a label (a member .cls, or a field of .json): {_WITHOUT}")
            return _labelled(whole, indexes, options, "none")
        encoded = encode({"label": cells}, _with_task(options, specs, cells), whole.key_name)
        spec, found, note, inside, why = encoded.spec, encoded.labels, encoded.note, ~encoded.missing, "a label"
    complaints = [
        f"{show(whole.key_name(row))} has no {why.removeprefix('a ')}" for row in np.flatnonzero(~inside).tolist()
    ]
    labelled = replace(whole, labels=found, spec=spec)
    return (labelled.only(inside) if complaints else labelled), complaints, note


def _cells(index: ShardIndex) -> Sequence[object]:
    """What the labels of an index were before they were numbers."""
    if index.spec is None or index.labels is None:
        return index.cells
    spec, labels = index.spec, index.labels
    if spec.has_classes:
        known = (*spec.names, "") if spec.names != (UNLABELLED,) else ("", "")
        return [known[label if 0 <= label < len(spec.names) else -1] for label in labels.tolist()]
    if spec.kind == "multi":
        return [[spec.names[label] for label in np.flatnonzero(row)] for row in labels]
    return [row.tolist() for row in labels]


def _with_task(options: LabelOptions, specs: set[LabelSpec | None], cells: Sequence[object]) -> LabelOptions:
    """The options, with the kind of the labels where the shards say it: whole numbers are classes, not numbers."""
    if options.task != "auto":
        return options
    kinds = {spec.kind for spec in specs if spec is not None and spec.names != (UNLABELLED,)}
    if len(kinds) > 1:
        raise UserError(f"the shards have labels of different kinds ({', '.join(sorted(kinds))}): train on one of them")
    if kinds:
        kind = kinds.pop()
        names = next(spec.names for spec in specs if spec is not None and spec.kind == kind)
        return replace(options, task=kind, class_order=names if kind == "ordinal" else options.class_order)
    if all(isinstance(cell, str) or type(cell) is int for cell in cells) and not options.class_order:
        return replace(options, task="single")
    return options
