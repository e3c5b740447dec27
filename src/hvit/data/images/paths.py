"""Paths of many files in a few arrays, which worker processes share, where lists of paths would be copied to each."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import overload

import numpy as np

_PORTION = 1 << 16
_SEPARATOR = os.fsencode(os.sep)


class PathList(Sequence[Path]):
    """Paths below one folder, as bytes one after the other.

    folder: what they start from; start: the same as bytes, empty for none. text: (bytes,) uint8, the names of all.
    starts, lengths: (paths,) int64 and uint32, where each name is in the text. A path takes the bytes of its name and
    12 more; parts of a list share its text.
    """

    def __init__(self, folder: Path, text: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> None:
        self.folder, self.text, self.starts, self.lengths = folder, text, starts, lengths
        self.start = b"" if folder == Path() else os.fsencode(folder)

    @classmethod
    def of_names(cls, folder: Path, names: Iterable[str | bytes]) -> PathList:
        """Names as seen from a folder; absolute ones stand for themselves."""
        text, lengths = bytearray(), array("I")
        for name in names:
            encoded = os.fsencode(name)
            text += encoded
            lengths.append(len(encoded))
        sizes = np.frombuffer(lengths, np.uint32) if lengths else np.zeros(0, np.uint32)
        starts = np.zeros(len(sizes), np.int64)
        np.cumsum(sizes[:-1], out=starts[1:])
        return cls(folder, np.frombuffer(text or b"\0", np.uint8), starts, sizes)

    @classmethod
    def of(cls, files: Iterable[Path]) -> PathList:
        """Any paths."""
        return files if isinstance(files, PathList) else cls.of_names(Path(), map(str, files))

    @classmethod
    def joined(cls, lists: Sequence[PathList]) -> PathList:
        """Several lists one after the other; the text of parts of one list is not copied."""
        if len(lists) == 1:
            return lists[0]
        if not lists:
            return cls.of_names(Path(), ())
        first = lists[0]
        if all(one.text is first.text and one.folder == first.folder for one in lists):
            starts, lengths = (np.concatenate([getattr(one, name) for one in lists]) for name in ("starts", "lengths"))
            return cls(first.folder, first.text, starts, lengths)
        if all(one.folder == first.folder for one in lists):
            return cls.of_names(first.folder, (name for one in lists for name in one.names()))
        return cls.of_names(Path(), (str(path) for one in lists for path in one))

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> PathList: ...
    def __getitem__(self, index: int | slice) -> Path | PathList:
        if isinstance(index, slice):
            return self.take(index)
        return Path(os.fsdecode(self._whole(self.name(index))))

    def take(self, chosen: np.ndarray | slice) -> PathList:
        """Some of the paths. chosen: indices, (paths,) bool, or a slice."""
        return PathList(self.folder, self.text, self.starts[chosen], self.lengths[chosen])

    def name(self, index: int) -> bytes:
        """A path as seen from the folder."""
        start = self.starts[index]
        return self.text[start : start + self.lengths[index]].tobytes()

    def _whole(self, name: bytes) -> bytes:
        return name if not self.start or name.startswith(_SEPARATOR) else self.start + _SEPARATOR + name

    def names(self) -> Iterator[bytes]:
        """All paths as seen from the folder."""
        text = memoryview(self.text)  # pyright: ignore[reportArgumentType]
        for portion in range(0, len(self), _PORTION):  # as lists, numbers of Python are made at once
            starts = self.starts[portion : portion + _PORTION].tolist()
            for start, length in zip(starts, self.lengths[portion : portion + _PORTION].tolist(), strict=True):
                yield bytes(text[start : start + length])

    def whole_names(self) -> Iterator[bytes]:
        """All paths, as bytes."""
        return map(self._whole, self.names())

    def names_from(self, folder: Path) -> Iterator[bytes]:
        """All paths as seen from a folder."""
        around = "" if self.folder == Path() else self.folder
        within = os.fsencode(os.path.relpath(folder, around)) if around and folder.is_relative_to(around) else None
        above = b"" if folder == self.folder else None if within is None else within + _SEPARATOR
        size = 0 if above is None else len(above)
        for name in self.names():
            if above is not None and name.startswith(above) and not name.startswith(_SEPARATOR):
                yield name[size:]
            else:
                yield os.path.relpath(self._whole(name), os.fsencode(folder))

    def are_not(self, files: Collection[Path]) -> np.ndarray:
        """Which paths are not among some others, (paths,) bool."""
        if not files:
            return np.ones(len(self), bool)
        others = {os.fsencode(file) for file in files}
        return np.fromiter((name not in others for name in self.whole_names()), bool, len(self))

    def digest(self, folder: Path | None = None) -> bytes:
        """SHA-256 of all paths in their order, as seen from a folder, or from that of the list."""
        names = self.names() if folder is None or folder == self.folder else self.names_from(folder)
        total = hashlib.sha256()
        while portion := list(islice(names, _PORTION)):
            total.update(b"\0".join(portion) + b"\0")  # no name has a null character
        return total.digest()

    def nbytes(self) -> int:
        """Bytes in memory, with the text that it may share."""
        return self.text.nbytes + self.starts.nbytes + self.lengths.nbytes
