"""Which data this is: names, classes and content of every sample, so that a changed data set is noticed.

The identity of a data set is plain JSON. It does not depend on where the data lies: names are relative to the folder
of their split (or to the root that a list's paths start from).
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np

from hvit.data.regular_files import open_regular, system_reason
from hvit.data.sets import ImageSet, Splits, Stored
from hvit.errors import UserError
from hvit.markup import shown, some_of

WHOLE_BYTES = 2 * 2**30
"""Up to so many bytes in one split every byte of every file is hashed."""
WHOLE_FILES = 200_000
"""... and up to so many files."""
SAMPLED_FILES = 1_000
"""Of larger splits so many files, evenly spaced, are looked into."""
SAMPLED_BYTES = 4_096
"""Of each of them so many bytes at its start and at its end are hashed."""
LISTED_FILES = 2_000
"""Up to so many samples of a split are listed one by one, so that a difference can be named."""

_CHUNK = 1 << 20
_PORTION = 4096
_NAMED = 3
_SOME = {True: "sizes, and ", False: ""}


class SplitIdentity(TypedDict):
    """What identifies one split (see `identity_of`)."""

    count: int
    names: str
    labels: str
    contents: str
    hashed: str
    files: NotRequired[dict[str, list[int | str]]]


class Identity(TypedDict):
    """What identifies an opened data set (see `identity_of`)."""

    classes: list[str]
    train: SplitIdentity
    held_out: SplitIdentity
    test: NotRequired[SplitIdentity]


def identity_of(splits: Splits) -> Identity:
    """What identifies an opened data set: {"classes": [names], "train": {...}, "held_out": {...}}, plain JSON; with
    "test" where it has a third part.

    Of each split: "count"; "names", "labels" and "contents", a SHA-256 of each in the order of the set; "hashed", how
    contents were hashed ("every byte", or the stated cheaper way: the size of every file, and the first and last
    4,096 bytes of 1,000 evenly spaced ones; of folders of frames the number of frames instead of the size); and for at
    most 2,000 samples "files", {name: [class number, start of the SHA-256]}.

    Every byte is hashed where a split has at most 2 GiB and 200,000 files. Of images that an index lists, the names of
    all and the ends of 1,000 files are. Raises UserError if a file cannot be read.
    """
    identity: Identity = {
        "classes": list(splits.classes),
        "train": _identity_of_set(splits.train),
        "held_out": _identity_of_set(splits.held_out),
    }
    if splits.test is not None:
        identity["test"] = _identity_of_set(splits.test)
    return identity


def describe_changes(before: Identity, now: Identity, what: str = "images") -> tuple[str, ...]:
    """What differs between two identities, a phrase each; none if they are equal.

    what: the word for the samples, "images" or "clips". Identities of splits that were hashed in different ways (their
    sizes then differ, too) count as different. Where both list their samples, the first few that differ are named.
    """
    changes = []
    if before["classes"] != now["classes"]:
        changes.append(_classes_changed(before["classes"], now["classes"]))
    pairs = [(before["train"], now["train"], "training"), (before["held_out"], now["held_out"], "held-out")]
    if "test" in before:  # earlier versions had none
        pairs.append((before["test"], now.get("test", {**before["test"], "count": 0, "files": {}}), "test"))
    for one, other, name in pairs:
        if one == other:
            continue
        files, others = one.get("files"), other.get("files")
        if files is None or others is None:
            changes.append(_split_changed(one, other, f"{name} {what}"))
            continue
        gone, new = [key for key in files if key not in others], [key for key in others if key not in files]
        shared = [key for key in files if key in others]
        phrases = (
            (gone, "missing"),
            (new, "new"),
            ([key for key in shared if files[key][0] != others[key][0]], "in another class"),
            ([key for key in shared if files[key][1] != others[key][1]], "with other content"),
        )
        found = [f"{len(keys):,} {state} ({some_of(keys, _NAMED, '; ')})" for keys, state in phrases if keys]
        changes.append(f"{name} {what}: {', '.join(found) or 'in another order'}")
    return tuple(changes)


def _identity_of_set(images: ImageSet) -> SplitIdentity:
    of_all_names = images.digest_of_names()
    whole = of_all_names is None and _is_small(content for _, content in images.stored())
    single = images.labels.ndim == 1
    labels = images.labels.astype("<i8" if single else "<f4")
    names, contents = hashlib.sha256(), hashlib.sha256()
    listed: dict[str, list[int | str]] = {}
    stored = 0
    for name, digest in _digests(images, whole, of_all_names is not None):
        encoded = name.encode("utf-8", "surrogateescape")
        names.update(len(encoded).to_bytes(8, "little") + encoded)
        contents.update(digest)
        if len(labels) <= LISTED_FILES:
            listed[shown(name)] = [
                int(labels[stored]) if single else hashlib.sha256(labels[stored].tobytes()).hexdigest()[:16],
                digest.hex()[:16],
            ]
        stored += 1
    found: SplitIdentity = {
        "count": len(labels),
        "names": names.hexdigest() if of_all_names is None else of_all_names.hex(),
        "labels": hashlib.sha256(labels.tobytes()).hexdigest(),
        "contents": contents.hexdigest(),
        "hashed": "every byte" if whole else f"{_SOME[of_all_names is None]}ends of {SAMPLED_FILES:,} files",
    }
    # Sets that are made as they are read, such as digits, store less than they have samples.
    if stored == len(labels) == len(listed):
        found["files"] = listed
    return found


def _is_small(contents: Iterable[Stored]) -> bool:
    """Whether all content is hashed; stops looking as soon as it is too much."""
    count = size = 0
    for content in contents:
        if not isinstance(content, Path):
            size += len(content) if isinstance(content, bytes) else content.nbytes
            continue
        for file in _files(content):
            count, size = count + 1, size + _state(file).st_size
            if count > WHOLE_FILES or size > WHOLE_BYTES:
                return False
    return True


def _digests(images: ImageSet, whole: bool, gives_some: bool) -> Iterator[tuple[str, bytes]]:
    """Name and hash of everything that a set is made of, some thousands at a time: paths of a million take a GB."""
    step = 1 if gives_some else max(1, len(images) // SAMPLED_FILES)

    def digest(portion: Sequence[tuple[int, tuple[str, Stored]]]) -> list[tuple[str, bytes]]:
        return [(name, _digest(content, whole, number % step == 0)) for number, (name, content) in portion]

    stored = enumerate(images.stored())
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        while some := list(islice(stored, _PORTION)):
            portions = [some[start : start + 64] for start in range(0, len(some), 64)]
            for found in pool.map(digest, portions):
                yield from found


def _digest(content: Stored, whole: bool, sampled: bool) -> bytes:
    total = hashlib.sha256()
    if isinstance(content, bytes):
        total.update(content)
    elif isinstance(content, np.ndarray):
        total.update(f"{content.dtype.str}{content.shape}".encode())
        total.update(np.ascontiguousarray(content).data)
    elif whole or sampled:
        for file in _files(content):
            if file != content:
                total.update(os.fsencode(file.name) + b"\0")
            _hash_file(total, file, whole)
    else:
        state = _state(content)
        with _one_sentence(content):
            is_folder = stat.S_ISDIR(state.st_mode)
            total.update(str(sum(1 for _ in content.iterdir()) if is_folder else state.st_size).encode())
    return total.digest()


def _files(content: Path) -> list[Path]:
    """The file itself, or the files in a folder of frames by their names."""
    if not stat.S_ISDIR(_state(content).st_mode):
        return [content]
    with _one_sentence(content):
        return sorted(file for file in content.iterdir() if not file.name.startswith(".") and file.is_file())


def _state(file: Path) -> os.stat_result:
    with _one_sentence(file):
        return file.stat()


def _hash_file(total: hashlib._Hash, path: Path, whole: bool) -> None:
    """Adds the size of a file, and every byte of it or those at its ends."""
    with _one_sentence(path), open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        total.update(f"{size}\0".encode())
        if whole:
            while chunk := file.read(_CHUNK):
                total.update(chunk)
            return
        total.update(file.read(SAMPLED_BYTES))
        file.seek(max(0, size - SAMPLED_BYTES))
        total.update(file.read(SAMPLED_BYTES))


@contextmanager
def _one_sentence(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot read {shown(str(path))}: {system_reason(error)}.") from error


def _classes_changed(before: Sequence[str], now: Sequence[str]) -> str:
    gone, new = [name for name in before if name not in now], [name for name in now if name not in before]
    found = [f"{state} {some_of(names, _NAMED, '; ')}" for names, state in ((gone, "without"), (new, "with")) if names]
    return f"classes: {', '.join(found) or 'in another order'}"


def _split_changed(before: SplitIdentity, now: SplitIdentity, what: str) -> str:
    """What differs between two splits that are not listed sample by sample."""
    if before["count"] != now["count"]:
        return f"{what}: {now['count']:,} and not {before['count']:,}"
    parts = [part for part in ("names", "labels", "contents") if before[part] != now[part]]
    return f"{what}: other {' and '.join(parts) or 'ways to hash them'}"
