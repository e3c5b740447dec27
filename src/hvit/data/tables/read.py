"""Reads tables of samples: CSV and TSV, JSON lines, Parquet, and data frames; large ones column by column."""

from __future__ import annotations

import csv
import io
import json
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from hvit.data.images.held import Rows
from hvit.data.images.listing import show
from hvit.data.regular_files import open_regular, system_reason
from hvit.data.tables.cells import Cell, Column
from hvit.errors import UserError
from hvit.markup import shown

HEAD = 1_000
"""So many rows are looked at to find out what the columns are."""
MOST_ROWS = 20_000_000
MOST_COLUMNS = 20_000
_LONGEST_LINE = 10_000_000  # characters
_DELIMITERS = (",", "\t", ";", "|", " ")
_BOMS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


class Table(ABC):
    """Rows of named columns. name: what to call it in a sentence. folder: where its paths start from.

    columns: their names, in order. head: their cells in the first rows. notes: sentences on how it is read.
    image_columns: those that hold images themselves, whose cells are names of these. class_columns: those that are
    known to hold one class, or several.
    """

    row_word = "row"
    image_columns: tuple[str, ...] = ()
    class_columns: tuple[str, ...] = ()

    def rows(self, column: str) -> Rows | None:
        """The images in a column that holds them; None for a column of paths."""
        return None

    def __init__(self, name: str, folder: Path, columns: Sequence[str], notes: tuple[str, ...] = ()) -> None:
        self.name, self.folder, self.columns, self.notes = name, folder, tuple(columns), notes
        if not self.columns:
            raise UserError(f"{name} has no columns: expected a path and a label in every row")
        if len(self.columns) > MOST_COLUMNS:
            raise UserError(f"{name} has {len(self.columns):,} columns; at most {MOST_COLUMNS:,} are read")
        twice = next((column for column in self.columns if self.columns.count(column) > 1), None)
        if twice is not None:
            raise UserError(f"{name} has two columns called {shown(twice)!r}: rename one of them")
        self.head = self._collect(islice(self._rows(self.columns), HEAD), self.columns)[0]
        if not len(self.head[self.columns[0]]):
            raise UserError(f"{name} has no rows: expected a path and a label in each")

    @abstractmethod
    def _rows(self, columns: Sequence[str]) -> Iterator[tuple[int, Sequence[Cell]]]:
        """The number of each row, as its writer would count, and its cells in some columns."""

    def read(self, columns: Sequence[str]) -> tuple[dict[str, Column], array[int]]:
        """The cells of some columns, and the number of every row."""
        return self._collect(self._rows(columns), columns)

    def cells(self, columns: Sequence[str]) -> Iterator[tuple[int, Sequence[Cell]]]:
        """The number of each row and its cells in some columns, one row after the other."""
        return self._rows(columns)

    def place(self, number: int) -> str:
        """Where a row is, for a sentence."""
        return f"{self.name}, {self.row_word} {number:,}"

    def _collect(
        self, rows: Iterable[tuple[int, Sequence[Cell]]], columns: Sequence[str]
    ) -> tuple[dict[str, Column], array[int]]:
        found = [Column() for _ in columns]
        numbers = array("Q")
        for number, cells in rows:
            if len(numbers) == MOST_ROWS:
                raise UserError(f"{self.name} has more than {MOST_ROWS:,} rows; divide it")
            numbers.append(number)
            for column, cell in zip(found, cells, strict=True):
                column.append(cell)
        return dict(zip(columns, found, strict=True)), numbers


def plain_cell(value: object) -> Cell:
    """A value of any reader as a cell."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list | tuple):
        return [plain_cell(one) for one in value]
    tolist = getattr(value, "tolist", None)  # NumPy's numbers and arrays
    if tolist is not None:
        return plain_cell(tolist())
    return "" if value is None or value != value else value  # nan is not itself


class CsvTable(Table):
    """A table as text: comma, tab, semicolon or bar, with or without a header; UTF-8, or UTF-16 that says so."""

    row_word = "line"

    def __init__(self, path: Path, is_sample: Callable[[Path], bool]) -> None:
        self.path, self.encoding = path, _encoding(path)
        with _text_of(path, self.encoding) as lines:
            start = list(islice(lines, 20))
        if not any(line.strip() for line in start):
            raise UserError(f"{show(path)} is empty: expected a path and a label in every line")
        self.delimiter = _delimiter(path, start)
        first = next(csv.reader(start, delimiter=self.delimiter), [])
        self.has_header = not any(is_sample(Path(cell.strip())) for cell in first)
        names = [cell.strip() for cell in first] if self.has_header else [str(one + 1) for one in range(len(first))]
        names = [name or f"column {number}" for number, name in enumerate(names, 1)]
        word = {"\t": "tabs", " ": "spaces"}.get(self.delimiter, repr(self.delimiter))
        notes = (f"{show(path)} is read as text with {word} between cells",)
        if self.encoding == "utf-16":
            notes = (f"{notes[0]}, in UTF-16",)
        if not self.has_header:
            notes = (f"{notes[0]}; it has no header, so its columns are {', '.join(names[:5])}",)
        super().__init__(show(path), path.parent, names, (f"{notes[0]}.",))

    def _rows(self, columns: Sequence[str]) -> Iterator[tuple[int, Sequence[Cell]]]:
        places, width = [self.columns.index(column) for column in columns], len(self.columns)
        with _text_of(self.path, self.encoding) as lines:
            reader = csv.reader(lines, delimiter=self.delimiter)
            csv.field_size_limit(_LONGEST_LINE)
            header_comes, number = self.has_header, 0
            try:
                for cells in reader:
                    number = reader.line_num
                    if not cells:
                        continue
                    if header_comes:
                        header_comes = False
                        continue
                    if len(cells) < width or any(cell.strip() for cell in cells[width:]):
                        raise UserError(
                            f"{show(self.path)}, line {number:,} has {len(cells):,} cells, and the first line has "
                            f"{width:,}: every line needs as many (quote cells that contain {self.delimiter!r})"
                        )
                    yield number, [cells[place].strip() for place in places]
            except csv.Error as error:
                raise UserError(f"{show(self.path)}, line {number + 1:,} cannot be read: {error}") from error


class JsonLinesTable(Table):
    """A table with a JSON object in every line, which holds the row by the names of the columns."""

    row_word = "line"

    def __init__(self, path: Path) -> None:
        self.path, self.encoding = path, _encoding(path)
        names: dict[str, None] = {}
        for _, row in islice(self._objects(), HEAD):
            names.update(dict.fromkeys(row))
        if not names:
            raise UserError(f"{show(path)} is empty: expected a JSON object with a path and a label in every line")
        super().__init__(show(path), path.parent, list(names), (f"{show(path)} is read as JSON lines.",))

    def _rows(self, columns: Sequence[str]) -> Iterator[tuple[int, Sequence[Cell]]]:
        for number, row in self._objects():
            yield number, [plain_cell(row.get(column)) for column in columns]

    def _objects(self) -> Iterator[tuple[int, dict[str, object]]]:
        with _text_of(self.path, self.encoding) as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
                    raise UserError(f"{show(self.path)}, line {number:,} is no JSON: {reason}") from error
                if not isinstance(row, dict):
                    raise UserError(f"{show(self.path)}, line {number:,} must be a JSON object such as "
                                    '{"path": "a.jpg", "label": "cat"}')  # fmt: skip
                yield number, row


class ParquetTable(Table):
    """A table in Parquet, of which only the columns that are used are read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self.opened() as file:
            names = [str(name) for name in file.schema_arrow.names]
            self.embedded = [field.name for field in file.schema_arrow if _holds_images(field)]
        super().__init__(show(path), path.parent, names, (f"{show(path)} is read as Parquet.",))

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """The opened file (`pyarrow.parquet.ParquetFile`)."""
        parquet = _pyarrow_parquet()
        try:
            with parquet.ParquetFile(self.path) as file:
                yield file
        except UserError:
            raise
        except Exception as error:  # pyarrow raises many kinds for a damaged file
            raise UserError(f"{show(self.path)} cannot be read as Parquet: {str(error)[:200]}") from error

    def _rows(self, columns: Sequence[str]) -> Iterator[tuple[int, Sequence[Cell]]]:
        number = 0
        with self.opened() as file:
            wanted = [column for column in columns if column not in self.embedded]
            for batch in file.iter_batches(columns=wanted):
                values = {name: batch.column(place).to_pylist() for place, name in enumerate(batch.schema.names)}
                for row in range(batch.num_rows):
                    number += 1
                    yield number, [plain_cell(values[column][row]) if column in values else "" for column in columns]


class FrameTable(Table):
    """A table in memory: a pandas data frame, or columns by their names."""

    def __init__(self, columns: Mapping[str, Sequence[object]], folder: Path, name: str = "the data frame") -> None:
        self.values = {str(column): columns[column] for column in columns}
        lengths = {len(values) for values in self.values.values()}
        if len(lengths) > 1:
            raise UserError(f"{name} has columns of different lengths: {', '.join(map(str, sorted(lengths)))}")
        super().__init__(name, folder, list(self.values))

    def _rows(self, columns: Sequence[str]) -> Iterator[tuple[int, Sequence[Cell]]]:
        for number, cells in enumerate(zip(*(self.values[column] for column in columns), strict=True), 1):
            yield number, [plain_cell(cell) for cell in cells]


def read_table(path: Path, is_sample: Callable[[Path], bool]) -> Table:
    """The table in a file, by its ending; anything but JSON lines and Parquet is read as text with delimiters.

    is_sample: whether a path ends like a sample, by which a missing header is noticed. Raises UserError for a file
    that cannot be read, is empty, or is no table.
    """
    ending = path.suffix.lower()
    if ending == ".parquet":
        return ParquetTable(path)
    if ending in (".jsonl", ".ndjson", ".json"):
        return JsonLinesTable(path)
    if ending in (".xlsx", ".xls", ".ods"):
        raise UserError(f"{show(path)} is a spreadsheet: save it as CSV")
    return CsvTable(path, is_sample)


def _pyarrow_parquet() -> Any:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise UserError(
            "tables in Parquet need pyarrow: pip install 'hvit[tables]', or save the table as CSV"
        ) from error
    return parquet


def _holds_images(field: Any) -> bool:
    """Whether a column of Parquet holds images themselves, as Hugging Face writes them."""
    kind = str(field.type)
    return (kind.startswith("struct<") and "bytes:" in kind) or kind in ("binary", "large_binary")


def _encoding(path: Path) -> str:
    try:
        with open_regular(path) as file:
            start = file.read(3)
    except OSError as error:
        raise UserError(f"cannot read the table {show(path)}: {system_reason(error)}") from error
    return next((name for mark, name in _BOMS.items() if start.startswith(mark)), "utf-8")


@contextmanager
def _text_of(path: Path, encoding: str) -> Iterator[Iterator[str]]:
    """The lines of a text with their ends. Raises UserError, with the line, for what is no text."""
    try:
        with open_regular(path) as file, io.TextIOWrapper(file, encoding, newline="") as text:
            yield _lines(path, text)
    except UnicodeDecodeError as error:
        line = _first_undecodable(path, encoding)
        raise UserError(
            f"{show(path)}, line {line:,} is not UTF-8: save the table as UTF-8 (in a spreadsheet: CSV UTF-8)"
        ) from error
    except OSError as error:
        raise UserError(f"cannot read the table {show(path)}: {system_reason(error)}") from error


def _lines(path: Path, text: io.TextIOWrapper) -> Iterator[str]:
    number = 0
    while line := text.readline(_LONGEST_LINE):
        number += 1
        if len(line) == _LONGEST_LINE:
            raise UserError(f"{show(path)}, line {number:,} has more than {_LONGEST_LINE:,} characters")
        if "\0" in line:
            raise UserError(f"{show(path)}, line {number:,} holds null characters, so it is no text")
        yield line


def _first_undecodable(path: Path, encoding: str) -> int:
    number = 0
    with open_regular(path) as file:
        while line := file.readline(_LONGEST_LINE):
            number += 1
            try:
                line.decode("utf-8-sig" if number == 1 else encoding)
            except UnicodeDecodeError:
                break
    return number


def _delimiter(path: Path, start: list[str]) -> str:
    """What separates cells: the candidate that divides all of the first lines into equally many, two or more."""
    found: list[tuple[bool, int, str]] = []
    for delimiter in _DELIMITERS:
        try:
            counts = [len(cells) for cells in csv.reader(start[:-1] or start, delimiter=delimiter) if cells]
        except csv.Error:
            continue
        if counts and max(counts) > 1:
            found.append((len(set(counts)) == 1, counts[0] > 1, delimiter))
    if path.suffix.lower() == ".tsv":
        return "\t"
    # Equal counts first; of these, and of the rest, the first candidate whose first line has several cells.
    found.sort(key=lambda one: (not one[0], not one[1]))
    return found[0][2] if found else ","
