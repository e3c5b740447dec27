"""The cells of one column of a table, which may have millions of rows: equal ones once, different ones as bytes."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import overload

Cell = object
"""Text without spaces around it, a number, a bool, or a list of these; "" where there is nothing."""
MOST_SHARED = 10_000
"""Up to so many different texts are kept as one object each, as names of classes are."""


class Column(Sequence[Cell]):
    """The cells of one column, in the order of the rows.

    A cell takes 8 bytes where its text comes back in other rows. Where most differ, as paths do, it takes
    the bytes of its text and 8 more.
    """

    def __init__(self) -> None:
        self._cells: list[Cell] = []
        self._known: dict[str, str] = {}
        self._text: bytearray | None = None
        self._ends = array("Q")
        self._others: dict[int, Cell] = {}

    def append(self, cell: Cell) -> None:
        """Adds the cell of the next row."""
        if self._text is not None:
            self._append_bytes(cell)
        elif isinstance(cell, str):
            self._cells.append(self._known.setdefault(cell, cell))
            if len(self._known) > MOST_SHARED:
                self._to_bytes()
        else:
            self._cells.append(cell)

    def _to_bytes(self) -> None:
        """From now on text is kept as bytes, if most of it differs."""
        if 2 * len(self._known) < len(self._cells):
            self._known = {}
            return
        cells, self._cells, self._known, self._text = self._cells, [], {}, bytearray()
        for cell in cells:
            self._append_bytes(cell)

    def _append_bytes(self, cell: Cell) -> None:
        assert self._text is not None
        if isinstance(cell, str):
            self._text += cell.encode("utf-8", "surrogatepass")
        else:
            self._others[len(self._ends)] = cell
        self._ends.append(len(self._text))

    def __len__(self) -> int:
        return len(self._cells) if self._text is None else len(self._ends)

    def __iter__(self) -> Iterator[Cell]:
        if self._text is None:
            yield from self._cells
            return
        start = 0
        for row, end in enumerate(self._ends):
            cell = self._text[start:end].decode("utf-8", "surrogatepass")
            yield self._others.get(row, cell) if self._others else cell
            start = end

    @overload
    def __getitem__(self, index: int) -> Cell: ...
    @overload
    def __getitem__(self, index: slice) -> list[Cell]: ...
    def __getitem__(self, index: int | slice) -> Cell | list[Cell]:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        if self._text is None:
            return self._cells[index]
        row = range(len(self))[index]
        if row in self._others:
            return self._others[row]
        start = self._ends[row - 1] if row else 0
        return self._text[start : self._ends[row]].decode("utf-8", "surrogatepass")

    def nbytes(self) -> int:
        """Bytes in memory, without the objects that cells share."""
        if self._text is None:
            return 8 * len(self._cells)
        return len(self._text) + self._ends.itemsize * len(self._ends)
