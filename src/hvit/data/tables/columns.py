"""Which column of a table is the path, which are labels, and which say the split, the group and the weight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hvit.data.layout import some
from hvit.data.tables.cells import Cell
from hvit.data.tables.files import is_url
from hvit.data.tables.numbers import is_flag
from hvit.data.tables.read import Table
from hvit.data.tables.settings import LabelOptions
from hvit.errors import UserError, did_you_mean
from hvit.markup import shown

_PATHS = (
    "path", "file_name", "filename", "file", "filepath", "file_path", "image", "image_path", "img", "img_path",
    "image_file", "image_id", "image_name", "img_id", "video", "video_path", "clip", "clip_path", "name", "id",
)  # fmt: skip
_LABELS = ("label", "labels", "class", "classes", "target", "targets", "category", "categories", "tags", "class_name")
_SPLITS = ("split", "subset", "partition", "set", "fold_name")
TRAIN = ("train", "training")
VALIDATION = ("val", "valid", "validation", "dev", "held_out", "held-out")
TEST = ("test", "testing")


@dataclass(frozen=True)
class Columns:
    """The columns that are read; "" where there is none."""

    path: str
    labels: tuple[str, ...]
    split: str
    group: str
    weight: str

    @property
    def used(self) -> list[str]:
        """All of them, each once."""
        return list(dict.fromkeys(one for one in (self.path, *self.labels, self.split, self.group, self.weight) if one))

    def describe(self, columns: Sequence[str] = ()) -> str:
        """What was found, and which of the table's columns are not used, as a sentence."""
        parts = [f"path {shown(self.path)}"]
        parts.append(f"labels {some(self.labels)}" if self.labels else "no labels")
        parts += [f"{word} {shown(name)}" for word, name in
                  (("split", self.split), ("group", self.group), ("weight", self.weight)) if name]  # fmt: skip
        unused = [column for column in columns if column not in self.used]
        return f"Columns: {', '.join(parts)}{f'; not used: {some(unused)}' if unused else ''}."


def find_columns(table: Table, options: LabelOptions, is_sample: Callable[[Path], bool], needs_labels: bool) -> Columns:
    """The columns as the options name them; the others by their names, and by what is in the first rows.

    needs_labels: whether a table without labels is refused. Raises UserError, with the columns that there are, for a
    name that is no column's, and where it is not clear which column is the path or a label.
    """
    for option in ("path_column", "split_column", "group_column", "weight_column"):
        _check(table, getattr(options, option), option)
    named = options.label_columns or options.label_levels
    for name in named:
        _check(table, name, "label_columns" if options.label_columns else "label_levels")
    taken = {*named, options.split_column, options.group_column, options.weight_column} - {""}
    path = options.path_column or next(iter(table.image_columns), "") or _path(table, is_sample, taken)
    taken.add(path)
    split = options.split_column or _split(table, taken)
    labels = named or _labels(table, taken | {split}, needs_labels)
    return Columns(path, tuple(labels), split, options.group_column, options.weight_column)


def path_column(table: Table, is_sample: Callable[[Path], bool]) -> str:
    """The column with the paths. Raises UserError, with the columns that there are, where it is not clear which one."""
    return _path(table, is_sample, set())


def _check(table: Table, name: str, option: str) -> None:
    if name and name not in table.columns:
        near = did_you_mean(name, table.columns)
        raise UserError(
            f"{table.name} has no column {shown(name)!r} ({option}){near}{'' if near else '; its columns are '}"
            f"{'' if near else some(table.columns)}"
        )


def _named(table: Table, names: Sequence[str], taken: set[str]) -> list[str]:
    """Columns that have one of the usual names, in the order of these."""
    by_name = {column.lower().replace(" ", "_"): column for column in reversed(table.columns)}
    return [by_name[name] for name in names if name in by_name and by_name[name] not in taken]


def _path(table: Table, is_sample: Callable[[Path], bool], taken: set[str]) -> str:
    def looks_like_paths(column: str) -> bool:
        cells = [cell for cell in table.head[column] if cell != ""]
        return bool(cells) and sum(isinstance(one, str) and _is_path(one, is_sample) for one in cells) * 2 >= len(cells)

    found = [column for column in table.columns if column not in taken and looks_like_paths(column)]
    found.sort(key=lambda column: is_url(str(table.head[column][0])))  # URLs only where there are no files
    named = _named(table, _PATHS, taken)
    if found:
        return next((column for column in named if column in found), found[0])
    if named:
        return named[0]
    raise UserError(
        f"no column of {table.name} holds names of files: name it with path_column (--data.path-column); its columns "
        f"are {some(table.columns)}"
    )


def _is_path(text: str, is_sample: Callable[[Path], bool]) -> bool:
    return len(text) < 4096 and "\0" not in text and (is_url(text) or is_sample(Path(text)))


def _split(table: Table, taken: set[str]) -> str:
    """A column with the name of one for splits, in which nothing but names of splits stands."""
    for column in _named(table, _SPLITS, taken):
        cells = {str(cell).lower() for cell in table.head[column]}
        if cells <= {*TRAIN, *VALIDATION, *TEST} and cells:
            return column
    return ""


def _labels(table: Table, taken: set[str], needs_labels: bool) -> list[str]:
    named = _named(table, _LABELS, taken)
    if named:
        return named[:1]
    if len(typed := [column for column in table.class_columns if column not in taken]) == 1:
        return typed
    rest = [column for column in table.columns if column not in taken]
    if len(rest) == 1:
        return rest
    flags = [column for column in rest if _holds_flags(table.head[column])]
    if len(flags) > 1:
        return flags
    if not rest and not needs_labels:
        return []
    have = f"several columns could be the label: {some(rest)}" if rest else "there is no column but the path"
    raise UserError(f"in {table.name} {have}; name the label with label_columns (--data.label-columns NAME ...)")


def _holds_flags(cells: Sequence[Cell]) -> bool:
    """Whether a column holds 0 and 1, or true and false, and nothing else."""
    present = [cell for cell in cells if cell != ""]
    return bool(present) and all(map(is_flag, present))
