"""Data sets of Hugging Face in streaming mode: each of their files is a shard, copied when its images are needed.

Labels are read once before training, without the images where the format allows it (Parquet does).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hvit.data.images.listing import is_image_or_array_name
from hvit.data.sets import Progress
from hvit.data.shards.copies import Copies, UnreachableError
from hvit.data.shards.places import BY_NAME, expanded, with_full_path
from hvit.data.shards.rows import PiecedRows
from hvit.data.tables.cells import Cell
from hvit.data.tables.hugging_face import cell_of, class_names, datasets_library, faults, holds_images, part_of
from hvit.data.tables.read import Table
from hvit.data.tables.samples import Samples, list_samples
from hvit.data.tables.settings import LabelOptions
from hvit.errors import UserError

_SPLIT = "split"
_NUMBER = 8  # bytes of a number in a copy


def _undecoded(data: Any, columns: Sequence[str]) -> Any:
    """The rows with images as the files that they are stored as."""
    for column in columns:
        feature: Any = (data.features or {}).get(column)
        if type(feature).__name__ == "Image":
            data = data.cast_column(column, type(feature)(decode=False))  # pyright: ignore[reportCallIssue]
    return data


class Stream:
    """The parts of a data set that is streamed. It can be sent to other processes, which open it themselves.

    named: Parquet files, or the name of a data set, of each part.
    """

    def __init__(self, named: dict[str, str]) -> None:
        self.named = named
        self._opened: tuple[int, dict[str, Any]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def parts(self) -> dict[str, Any]:
        """The opened parts by their names: train, val, test, or "" for one undivided set."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = os.getpid(), {name: one for named in self.named.items() for name, one in self._open(*named)}
        return self._opened[1]

    def _open(self, part: str, named: str) -> Iterator[tuple[str, Any]]:
        load = datasets_library().load_dataset
        with faults(f"the streamed data {named}"):
            if not named.startswith(BY_NAME):
                files = expanded(named, "shards")
                yield part, load("parquet", data_files={"train": files}, split="train", streaming=True)
                return
            name, _, configuration = named.removeprefix(BY_NAME).partition(":")
            found = load(name, configuration or None, streaming=True)
            known = {word: data for label, data in found.items() if (word := part_of(str(label)))}
        if part == "val" or set(known) == {"train"}:
            yield part, known.get("train") or next(iter(found.values()))
        else:
            yield from known.items()

    def shard(self, place: tuple[str, int]) -> Any:
        """One file of a part."""
        data = self.parts()[place[0]]
        return data.shard(num_shards=data.num_shards, index=place[1])

    def shards(self) -> list[tuple[str, int]]:
        """All files of all parts."""
        return [(name, number) for name, data in self.parts().items() for number in range(data.num_shards)]


class StreamedTable(Table):
    """The rows of a stream, whose images are read from copies of its files."""

    def __init__(self, stream: Stream, copies: Copies, name: str) -> None:
        self.stream, self.copies = stream, copies
        self.counts: dict[tuple[str, int], int] = {}
        self.features = next(iter(stream.parts().values())).features
        if self.features is None:
            raise UserError(f"{name} does not say what its columns are: give Parquet files")
        self.image_columns = tuple(column for column in self.features if holds_images(self.features[column]))
        self.class_columns = tuple(column for column in self.features if class_names(self.features[column]))
        columns = list(self.features)
        if len(stream.parts()) > 1:
            columns = [column for column in columns if column != _SPLIT] + [_SPLIT]
        super().__init__(name, Path(), columns, (f"{name} is streamed.",))

    def rows(self, column: str) -> StreamedRows | None:
        """See `Table.rows`; the rows must have been read before."""
        if column not in self.image_columns:
            return None
        return StreamedRows(self.stream, column, list(self.counts), list(self.counts.values()), self.copies)

    def _rows(self, columns: Sequence[str]) -> Iterator[tuple[int, Sequence[Cell]]]:
        number, is_split = 0, len(self.stream.parts()) > 1
        wanted = [column for column in columns if column in self.features and column not in self.image_columns]
        readers = {column: cell_of(self.features[column]) for column in wanted}
        counted = wanted or list(self.image_columns[:1]) or list(self.features)[:1]
        for place in self.stream.shards():
            with faults(self.name):
                data = _undecoded(self.stream.shard(place).select_columns(counted), counted)
                for row, values in enumerate(data):
                    number += 1
                    self.counts[place] = row + 1
                    yield number, [
                        place[0] if column == _SPLIT and is_split
                        else f"{place[0] or 'row'}/{place[1]:05}/{row:07}" if column in self.image_columns
                        else readers[column](values[column])
                        for column in columns
                    ]  # fmt: skip


class StreamedRows(PiecedRows):
    """The images of a stream. A copy of a file has them one after the other, then where each begins, and the count."""

    is_remote = True

    def __init__(
        self, stream: Stream, column: str, places: Sequence[tuple[str, int]], counts: Sequence[int], copies: Copies
    ) -> None:
        self.stream, self.column, self.places, self.copies = stream, column, list(places), copies
        self.first = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        self.pieces = np.repeat(np.arange(len(counts)), counts)

    def __len__(self) -> int:
        return int(self.first[-1])

    def value(self, number: int) -> bytes:
        """The bytes of an image. Raises UnreachableError where its file cannot be streamed."""
        piece = int(self.pieces[number])
        row, count = number - int(self.first[piece]), int(self.first[piece + 1] - self.first[piece])
        try:
            with self._path(piece).open("rb") as file:
                file.seek(-_NUMBER * (count + 1 - row), os.SEEK_END)
                start, end = np.frombuffer(file.read(2 * _NUMBER), np.int64).tolist()
                file.seek(start)
                content = file.read(end - start)
        except (OSError, ValueError) as error:
            raise UnreachableError(f"the copy of {self._title(piece)} cannot be read: {error}") from error
        if not content:
            raise UserError("there is no image in this row")
        return content

    def name(self, number: int) -> str:
        """See `Rows.name`."""
        part, file = self.places[int(self.pieces[number])]
        return f"{part or 'row'}/{file:05}/{number - int(self.first[self.pieces[number]]):07}"

    def identity(self, number: int) -> bytes:
        """See `PiecedRows.identity`: a stream says nothing about contents but their place."""
        return self.name(number).encode()

    def expect(self, numbers: np.ndarray) -> None:
        """See `PiecedRows.expect`."""
        for piece in dict.fromkeys(self.pieces[numbers].tolist()):
            self.copies.ahead(self._title(piece), lambda piece=piece: self._path(piece))

    def _title(self, piece: int) -> str:
        part, file = self.places[piece]
        named = self.stream.named.get(part) or next(iter(self.stream.named.values()))
        return f"file {file:,} of {part or 'train'} of {named}"

    def _path(self, piece: int) -> Path:
        count = int(self.first[piece + 1] - self.first[piece])
        place = f"stream://{self._title(piece)}/{self.column}/{count}"
        return self.copies.path(place, fetch=lambda path: self._fetch(piece, count, path))

    def _fetch(self, piece: int, count: int, path: Path) -> None:
        starts = [0]
        with faults(self._title(piece)), path.open("wb") as file:
            data = self.stream.shard(self.places[piece]).select_columns([self.column])
            for row in _undecoded(data, [self.column]):
                value = row[self.column]
                content = value.get("bytes") if isinstance(value, dict) else value
                if content is None and isinstance(value, dict) and value.get("path"):
                    content = Path(value["path"]).read_bytes()
                starts.append(starts[-1] + file.write(content or b""))
            if len(starts) != count + 1:
                raise UserError(f"it has {len(starts) - 1:,} rows, and had {count:,} before: it has changed since")
            file.write(np.array(starts, np.int64).tobytes())


def open_streamed(
    shards: str, held_out: str, options: LabelOptions, labels: str, skips: bool, copies: Copies, progress: Progress
) -> tuple[PiecedRows, Samples]:
    """The images of a stream with their labels. skips: whether rows without a label are skipped. Raises UserError where
    the library `datasets` is missing, and for what cannot be streamed."""
    named = {"": with_full_path(shards)}
    if held_out:
        named = {"train": named[""], "val": with_full_path(held_out)}
    progress("reading labels", 0, 0)
    table = StreamedTable(Stream(named), copies, f"the streamed data {shards}")
    if not table.image_columns:
        raise UserError(f"{table.name} has no column with images")
    samples = list_samples(table, options, "", is_image_or_array_name, skips, labels, "images")
    rows = table.rows(samples.image_column)
    if rows is None:
        raise UserError(f"the column {samples.image_column} of {table.name} holds no images: name another one")
    return rows, samples
