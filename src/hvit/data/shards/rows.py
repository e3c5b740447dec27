"""Samples of shards by their number: each is read alone, whatever shard it lies in."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hvit.data.images.held import Rows
from hvit.data.images.listing import show
from hvit.data.regular_files import open_regular, system_reason
from hvit.data.shards.copies import Copies, UnreachableError, shown_place
from hvit.data.shards.index import Shard, ShardIndex

_TRIES = 3  # a copy may be removed between finding and opening it


@dataclass(frozen=True)
class ShardSample:
    """One sample as it is stored.

    content: the bytes of the image file. label: its class number, or (outputs,) float32; None without labels. name: the
    file that it was, or shard and key.
    """

    content: bytes
    label: int | np.ndarray | None
    key: str
    shard: str
    name: str


class PiecedRows(Rows):
    """Images that lie in pieces, of which each is fetched whole. pieces: (images,) int64, ascending."""

    pieces: np.ndarray
    is_remote: bool

    @abstractmethod
    def identity(self, number: int) -> bytes:
        """What distinguishes the content of an image, without reading it."""

    def expect(self, numbers: np.ndarray) -> None:
        """Fetches the pieces of some images, in the background: they are needed soon."""


class ShardRows(PiecedRows):
    """The images of the shards of an index.

    `rows[number]` is a sample with its label, key and shard; `value` is the bytes of its image alone. Reading keeps no
    file open, so that the rows can be sent to other processes.
    """

    def __init__(self, index: ShardIndex, copies: Copies) -> None:
        self.index, self.copies = index, copies
        self.pieces = index.pieces
        self.is_remote = any("://" in shard.place for shard in index.shards)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, number: int) -> ShardSample:
        if not 0 <= number < len(self):
            raise IndexError(number)
        labels, key = self.index.labels, self.index.keys[number].decode("utf-8", "replace")
        label = None if labels is None else int(labels[number]) if labels.ndim == 1 else labels[number]
        shard = self.index.shards[int(self.pieces[number])]
        return ShardSample(self.value(number), label, key, shard.name, self.name(number))

    def value(self, number: int) -> bytes:
        """The bytes of an image. Raises UnreachableError where its shard is missing, or shorter than it was."""
        shard = self.index.shards[int(self.pieces[number])]
        offset, size = int(self.index.offsets[number]), int(self.index.sizes[number])
        content = b""
        for left in reversed(range(_TRIES)):
            path = self._path(shard)
            try:
                with open_regular(path) as file:
                    file.seek(offset)
                    content = file.read(size)
                break
            except FileNotFoundError as error:
                if not left or not self.is_remote:
                    raise UnreachableError(f"cannot read {shown_place(shard.place)}: there is no such file") from error
            except OSError as error:
                raise UnreachableError(f"cannot read {shown_place(shard.place)}: {system_reason(error)}") from error
        if len(content) < size:
            raise UnreachableError(
                f"{shown_place(shard.place)} is shorter than its index says: it was cut off, or written again since"
            )
        return content

    def name(self, number: int) -> str:
        """See `Rows.name`."""
        return show(self.index.name(number))

    def identity(self, number: int) -> bytes:
        """See `PiecedRows.identity`."""
        shard = self.index.shards[int(self.pieces[number])]
        known = shard.digest if shard.is_hash else f"{shard.name}:{shard.digest}"
        return f"{known}:{self.index.offsets[number]}:{self.index.sizes[number]}".encode()

    def expect(self, numbers: np.ndarray) -> None:
        """See `PiecedRows.expect`."""
        if not self.is_remote:
            return
        for piece in dict.fromkeys(self.pieces[numbers].tolist()):
            shard = self.index.shards[piece]
            self.copies.ahead(shard.place, lambda shard=shard: self._path(shard))

    def _path(self, shard: Shard) -> Path:
        return self.copies.path(shard.place, shard.size, shard.digest if shard.is_hash else "")
