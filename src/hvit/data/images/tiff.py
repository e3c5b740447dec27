"""What the headers of a TIFF file say, page by page, without decoding anything."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

MOST_PAGES = 1_000
"""So many pages are counted at most."""
_SMALLER, _MASK = 1, 4
_NEW_SUBFILE, _SUBFILE, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _FORMAT = 254, 255, 258, 259, 262, 277, 339
ORIENTATION = 274
_NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_FORMATS = {1: "", 2: "signed ", 3: "real "}
_READ = "8 bits; 1, 2, 4, 12 or 16 bits of grey; 16 bits of colour; 32 bits of grey as integers or real numbers"


def count_pages(file: BinaryIO) -> int:
    """How many pages in full size the file has (at most 1,000 are counted); smaller versions and masks are none."""
    pages = 0
    for tags in _pages(file):
        kind, old_kind = tags.get(_NEW_SUBFILE, (0,))[0], tags.get(_SUBFILE, (1,))[0]
        pages += not (kind & (_SMALLER | _MASK) or old_kind == 2)
    return max(1, pages)


@dataclass(frozen=True)
class Page:
    """samples: of a pixel. bits: the most that one has."""

    samples: int
    bits: int


def first_page(file: BinaryIO) -> Page | None:
    """How the pixels of the first page are stored; None if the file is no TIFF."""
    tags = next(_pages(file), None)
    if tags is None:
        return None
    return Page(tags.get(_SAMPLES, (1,))[0], max(tags.get(_BITS, (1,)), default=1))


def why_unknown(file: BinaryIO) -> str | None:
    """Why a file that begins like a TIFF was not recognised, as the end of a sentence; None if it is no TIFF."""
    tags = next(_pages(file), None)
    if tags is None:
        return None
    bits, samples = tags.get(_BITS, (1,)), tags.get(_SAMPLES, (1,))[0]
    kind = _FORMATS.get(tags.get(_FORMAT, (1,))[0], "other ")
    compression = tags.get(_COMPRESSION, (1,))[0]
    return (
        f"it is a TIFF of a kind that is not read: {samples} {kind}numbers of "
        f"{' and '.join(map(str, dict.fromkeys(bits)))} bits a pixel, photometric "
        f"{tags.get(_PHOTOMETRIC, (0,))[0]}, compression {compression} (read are {_READ})"
    )


def _pages(file: BinaryIO) -> Iterator[dict[int, tuple[int, ...]]]:
    """The tags of each page that are whole numbers; ends where the file is damaged or its pages go in a circle."""
    file.seek(0)
    header = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(header[:2])
    if order is None or len(header) < 8:
        return
    version = struct.unpack(f"{order}H", header[2:4])[0]
    if version not in (42, 43) or (version == 43 and len(header) < 16):
        return
    big = version == 43
    place = struct.unpack(f"{order}Q", header[8:16])[0] if big else struct.unpack(f"{order}I", header[4:8])[0]
    size, seen = os.fstat(file.fileno()).st_size, set()
    count_format, entry_format, next_format = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
    count_size, entry_size, next_size = (
        struct.calcsize(f"{order}{each}") for each in (count_format, entry_format, next_format)
    )
    while place and place < size and place not in seen and len(seen) < MOST_PAGES:
        seen.add(place)
        file.seek(place)
        head = file.read(count_size)
        if len(head) < count_size:
            return
        entries = min(struct.unpack(f"{order}{count_format}", head)[0], 4096)
        block = file.read(entries * entry_size + next_size)
        if len(block) < entries * entry_size + next_size:
            return
        tags: dict[int, tuple[int, ...]] = {}
        for number in range(entries):
            tag, kind, count, value = struct.unpack_from(f"{order}{entry_format}", block, number * entry_size)
            if tag in (_NEW_SUBFILE, _SUBFILE, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _FORMAT):
                tags[tag] = _values(file, order, kind, count, value) or tags.get(tag, (0,))
        yield tags
        place = struct.unpack_from(f"{order}{next_format}", block, entries * entry_size)[0]


def _values(file: BinaryIO, order: str, kind: int, count: int, value: bytes) -> tuple[int, ...]:
    """The first few numbers of a tag, which lie in its entry or elsewhere in the file."""
    letter = _NUMBERS.get(kind)
    if letter is None or not count:
        return ()
    wanted = min(count, 16)
    if count * struct.calcsize(letter) > len(value):
        file.seek(struct.unpack(f"{order}{'Q' if len(value) == 8 else 'I'}", value)[0])
        value = file.read(wanted * struct.calcsize(letter))
    wanted = min(wanted, len(value) // struct.calcsize(letter))
    return struct.unpack_from(f"{order}{wanted}{letter}", value)
