"""Looks through a tar file for samples, as WebDataset names them: where each image lies, and what its label is.

A sample is the members with one key, which stand next to each other: KEY.jpg, KEY.cls, KEY.json. Nothing is unpacked.
Members that are no files, or whose names lead out of the archive, are refused.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import BinaryIO, cast

import numpy as np

from hvit.data.images.listing import SUFFIXES
from hvit.data.shards.index import MOST_IMAGE_BYTES, Shard, ShardIndex, bytes_array
from hvit.errors import UserError
from hvit.markup import shown

LABEL_FIELDS = ("class", "classes", "label", "labels", "class_name", "category", "target", "values", "cls")
"""Fields of a sample's JSON in which a label is looked for, in this order."""
CLASS_MEMBER = "cls"
_MOST_HEADER = 2**20  # bytes of a header, such as a long name
_MOST_LABEL = 2**20  # bytes of a member that is read for a label
_LONGEST_NAME = 1_000
_BLOCK = 512
_IMAGES = tuple(suffix.removeprefix(".") for suffix in SUFFIXES)


class _Bounded:
    """A file of which nobody reads much at once: the length of a header stands in the file, which may be hostile."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MOST_HEADER:
            raise tarfile.ReadError(f"a header claims to have {size:,} bytes")
        return self.file.read(size)

    def seek(self, place: int, whence: int = 0) -> int:
        return self.file.seek(place, whence)

    def tell(self) -> int:
        return self.file.tell()


@dataclass
class Found:
    """What was found in one shard. complaints: a phrase for everything that is skipped."""

    keys: list[str] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    cells: list[object] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    digest: str = ""


@dataclass
class _Sample:
    """The members of one key."""

    key: str
    image: tuple[int, int] | None = None
    others: dict[str, bytes] = field(default_factory=dict)
    fault: str = ""


def scan(file: BinaryIO, size: int, fields: Sequence[str] = ()) -> Found:
    """The samples in a tar file of so many bytes.

    fields: where the label stands: a field of the JSON member, or a member such as "txt"; default: `LABEL_FIELDS`, and
    then the member "cls". The cell of a sample without a label is "". Raises UserError for what is no tar file.
    """
    found, seen = Found(), set()
    total = hashlib.sha256(str(size).encode())
    for sample in _samples(file, size, found, total):
        cell, name = _label_of(sample, fields)
        fault = sample.fault or (f"{shown(sample.key)} is there twice" if sample.key in seen else "")
        if not fault and sample.image is None:
            fault = f"{shown(sample.key)} has no image"
        if fault:
            found.complaints.append(fault)
            continue
        assert sample.image is not None
        seen.add(sample.key)
        found.keys.append(sample.key)
        found.offsets.append(sample.image[0])
        found.sizes.append(sample.image[1])
        found.names.append(name)
        found.cells.append(cell)
    for number in sorted({0, len(found.keys) - 1} if found.keys else ()):  # headers alone may be those of other shards
        file.seek(found.offsets[number])
        total.update(file.read(found.sizes[number]))
    found.digest = total.hexdigest()
    return found


def index_of(found: Found, place: str, size: int) -> ShardIndex:
    """What was found, as the index of one shard whose labels are still cells."""
    return ShardIndex(
        (Shard(place, size, found.digest, is_hash=False),),
        np.array([0, len(found.keys)]),
        np.array(found.offsets, np.int64),
        np.array(found.sizes, np.int64),
        bytes_array([key.encode("utf-8", "surrogateescape") for key in found.keys]),
        bytes_array([name.encode("utf-8", "replace") for name in found.names]),
        cells=tuple(found.cells),
    )


def _samples(file: BinaryIO, size: int, found: Found, total: hashlib._Hash) -> Iterator[_Sample]:
    from webdataset.tariterators import base_plus_ext

    sample: _Sample | None = None
    for member in _members(file, size, found):
        total.update(f"{member.name}\0{member.size}\0{member.offset_data}\n".encode("utf-8", "surrogateescape"))
        if (fault := _fault(member, size)) is not None:
            found.complaints.append(fault)
            continue
        if member.isdir():
            continue
        key, ending = base_plus_ext(member.name)
        if key is None or ending is None:
            continue  # as WebDataset does with names without an ending
        ending = ending.lower()
        if sample is None or key != sample.key:
            if sample is not None:
                yield sample
            sample = _Sample(key)
        if ending in _IMAGES:
            if sample.image is not None:
                sample.fault = sample.fault or f"{shown(key)} has two images"
            elif not 0 < member.size <= MOST_IMAGE_BYTES:
                what = f"{member.size:,} bytes, more than {MOST_IMAGE_BYTES:,}" if member.size else "no content"
                sample.fault = f"{shown(key)} has an image of {what}"
            sample.image = member.offset_data, member.size
        elif ending in sample.others:
            sample.fault = sample.fault or f"{shown(member.name)} is there twice"
        elif member.size <= _MOST_LABEL and ending in ("cls", "json", "txt"):
            file.seek(member.offset_data)
            sample.others[ending] = file.read(member.size)
            total.update(sample.others[ending])
    if sample is not None:
        yield sample


def _members(file: BinaryIO, size: int, found: Found) -> Iterator[tarfile.TarInfo]:
    """Every member with its place; what is wrong with the archive itself is among the complaints."""
    try:
        with tarfile.open(fileobj=cast(BinaryIO, _Bounded(file)), mode="r:", errorlevel=0) as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # pyright: ignore[reportAttributeAccessIssue]  (it would keep them all)
                yield member
            end = archive.offset
    except (tarfile.TarError, ValueError, OverflowError) as error:
        if not found.keys and not found.complaints and file.tell() <= _BLOCK:
            raise UserError(f"it is no tar file ({error})") from error
        found.complaints.append(f"the shard is cut off or damaged ({error}), and what follows is lost")
        return
    file.seek(min(end, size))
    if rest := file.read(_BLOCK):
        if rest.strip(b"\0"):
            found.complaints.append(f"the shard is damaged at byte {end:,}, and what follows is lost")
    elif size:
        found.complaints.append("the shard has no mark at its end, so samples may be lost")


def _fault(member: tarfile.TarInfo, size: int) -> str | None:
    """Why a member is refused, as a phrase; None for a file in its place."""
    name = shown(member.name[:200])
    path = PurePosixPath(member.name.replace("\\", "/"))
    if not member.name or len(member.name.encode("utf-8", "surrogateescape")) > _LONGEST_NAME or "\0" in member.name:
        return f"a name of {len(member.name):,} letters is no name of a sample"
    if path.is_absolute() or ".." in path.parts or member.name[1:2] == ":":
        return f"{name} leads out of the archive"
    if member.isdir():
        return None
    if not member.isreg() or member.issparse():
        kind = "a link" if member.issym() or member.islnk() else "no plain file"
        return f"{name} is {kind}"
    if member.offset_data + member.size > size:
        return f"{name} is cut off"
    return None


def _label_of(sample: _Sample, fields: Sequence[str]) -> tuple[object, str]:
    """The label of a sample as a cell, "" for none; and the file that it was, if it says so."""
    values = {}
    if "json" in sample.others:
        try:
            values = json.loads(sample.others["json"])
        except (ValueError, RecursionError):
            sample.fault = sample.fault or f"the JSON of {shown(sample.key)} is damaged"
        if not isinstance(values, dict):
            values = {}
    name = values.get("name")
    for one in fields or LABEL_FIELDS:
        if one in values and _is_label(values[one]):
            return values[one], name if isinstance(name, str) else ""
        if one in sample.others and one != "json":
            break
    texts = {ending: text.decode("utf-8", "replace").strip() for ending, text in sample.others.items()}
    cell: object = next((texts[one] for one in fields or (CLASS_MEMBER,) if one in texts and one != "json"), "")
    if not fields and str(cell).startswith("-"):  # a negative class number is how some writers say that there is none
        cell = ""
    return cell, name if isinstance(name, str) and len(name) <= _LONGEST_NAME else ""


def _is_label(value: object) -> bool:
    """Whether a value of JSON can be a label: text, a number, or a list of these."""
    if isinstance(value, list):
        return all(isinstance(one, str | int | float) for one in value)
    return isinstance(value, str | int | float) and value != ""
