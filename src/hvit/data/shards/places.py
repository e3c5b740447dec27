"""From what a user names (a folder, a pattern of shards, a URL) to the shards of each part of a data set."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from hvit.data.images.listing import show
from hvit.data.layout import HELD_OUT_NAMES, TEST_NAME, some
from hvit.data.regular_files import entries_of, is_folder, state_of
from hvit.data.shards.copies import filesystem, is_remote, is_there, local_path, shown_place
from hvit.data.shards.index import INDEX
from hvit.errors import UserError
from hvit.files import absolute_path

MOST_SHARDS = 1_000_000
SUFFIX = ".tar"
STREAMED = (".parquet",)
"""Endings of files that are streamed by the library `datasets`."""
BY_NAME = "hf:"
_RANGE = re.compile(r"\{(-?\d{1,18})\.\.(-?\d{1,18})(?=[.}])")
_LONGEST = 100_000  # characters of a pattern
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


@dataclass(frozen=True)
class Place:
    """The shards in one folder. folder: a path or URL. names: of the shards; None for all that the index lists."""

    folder: str
    names: tuple[str, ...] | None


def parts_at(named: str, option: str = "shards") -> dict[str, list[Place]]:
    """The places of each part ("train", "val", "test") of what is named; "" for shards that are one part.

    named: folders or shards, with braces such as {000..123}, several after "::". Raises UserError where there are no
    shards.
    """
    found: dict[str, list[Place]] = {}
    listed: dict[str, list[str]] = {}
    for one in _expanded(named, option):
        if one.lower().endswith(_COMPRESSED):
            raise UserError(
                f"{shown_place(one)} is compressed, and no sample in it can be read alone: unpack it to {SUFFIX}"
            )
        if one.lower().endswith(SUFFIX):
            folder, _, name = one.rpartition("/")
            listed.setdefault(folder or ("/" if one.startswith("/") else "."), []).append(name)
            continue
        for part, place in _parts_of_folder(one, option).items():
            found.setdefault(part, []).append(place)
    for folder, names in listed.items():
        twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
        if twice is not None:
            raise UserError(f"{option} names {show(twice)} twice: a shard belongs to one place of the data")
        found.setdefault("", []).append(Place(folder, tuple(names)))
    if "" in found and len(found) > 1:
        raise UserError(
            f"{option} names shards and a folder that is divided into {some(sorted(set(found) - {''}))}: name one kind"
        )
    return found


def with_full_path(named: str) -> str:
    """What is named with paths that hold wherever a run is resumed from; URLs and names are whole."""
    return "::".join(
        one if "://" in one or one.startswith(BY_NAME) else str(absolute_path(one))
        for one in (part.strip() for part in named.split("::"))
        if one
    )


def is_streamed(named: str) -> bool:
    """Whether what is named is streamed by `datasets` instead of read from tar files."""
    return named.startswith(BY_NAME) or named.lower().endswith(STREAMED)


def expanded(named: str, option: str) -> list[str]:
    """The files of a pattern with braces. Raises UserError for too many."""
    return list(_expanded(named, option))


def _expanded(named: str, option: str) -> Iterator[str]:
    if len(named) > _LONGEST:
        raise UserError(f"{option} has {len(named):,} characters, and at most {_LONGEST:,} are read: use braces")
    found = [one for pattern in named.split("::") if pattern.strip() for one in _braces(pattern.strip(), option)]
    if not found:
        raise UserError(f"{option} names no shards: give a folder or a pattern such as 'OUT/{{000000..000009}}.tar'")
    yield from found


def _braces(pattern: str, option: str) -> list[str]:
    if not {"{", "}"} & set(pattern):
        return [pattern]
    count = 1
    for low, high in _RANGE.findall(pattern):  # they are counted before they are made
        count *= min(abs(int(high) - int(low)) + 1, MOST_SHARDS + 1)
        if count > MOST_SHARDS:
            raise UserError(f"{option} {show(pattern)[:200]} stands for more than {MOST_SHARDS:,} shards")
    try:
        from braceexpand import braceexpand
    except ImportError as error:
        raise UserError("a pattern with braces needs webdataset: pip install 'hvit[shards]'") from error
    try:
        found = list(islice(braceexpand(pattern, escape=False), MOST_SHARDS + 1))
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{option} {show(pattern)[:200]} has braces that do not fit together: write a range as {{000000..000009}}"
        ) from error
    if len(found) > MOST_SHARDS:
        raise UserError(f"{option} {show(pattern)[:200]} stands for more than {MOST_SHARDS:,} shards")
    return found


def _parts_of_folder(named: str, option: str) -> dict[str, Place]:
    top = named.rstrip("/") or "/"
    look = _remote_shards if is_remote(top) else _local_shards
    whole = look(top, option)
    if whole is not None:
        return {"": whole}
    parts = {name: place for name in ("train", *HELD_OUT_NAMES) if (place := look(f"{top}/{name}", option))}
    if "train" not in parts:
        raise UserError(
            f"{shown_place(top)} holds no shards ({SUFFIX}), and no folder train with shards: {option} must be a "
            "folder that `hvit shards` has written, or tar files"
        )
    held = next((name for name in HELD_OUT_NAMES if name in parts), None)
    found = {"train": parts["train"]}
    if held is not None:
        found["val"] = parts[held]
    if TEST_NAME in parts and held != TEST_NAME:
        found["test"] = parts[TEST_NAME]
    return found


def _local_shards(top: str, option: str) -> Place | None:
    folder = local_path(top)
    if not is_folder(folder):
        if state_of(folder) is not None:
            raise UserError(f"{show(folder)} is no folder and ends in none of {SUFFIX}, {', '.join(STREAMED)}")
        if folder.name in ("train", *HELD_OUT_NAMES):
            return None
        raise UserError(f"{show(folder)} does not exist: {option} must be a folder of shards, or tar files")
    if state_of(folder / INDEX) is not None:
        return Place(str(folder), None)
    names = [entry.name for entry in entries_of(folder) if _is_shard(entry.name)]
    return Place(str(folder), tuple(names)) if names else None


def _is_shard(name: str) -> bool:
    return name.lower().endswith(SUFFIX) and not name.startswith(".")


def _remote_shards(top: str, option: str) -> Place | None:
    system, inside = filesystem(top)
    if is_there(f"{top}/{INDEX}"):
        return Place(top, None)
    try:
        found: list[Any] = system.ls(inside, detail=False)
    except Exception:  # many servers list nothing, each in its own way
        return None
    names = sorted({str(one).rstrip("/").rpartition("/")[2] for one in found})
    names = [name for name in names if _is_shard(name)]
    return Place(top, tuple(names)) if names else None


def refuse_shared(train: Sequence[Place], held_out: Sequence[Place]) -> None:
    """Raises UserError where a shard is in both parts."""
    names = {(place.folder, name) for place in train for name in place.names or ("",)}
    other = {(place.folder, name) for place in held_out for name in place.names or ("",)}
    if shared := sorted(names & other):
        folder, name = shared[0]
        raise UserError(f"{shown_place(f'{folder}/{name}')} is to train on and held out: name it in one place")
