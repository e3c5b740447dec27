"""Sets of images that lie in shards: read in an order that keeps to a few shards, bad ones skipped by a rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from hvit.data.grey import GreyRange
from hvit.data.images.folder_sets import RowSet
from hvit.data.sets import Stored, Target
from hvit.data.shards.copies import UnreachableError
from hvit.data.shards.order import WindowOrder
from hvit.data.shards.rows import PiecedRows
from hvit.errors import UserError


class _Lost(Exception):
    """A shard cannot be read, which is no bad image, and no other one takes its place."""


class ShardSet(RowSet):
    """Images that lie in shards.

    rows: all images. numbers: (images,), which of them these are, ascending. window, streams: of the order in training
    (see `WindowOrder`). most_skipped: how many images training may skip because they cannot be decoded. The other
    arguments are those of `RowSet`.
    """

    def __init__(
        self,
        rows: PiecedRows,
        numbers: np.ndarray,
        labels: np.ndarray,
        channels: int,
        replaces: bool,
        reduced: bool = False,
        grey_range: GreyRange = "auto",
        page: int | None = None,
        window: int = 32,
        streams: int = 0,
        most_skipped: int = 0,
    ) -> None:
        super().__init__(rows, numbers, labels, channels, replaces, reduced, grey_range, page)
        self.pieced, self.most_skipped = rows, most_skipped
        found = rows.pieces[numbers]
        self.order = WindowOrder(np.unique(found, return_inverse=True)[1], window, streams) if replaces else None

    def stored(self) -> Iterator[tuple[str, Stored]]:
        """Every image by the hash of its shard and its place in it: shards need not be fetched for that."""
        for index in range(len(self)):
            number = int(self._numbers[index])
            yield self.name(index), self.pieced.identity(number)

    def expect(self, numbers: np.ndarray) -> None:
        """Fetches, in the background, the shards of images that are needed soon."""
        self.pieced.expect(self._numbers[numbers])

    def _first_readable(self, index: int, read: Callable[..., Any]) -> tuple[Any, Target]:
        try:
            found = super()._first_readable(index, partial(_read_or_lost, read))
        except _Lost as lost:
            raise UserError(str(lost)) from lost
        if len(self._failed) > self.most_skipped:
            raise UserError(
                f"more than {self.most_skipped:,} images of the shards cannot be read, which is more than may be "
                "skipped (--data.max-skipped): the warnings above name them"
            )
        return found


def _read_or_lost(read: Callable[[Any], Any], source: Any) -> Any:
    try:
        return read(source)
    except UserError as error:
        if isinstance(error.__cause__, UnreachableError):
            raise _Lost(str(error.__cause__)) from error
        raise
