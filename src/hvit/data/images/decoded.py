"""A folder that keeps decoded, shrunk images as bytes, so that photos are decoded once and read from memory after that.

Pixels lie in segments, files of a fixed size that one process fills; a table of slots, which all processes map, says
where. A slot is found by a hash of a file's content, or of its path, size and time of change, by which the content need
not be read again. Whatever is torn, half-written or overwritten by another process does not have its checksum, and
counts as absent: the image is decoded again.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import secrets
import sys
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from PIL import Image

from hvit.data.images.listing import show
from hvit.data.reduced import Reduced
from hvit.data.regular_files import open_regular
from hvit.errors import UserError
from hvit.files import read_object, write_text

KIND = "hvit decoded images 1"
SEGMENT = 64 * 2**20
"""Bytes of a segment. Segments of processes that ended are not filled up."""
GIGABYTE = 10**9
_MOST_MAPPED = 128
_SLOT = np.dtype(
    [
        ("key", "<u8", 2),
        ("segment", "<u8"),
        ("offset", "<u4"),
        ("width", "<u4"),
        ("height", "<u4"),
        ("full_width", "<u4"),
        ("full_height", "<u4"),
        ("channels", "<u4"),
        ("pixels", "<u4"),
        ("check", "<u4"),
    ]
)
_PROBES = 256
"""So many slots after the one of a key are looked at; beyond, an image is not kept."""
_SUFFIX = ".pixels"

AnyImage = Image.Image | Reduced


@dataclass(frozen=True)
class Kept:
    """What makes the pixels of a file: with other settings, other images are kept.

    side: pixels of the shorter side to which larger images are shrunk. how: everything else, as text.
    """

    side: int
    how: str

    def digest(self) -> str:
        """A name for images of these settings."""
        return hashlib.sha256(f"{KIND}/{self.side}/{self.how}".encode()).hexdigest()[:16]


class DecodedImages:
    """Decoded images in a folder, for any number of processes at once.

    folder: where; images of each setting have a folder of their own in it. kept: the settings. images: how many the
    data set has, after which the table is made. gigabytes: how much the whole folder may hold, of all settings; when it
    is full, images that it does not have are decoded each time.
    """

    def __init__(self, folder: Path, kept: Kept, images: int, gigabytes: float) -> None:
        self.top, self.kept, self.most = folder, kept, int(gigabytes * GIGABYTE)
        self.folder = folder / kept.digest()
        self.slots = 1 << max(10, (4 * images - 1).bit_length())  # two slots an image, and as many empty ones
        self._open()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _check_is_ours(folder)
            self.folder.mkdir(exist_ok=True)
            with self._lock():
                self.table_path = self._table()
        except OSError as error:
            raise UserError(f"decoded images cannot be kept in {show(folder)}: {error.strerror or error}") from error

    def _open(self) -> None:
        self._process = os.getpid()
        self._table_map: np.ndarray | None = None
        self._segments: OrderedDict[int, mmap.mmap] = OrderedDict()
        self._writing: int | None = None  # file descriptor of this process's own segment
        self._segment = self._used = 0
        self._is_full = False

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if not key.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def image(self, file: Path, mode: str, decode: Callable[[Path], AnyImage]) -> AnyImage:
        """The image of a file, shrunk where its shorter side is longer than that of the settings.

        mode: "L" or "RGB", that of what `decode` gives, which is called where the image is not kept yet. Raises
        UserError where it does.
        """
        if self._process != os.getpid():  # a worker that was forked: no two processes write one segment
            self._open()
        if self._table_map is None:
            self._table_map = np.memmap(self.table_path, _SLOT, "r+")
        stamp = self._stamp_key(file)
        if stamp is not None and (found := self._found(stamp, mode)) is not None:
            return found
        content = self._content_key(file)
        slot = None if content is None else self._slot(content)
        if slot is not None and (found := self._picture(slot, mode)) is not None:
            self._add(stamp, slot)
            return found
        picture = self._shrunk(decode(file))
        if stamp is None or content is None or self._is_full or stamp != self._stamp_key(file):
            return picture
        if self._place_for(content) is not None and (slot := self._written(picture)) is not None:
            self._add(content, slot)
            self._add(stamp, slot)
        return picture

    def _shrunk(self, decoded: AnyImage) -> AnyImage:
        image, size = (decoded.image, decoded.size) if isinstance(decoded, Reduced) else (decoded, decoded.size)
        shorter = min(image.size)
        if shorter > self.kept.side:
            width, height = (max(self.kept.side, round(edge * self.kept.side / shorter)) for edge in image.size)
            image = image.resize((width, height), Image.Resampling.BICUBIC)
        return image if image.size == size else Reduced(image, size)

    # Keys

    def _stamp_key(self, file: Path) -> bytes | None:
        try:
            state = file.stat()
        except (OSError, ValueError):
            return None
        text = os.fsencode(file.absolute()) + f"/{state.st_size}/{state.st_mtime_ns}".encode()
        return hashlib.blake2b(text, digest_size=16, person=b"path").digest()

    def _content_key(self, file: Path) -> bytes | None:
        total = hashlib.blake2b(digest_size=16, person=b"content")
        try:
            with open_regular(file) as opened:
                while chunk := opened.read(1 << 20):
                    total.update(chunk)
        except OSError:
            return None
        return total.digest()

    # Slots

    def _found(self, key: bytes, mode: str) -> AnyImage | None:
        slot = self._slot(key)
        return None if slot is None else self._picture(slot, mode)

    def _places(self, key: bytes) -> Iterator[int]:
        first = int.from_bytes(key[:8], "little")
        assert self._table_map is not None
        return ((first + step) % len(self._table_map) for step in range(_PROBES))

    def _slot(self, key: bytes) -> np.void | None:
        """The slot of a key, as it is at this moment; None where there is none that is whole."""
        assert self._table_map is not None
        for place in self._places(key):
            slot = self._table_map[place].copy()
            if not slot["check"]:
                return None
            if slot["key"].tobytes() == key and slot["check"] == _check(slot):
                return slot
        return None

    def _place_for(self, key: bytes) -> int | None:
        """Where a key may be written: a slot that is free, torn, or has this key; None where all are taken."""
        assert self._table_map is not None
        for place in self._places(key):
            there = self._table_map[place].copy()
            if there["key"].tobytes() == key or there["check"] != _check(there):
                return place
        return None

    def _add(self, key: bytes | None, slot: np.void) -> None:
        assert self._table_map is not None
        if key is None or (place := self._place_for(key)) is None:
            return
        made = slot.copy()
        made["key"] = np.frombuffer(key, "<u8")
        made["check"] = _check(made)
        self._table_map[place] = made

    # Pixels

    def _picture(self, slot: np.void, mode: str) -> AnyImage | None:
        """The image of a slot, None where its pixels are not those that were written."""
        width, height, channels = int(slot["width"]), int(slot["height"]), int(slot["channels"])
        size, offset = width * height * channels, int(slot["offset"])
        if channels != (1 if mode == "L" else 3) or offset + size > SEGMENT or not size:
            return None
        mapped = self._mapped(int(slot["segment"]))
        if mapped is None or offset + size > len(mapped):
            return None
        pixels = memoryview(mapped)[offset : offset + size]
        if zlib.crc32(pixels) != slot["pixels"]:
            return None
        image = Image.frombytes(mode, (width, height), pixels)
        full = int(slot["full_width"]), int(slot["full_height"])
        return image if image.size == full else Reduced(image, full)

    def _mapped(self, segment: int) -> mmap.mmap | None:
        if segment in self._segments:
            self._segments.move_to_end(segment)
            return self._segments[segment]
        try:
            with open_regular(self._path(segment)) as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError):
            return None
        self._segments[segment] = mapped
        if len(self._segments) > _MOST_MAPPED:  # each holds an open file
            self._segments.popitem(last=False)
        return mapped

    def _path(self, segment: int) -> Path:
        return self.folder / f"{segment:016x}{_SUFFIX}"

    def _written(self, picture: AnyImage) -> np.void | None:
        """The slot, without a key, of an image that was written to this process's segment; None where it is full."""
        image, full = (picture.image, picture.size) if isinstance(picture, Reduced) else (picture, picture.size)
        pixels = image.tobytes()
        if len(pixels) > SEGMENT:
            return None
        try:
            if self._writing is None or self._used + len(pixels) > SEGMENT:
                self._begin_segment()
            if self._writing is None:
                return None
            os.lseek(self._writing, self._used, os.SEEK_SET)
            if os.write(self._writing, pixels) != len(pixels):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._stop(f"{error.strerror or error}")
            return None
        slot = np.zeros((), _SLOT)
        values = (self._segment, self._used, *image.size, *full, len(image.getbands()), zlib.crc32(pixels))
        names = ("segment", "offset", "width", "height", "full_width", "full_height", "channels", "pixels")
        for name, value in zip(names, values, strict=True):
            slot[name] = value
        self._used += len(pixels)
        return slot  # pyright: ignore[reportReturnType]

    def _begin_segment(self) -> None:
        """Takes a new segment, whose bytes are taken from the disk at once where the file system can."""
        self.close()
        with self._lock():
            if _taken(self.top) + SEGMENT > self.most:
                self._stop(f"it holds the {self.most / GIGABYTE:g} GB that it may")
                return
            self._segment, self._used = secrets.randbits(63), 0
            path = self._path(self._segment)
            self._writing = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            try:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(self._writing, 0, SEGMENT)
                else:
                    os.truncate(self._writing, SEGMENT)
            except OSError as error:
                if error.errno in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                    os.truncate(self._writing, SEGMENT)
                    return
                self.close()
                with suppress(OSError):
                    path.unlink()
                raise

    def close(self) -> None:
        """Lets go of this process's own segment."""
        if self._writing is not None:
            os.close(self._writing)
            self._writing = None

    def _stop(self, reason: str) -> None:
        if not self._is_full:
            print(
                f"warning: no more decoded images are kept in {show(self.top)}: {reason}. Those that it does not have "
                "are decoded each time.",
                file=sys.stderr,
            )
        self._is_full = True

    # The table

    def _lock(self) -> FileLock:
        return FileLock(self.top / ".lock")

    def _table(self) -> Path:
        """The largest table of these settings; a larger one is made where the data set needs it."""
        tables = sorted((path.stat().st_size, path) for path in self.folder.glob("*.slots"))
        tables = [(size, path) for size, path in tables if size and size % _SLOT.itemsize == 0]
        if tables and tables[-1][0] >= self.slots * _SLOT.itemsize:
            return tables[-1][1]
        path = self.folder / f"{self.slots:012}.slots"
        unfinished = path.with_suffix(".unfinished")
        with unfinished.open("wb") as file:
            file.truncate(self.slots * _SLOT.itemsize)  # sparse: slots that nobody has used take no space
        if tables:
            old = np.memmap(tables[-1][1], _SLOT, "r")
            self._table_map = np.memmap(unfinished, _SLOT, "r+")
            for slot in old[old["check"] != 0]:
                if slot["check"] == _check(slot):
                    self._add(slot["key"].tobytes(), slot)
            self._table_map.flush()  # pyright: ignore[reportAttributeAccessIssue]
            self._table_map = None
        unfinished.replace(path)
        return path


def _check(slot: Any) -> int:
    """The checksum of a slot, never 0."""
    return zlib.crc32(slot.tobytes()[: _SLOT.fields["check"][1]]) or 1  # pyright: ignore


def _taken(folder: Path) -> int:
    """Bytes of all segments of all settings."""
    return sum(path.stat().st_size for path in folder.glob(f"*/*{_SUFFIX}"))


def _check_is_ours(folder: Path) -> None:
    """Raises UserError for a folder that holds something else. A new one is marked as ours."""
    about = folder / "about.json"
    if about.exists():
        if read_object(about).get("kind") == KIND:
            return
    elif not any(one.name != ".lock" for one in folder.iterdir()):
        write_text(about, f'{{"kind": "{KIND}"}}\n')
        return
    raise UserError(f"{show(folder)} is no folder of decoded images: name one that is empty or does not exist")
