"""Data sets of Hugging Face as tables: saved folders, Parquet with the images inside, and names to download."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hvit.data.images.held import Rows
from hvit.data.images.listing import show
from hvit.data.layout import some
from hvit.data.regular_files import state_of
from hvit.data.tables.cells import Cell
from hvit.data.tables.read import Table, plain_cell
from hvit.errors import UserError
from hvit.markup import shown

_SAVED = ("dataset_dict.json", "dataset_info.json")
_PARTS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
          "test": "test", "testing": "test"}  # fmt: skip
_PORTION = 1_000
_SPLIT = "split"
_SECONDS = 5.0  # that the network has to answer


class HuggingFaceTable(Table):
    """The parts of a data set, one after the other, with the part of each row as a column.

    parts: opened data sets of Hugging Face by what is done with them: train, val, test, or "" for one undivided set.
    """

    def __init__(self, parts: Mapping[str, Any], name: str, folder: Path, notes: tuple[str, ...] = ()) -> None:
        self.parts = dict(parts)
        features = next(iter(self.parts.values())).features
        other = next((part for part, one in self.parts.items() if one.features != features), None)
        if other is not None:
            raise UserError(
                f"the parts of {name} have different columns, such as {other}: save them with the same ones"
            )
        self.features = features
        self.image_columns = tuple(column for column in features if holds_images(features[column]))
        self.class_columns = tuple(column for column in features if class_names(features[column]))
        columns = list(features)
        if len(self.parts) > 1:
            columns = [column for column in columns if column != _SPLIT] + [_SPLIT]
        super().__init__(name, folder, columns, notes)

    def rows(self, column: str) -> Rows | None:
        """See `Table.rows`."""
        return HuggingFaceRows(self.parts, column) if column in self.image_columns else None

    def _rows(self, columns: Sequence[str]) -> Iterator[tuple[int, Sequence[Cell]]]:
        number = 0
        wanted = [column for column in columns if column in self.features and column not in self.image_columns]
        readers = {column: cell_of(self.features[column]) for column in wanted}
        for part, data in self.parts.items():
            is_split = len(self.parts) > 1
            for start in range(0, len(data), _PORTION):
                stop = min(start + _PORTION, len(data))
                with faults(self.name):
                    values = data.select_columns(wanted)[start:stop] if wanted else {}
                for place in range(stop - start):
                    number += 1
                    yield number, [
                        part if column == _SPLIT and is_split
                        else _row_name(part, start + place) if column in self.image_columns
                        else readers[column](values[column][place])
                        for column in columns
                    ]  # fmt: skip


class HuggingFaceRows(Rows):
    """The images in a column of all parts of a data set, as the files that they are stored as."""

    def __init__(self, parts: Mapping[str, Any], column: str) -> None:
        self.column, self.names = column, list(parts)
        self.parts = [_undecoded(data.select_columns([column]), column) for data in parts.values()]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def value(self, number: int) -> object:
        """See `Rows.value`."""
        part, row = self._place(number)
        value = self.parts[part][row][self.column]
        if isinstance(value, dict):
            value = value.get("bytes") or value.get("path")
        if not value:
            raise UserError("there is no image in this row")
        return value

    def name(self, number: int) -> str:
        """See `Rows.name`."""
        part, row = self._place(number)
        return _row_name(self.names[part], row)

    def _place(self, number: int) -> tuple[int, int]:
        for place, data in enumerate(self.parts):
            if number < len(data):
                return place, number
            number -= len(data)
        raise IndexError(number)


def is_saved(folder: Path) -> bool:
    """Whether a folder is what the library `datasets` has saved with `save_to_disk`."""
    try:
        return any(state_of(folder / name) is not None for name in _SAVED)
    except UserError:
        return False


def open_saved(folder: Path) -> Table:
    """The data set in a folder. Raises UserError where the library is missing or the folder is damaged."""
    library = datasets_library()
    name = show(folder)
    with faults(name):
        opened = library.load_from_disk(str(folder))
    return table_of(opened, name, folder, (f"{name} is read as a data set that `datasets` has saved.",))


def open_parquet(path: Path) -> Table:
    """A Parquet file with the images inside. Raises UserError where the library is missing or the file is damaged."""
    library = datasets_library()
    name = show(path)
    with faults(name), _quiet(library):
        opened = library.Dataset.from_parquet(str(path))
    note = f"{name} is read as Parquet with the images inside, and is copied into the cache of `datasets`."
    return table_of(opened, name, path.parent, (note,))


def open_named(name: str) -> Table:
    """A data set by its name at Hugging Face, NAME or NAME:CONFIGURATION; it is downloaded where it is not in the
    cache. Raises UserError where there is none, or no network."""
    name, _, configuration = name.partition(":")
    if not name:
        raise UserError("hf: stands before the name of a data set of Hugging Face, such as hf:ylecun/mnist")
    library = datasets_library()
    title = f"{shown(name)} of Hugging Face"
    with faults(f"the data set {title}"), _offline_if_unreachable(library, name):
        opened = library.load_dataset(name, configuration or None)
    return table_of(opened, title, Path(), (f"{title} is read from the cache of `datasets`.",))


def table_of(opened: Any, name: str, folder: Path, notes: tuple[str, ...] = ()) -> HuggingFaceTable:
    """The table of an opened data set, whole or in parts. Raises UserError where a part to train on is missing."""
    if not isinstance(opened, Mapping):
        return HuggingFaceTable({"": opened}, name, folder, notes)
    known: dict[str, Any] = {}
    for part, data in opened.items():
        if (word := _PARTS.get(str(part).lower())) and word not in known:
            known[word] = data
    if "train" not in known:
        raise UserError(f"{name} has no part called train; its parts are {some(list(map(str, opened)))}")
    if unused := [str(part) for part, data in opened.items() if not any(data is one for one in known.values())]:
        notes += (f"Parts of {name} that are not used: {some(unused)}.",)
    if len(known) == 1:
        known = {"": known["train"]}
    return HuggingFaceTable(known, name, folder, notes)


def datasets_library() -> Any:
    """The library `datasets`. Raises UserError where it is missing."""
    try:
        import datasets
    except ImportError as error:
        raise UserError(
            "data sets of Hugging Face, and Parquet with images inside, need datasets: pip install 'hvit[datasets]'"
        ) from error
    return datasets


@contextmanager
def faults(name: str) -> Iterator[None]:
    """Whatever the library raises becomes one sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        kind = type(error).__name__
        reason = (str(error).strip().splitlines() or [kind])[0][:300]
        if isinstance(error, ConnectionError) or "Offline" in kind or "Connect" in kind or "Timeout" in kind:
            reason = "it is not in the cache, and there is no network"
        raise UserError(f"{name} cannot be opened: {shown(reason)}") from error


@contextmanager
def _offline_if_unreachable(library: Any, name: str) -> Iterator[None]:
    """Without a network only the cache is asked: the library itself would try again for many minutes."""
    import huggingface_hub

    before = library.config.HF_HUB_OFFLINE
    if not before:
        try:
            huggingface_hub.HfApi().dataset_info(name, timeout=_SECONDS)
        except huggingface_hub.errors.RepositoryNotFoundError as error:
            raise UserError(f"there is no public data set {shown(name)} at Hugging Face: check the name") from error
        except Exception:
            library.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        library.config.HF_HUB_OFFLINE = before


@contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """Without the library's progress bars."""
    shows = library.is_progress_bar_enabled()
    library.disable_progress_bars()
    try:
        yield
    finally:
        if shows:
            library.enable_progress_bars()


def _row_name(part: str, row: int) -> str:
    return f"{part or 'row'}/{row:07}"


def part_of(name: str) -> str:
    """What is done with a part of this name: train, val or test; "" for another one."""
    return _PARTS.get(name.lower(), "")


def holds_images(feature: Any) -> bool:
    """Whether a column holds images."""
    if isinstance(feature, dict):
        return "bytes" in feature
    return type(feature).__name__ == "Image" or getattr(feature, "dtype", "") in ("binary", "large_binary")


def _undecoded(data: Any, column: str) -> Any:
    """The same column with the files as they are stored."""
    feature = data.features[column]
    if type(feature).__name__ != "Image":
        return data.with_format(None)
    return data.with_format(None).cast_column(column, type(feature)(decode=False))


def class_names(feature: Any) -> Sequence[str]:
    """The names of a column of classes, one a row or several."""
    inner = getattr(feature, "feature", feature)
    return getattr(inner, "names", None) or ()


def cell_of(feature: Any) -> Callable[[object], Cell]:
    """How a value of a column becomes a cell: numbers of classes become names, negative ones mean no label."""
    names = class_names(feature)
    if not names:
        return plain_cell

    def name_of(value: Any) -> Cell:
        if isinstance(value, list | tuple):
            return [name_of(one) for one in value]
        return names[value] if isinstance(value, int) and 0 <= value < len(names) else ""

    return name_of
