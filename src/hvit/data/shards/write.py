"""Writes samples as tar shards with an index; a stopped job goes on where it was, and no file is there half."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tarfile import RECORDSIZE
from typing import IO, Any, Literal

import numpy as np
import torch
from filelock import FileLock, Timeout

from hvit.data.images.listing import show
from hvit.data.layout import UNLABELLED
from hvit.data.regular_files import entries_of, is_folder, open_regular, state_of
from hvit.data.sets import Progress, no_progress
from hvit.data.shards.copies import hash_of
from hvit.data.shards.index import INDEX, Shard, ShardIndex, bytes_array, read_index, write_index
from hvit.data.shards.places import SUFFIX
from hvit.data.shards.scan import CLASS_MEMBER, scan
from hvit.data.shards.source import Part, Source, check_image
from hvit.errors import UserError
from hvit.files import JsonObject, read_object, remove_unfinished, replacing, write_text
from hvit.labels import LabelSpec
from hvit.randomness import generator

JOB = "unfinished.json"
"""The file in a folder of shards that says which job writes them, until it is done."""
_LOCK = ".lock"
_BLOCK = 512


@dataclass(frozen=True)
class Job:
    """How shards are written. size: bytes of a shard at most, unless one sample is larger. order: of the samples.

    check: how far each image is looked at; those that cannot be read are named and skipped.
    """

    size: int
    order: Literal["shuffled", "listed"] = "shuffled"
    check: Literal["header", "decode", "none"] = "header"

    def digest(self, source: Source) -> str:
        """What distinguishes this job from others."""
        return hashlib.sha256(f"{source.digest()}\0{self.size}\0{self.order}\0{self.check}".encode()).hexdigest()


@dataclass
class _Rows:
    """The samples that are in shards: numbers of the source, and places."""

    numbers: array[int] = field(default_factory=lambda: array("q"))
    offsets: array[int] = field(default_factory=lambda: array("q"))
    sizes: array[int] = field(default_factory=lambda: array("q"))

    def add(self, number: int, offset: int, size: int) -> None:
        self.numbers.append(number)
        self.offsets.append(offset)
        self.sizes.append(size)


def write_shards(
    source: Source,
    out: Path,
    job: Job,
    refused: Callable[[str], object] = lambda sentence: None,
    progress: Progress = no_progress,
) -> list[JsonObject]:
    """Writes all parts of a source into a folder, or goes on with a job that was stopped.

    refused: called with a sentence for each image that is skipped. Returns for each part {"part", "folder", "shards",
    "samples", "bytes", "skipped", "found"}, found: shards that were there already. Raises UserError where the folder
    holds something else than this job, is written by another process, or cannot be written.
    """
    wanted = job.digest(source)
    with _owned(out, wanted):
        total, done = sum(map(len, source.parts)), 0
        written = []
        for part in source.parts:

            def step(count: int, before: int = done) -> None:
                progress("writing shards", before + count, total)

            written.append(_Writer(part, source.spec, out / part.name, job, wanted, refused, step).write())
            done += len(part)
        (out / JOB).unlink(missing_ok=True)
    return written


@contextmanager
def _owned(out: Path, job: str) -> Iterator[None]:
    """A folder that holds nothing but shards of this job, for this process alone."""
    if state_of(out) is not None and not is_folder(out):
        raise UserError(f"{show(out)} is a file, and shards are written into a folder: name another one")
    is_new = state_of(out) is None or not [entry for entry in entries_of(out) if entry.name != _LOCK]
    if not is_new and not _is_of(out, job):
        raise UserError(
            f"{show(out)} is not empty, and holds no shards of the same source, size, order and check: name another "
            "folder, or remove it"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / _LOCK, timeout=0)
        lock.acquire()
    except Timeout as error:
        raise UserError(f"another process writes shards to {show(out)}: wait for it, or name another folder") from error
    except OSError as error:
        raise UserError(f"{show(out)} cannot be written: {error.strerror or error}") from error
    try:
        remove_unfinished(out)
        if is_new:
            write_text(out / JOB, json.dumps({"job": job, "what": "hvit shards writes here"}))
        yield
    finally:
        (out / _LOCK).unlink(missing_ok=True)
        lock.release()


def _is_of(out: Path, job: str) -> bool:
    """Whether a folder holds shards of a job, unfinished or whole."""
    if state_of(out / JOB) is not None:
        return read_object(out / JOB).get("job") == job
    indexes = [out / name / INDEX for name in ("", "train") if state_of(out / name / INDEX) is not None]
    return bool(indexes) and read_index(indexes[0], str(out))[1].get("job") == job


class _Writer:
    """Writes one part."""

    def __init__(
        self, part: Part, spec: LabelSpec, folder: Path, job: Job, digest: str,
        refused: Callable[[str], object], step: Callable[[int], object],
    ) -> None:  # fmt: skip
        self.part, self.spec, self.folder, self.job, self.digest = part, spec, folder, job, digest
        self.refused, self.step = refused, step
        self.rows = _Rows()
        self.shards: list[Shard] = []
        self.counts: list[int] = []
        self.order = np.arange(len(part))
        if job.order == "shuffled":
            self.order = torch.randperm(len(part), generator=generator(0, f"shards/{part.name}")).numpy()

    def write(self) -> JsonObject:
        if state_of(self.folder / INDEX) is not None:
            index, head = read_index(self.folder / INDEX, str(self.folder))
            self.step(len(self.part))
            return self._summary(index, int(head["skipped"]), len(index.shards))
        place = self._take_up()
        found = len(self.shards)
        while place < len(self.order):
            place = self._write_shard(place)
        index = self._index()
        skipped = len(self.part) - len(index)
        if not len(index):
            raise UserError(f"none of the {len(self.part):,} images can be stored; nothing was written")
        facts: dict[str, Any] = {"job": self.digest, "part": self.part.name, "skipped": skipped}
        write_index(index, self.folder / INDEX, facts)
        return self._summary(index, skipped, found)

    def _summary(self, index: ShardIndex, skipped: int, found: int) -> JsonObject:
        return {
            "part": self.part.name,
            "folder": str(self.folder),
            "shards": len(index.shards),
            "samples": len(index),
            "bytes": sum(shard.size for shard in index.shards),
            "skipped": skipped,
            "found": found,
        }

    def _take_up(self) -> int:
        """Reads the shards that an earlier process has finished; returns the place in the order that comes next."""
        place = 0
        while state_of(path := self._path()) is not None:
            with open_regular(path) as file:
                size = file.seek(0, 2)
                file.seek(0)
                found = scan(file, size)
            places = [int(key) if key.isdecimal() else -1 for key in found.keys]
            if found.complaints or not places or places != sorted(places) or not place <= places[0] < len(self.order):
                raise UserError(f"{show(path)} is not what this job wrote: remove {show(self.folder)}, and repeat")
            for one, offset, length in zip(places, found.offsets, found.sizes, strict=True):
                self.rows.add(int(self.order[one]), offset, length)
            self._finished(path, size, hash_of(path), len(places))
            place = places[-1] + 1
            self.step(place)
        return place

    def _path(self) -> Path:
        return self.folder / f"{len(self.shards):06}{SUFFIX}"

    def _finished(self, path: Path, size: int, digest: str, count: int) -> None:
        self.shards.append(Shard(str(path), size, digest))
        self.counts.append(count)

    def _write_shard(self, place: int) -> int:
        """Writes the next shard; returns the place in the order that comes after it."""
        from webdataset.writer import TarWriter

        path, start = self._path(), len(self.rows.numbers)
        pending = self._next(place)
        if pending is None:
            return len(self.order)
        with replacing(path) as file:
            hashed = _Hashed(file)
            # Neither the time nor the user stand in a shard, so that the same samples are the same bytes.
            with TarWriter(hashed, user="", group="", mtime=0, encoder=False) as archive:  # pyright: ignore
                while pending is not None:
                    place, members, ending = pending
                    length = sum(_BLOCK + -(-len(content) // _BLOCK) * _BLOCK for content in members.values())
                    # The archive ends with two empty blocks, and is filled up.
                    before, is_first = archive.tarstream.offset, len(self.rows.numbers) == start
                    if -(-(before + length + 2 * _BLOCK) // RECORDSIZE) * RECORDSIZE > self.job.size and not is_first:
                        break
                    archive.write({"__key__": f"{place:09}", **members})
                    offset = before + _offset_of(ending, members)
                    self.rows.add(int(self.order[place]), offset, len(members[ending]))
                    self.step(place + 1)
                    pending = self._next(place + 1)
        self._finished(path, hashed.size, hashed.total.hexdigest(), len(self.rows.numbers) - start)
        return len(self.order) if pending is None else pending[0]

    def _next(self, place: int) -> tuple[int, dict[str, bytes], str] | None:
        """The next sample that can be stored, from a place in the order on: its place, members, and image's ending."""
        for one in range(place, len(self.order)):
            number = int(self.order[one])
            title = self.part.title(number)
            try:
                content, ending = self.part.content(number)
                if self.job.check != "none":
                    check_image(content, title, self.job.check == "decode")
            except UserError as error:
                self.refused(f"{show(title)} is skipped: {str(error).removesuffix('.')}")
                continue
            return one, {ending: content, **self._label_members(number, title)}, ending
        return None

    def _label_members(self, number: int, title: str) -> dict[str, bytes]:
        label, names = self.part.labels[number], self.spec.names
        said: dict[str, object] = {"name": title}
        members: dict[str, bytes] = {}
        if self.spec.kind == "multi":
            said["classes"] = [names[one] for one in np.flatnonzero(label)]
        elif self.spec.kind == "regression":
            said["values"] = [float(value) for value in label]
        elif names != (UNLABELLED,):
            said |= {"class": names[int(label)], "label": int(label)}
            members[CLASS_MEMBER] = str(int(label)).encode()
        members["json"] = json.dumps(said, sort_keys=True).encode()
        return members

    def _index(self) -> ShardIndex:
        numbers = np.array(self.rows.numbers, np.int64)
        places = np.argsort(self.order)[numbers] if len(numbers) else numbers
        return ShardIndex(
            tuple(self.shards),
            np.concatenate([[0], np.cumsum(self.counts, dtype=np.int64)]),
            np.array(self.rows.offsets, np.int64),
            np.array(self.rows.sizes, np.int64),
            bytes_array([f"{place:09}".encode() for place in places.tolist()]),
            bytes_array([self.part.title(number).encode() for number in numbers.tolist()]),
            self.part.labels[numbers],
            self.spec,
        )


class _Hashed:
    """A file that is written, with its SHA-256 and its size."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.total, self.size = file, hashlib.sha256(), 0

    def write(self, content: bytes) -> int:
        self.total.update(content)
        self.size += len(content)
        return self.file.write(content)


def _offset_of(ending: str, members: dict[str, bytes]) -> int:
    """Where the content of a member begins behind the start of its sample: WebDataset writes them by their endings."""
    offset = _BLOCK
    for name in sorted(members):
        if name == ending:
            break
        offset += -(-len(members[name]) // _BLOCK) * _BLOCK + _BLOCK
    return offset
