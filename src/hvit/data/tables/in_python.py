"""Samples that a Python program gives, as a table: pairs, arrays, data sets of torch or Hugging Face, data frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hvit.data.images.held import HeldClip, HeldImage, Rows
from hvit.data.tables.cells import Cell
from hvit.data.tables.hugging_face import table_of
from hvit.data.tables.numbers import is_flag
from hvit.data.tables.read import FrameTable, Table, plain_cell
from hvit.errors import UserError
from hvit.markup import shown

PARTS = ("train", "val", "test")
_COMPARED = 8
"""So many labels that a data set lists are compared with those that it gives with its images."""


@dataclass(frozen=True)
class Given:
    """What a program gave.

    table: the samples. files: whether the table names files, so that it can be kept. options: fields of the data's
    configuration that follow from it.
    """

    table: Table
    files: bool
    options: dict[str, Any] = field(default_factory=dict)


class GivenTable(FrameTable):
    """A table whose images a program holds."""

    def __init__(self, columns: Mapping[str, Sequence[object]], image_column: str, images: Rows) -> None:
        self.image_columns, self.images = (image_column,), images
        super().__init__(columns, Path(), "the data")

    def rows(self, column: str) -> Rows | None:
        """See `Table.rows`."""
        return self.images if column in self.image_columns else None


class GivenRows(Rows):
    """The images, or clips, of all parts, one after the other."""

    def __init__(self, parts: Mapping[str, _Part], clips: bool = False) -> None:
        self.clips = clips
        held = HeldClip if clips else HeldImage
        self.parts = [(name, part.images) for name, part in parts.items()]
        ends = (number for images in (one.images for one in parts.values()) for number in {0, len(images) - 1})
        self.repeats = all(isinstance(one.images, list | np.ndarray) for one in parts.values()) or all(
            held(self, number).open().read() == held(self, number).open().read() for number in ends
        )

    def __len__(self) -> int:
        return sum(len(images) for _, images in self.parts)

    def value(self, number: int) -> object:
        """See `Rows.value`."""
        _, images, row = self._place(number)
        return images[row]

    def name(self, number: int) -> str:
        """See `Rows.name`."""
        name, images, row = self._place(number)
        value = images[row] if isinstance(images, list) else None
        return str(value) if isinstance(value, str | Path) else f"{name}/{row:07}"

    def _place(self, number: int) -> tuple[str, Any, int]:
        for name, images in self.parts:
            if number < len(images):
                return name, images, number
            number -= len(images)
        raise IndexError(number)


class _Images:
    """The images of a data set of torch."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: int) -> object:
        return _pair(self.data, row)[0]


@dataclass(frozen=True)
class _Part:
    """Images and labels, one each; classes: the names of the numbers of classes, if the data knows them."""

    images: Any
    labels: list[Cell]
    classes: tuple[str, ...] = ()


def given(
    train: object, held_out: object, test: object, classes: Sequence[str], task: str, clips: bool = False
) -> Given:
    """The table of what a program gave (see `hvit.fit`).

    classes: names of the numbers of classes, or of the columns of labels. task: what labels are, or "auto". clips:
    whether samples are clips. Raises UserError for what is no samples with labels.
    """
    parts = {name: one for name, one in zip(PARTS, (train, held_out, test), strict=True) if one is not None}
    if "test" in parts and "val" not in parts:
        raise UserError("test is given without held_out: give both, or give the test part as held_out")
    if any(map(_is_hugging_face, parts.values())):
        return _of_hugging_face(parts, classes)
    if any(map(_is_frame, parts.values())):
        return _of_frames(parts, classes)
    opened = {name: _part(one, name) for name, one in parts.items()}
    for name, one in opened.items():
        if not one.labels:
            raise UserError(f"{_argument(name)} is empty: give images with labels")
    names = tuple(classes) or next((one.classes for one in opened.values() if one.classes), ())
    labels, options = _label_columns([label for one in opened.values() for label in one.labels], names, task)
    columns: dict[str, list[Any]] = dict(labels)
    options["label_columns"] = tuple(labels)
    if len(opened) > 1:
        options["split_column"] = _free("split", columns)
        columns[options["split_column"]] = [name for name, one in opened.items() for _ in one.labels]
    are_files = all(isinstance(image, str | Path) for one in opened.values() if isinstance(one.images, list)
                    for image in one.images)  # fmt: skip
    are_files = are_files and all(isinstance(one.images, list) for one in opened.values())
    options["path_column"] = image_column = _free("path" if are_files else "image", columns)
    if are_files:
        columns[image_column] = [str(path) for one in opened.values() for path in one.images]
        return Given(FrameTable(columns, Path.cwd(), "the data"), True, options)
    rows = GivenRows(opened, clips)
    columns[image_column] = [rows.name(number) for number in range(len(rows))]
    return Given(GivenTable(columns, image_column, rows), False, options)


def table_lines(table: Table) -> Iterator[dict[str, Cell]]:
    """The rows of a table as objects for JSON lines."""
    cells, numbers = table.read(table.columns)
    for row in range(len(numbers)):
        yield {name: None if (cell := column[row]) == "" else cell for name, column in cells.items()}


def _argument(part: str) -> str:
    return {"train": "train", "val": "held_out", "test": "test"}[part]


def _is_frame(data: object) -> bool:
    return hasattr(data, "iloc") and hasattr(data, "columns")


def _is_hugging_face(data: object) -> bool:
    if isinstance(data, Mapping):
        return bool(data) and all(map(_is_hugging_face, data.values()))
    return hasattr(data, "features") and hasattr(data, "column_names")


def _of_hugging_face(parts: Mapping[str, Any], classes: Sequence[str]) -> Given:
    if classes:
        raise UserError("classes has no meaning for a data set of Hugging Face, which names them itself: omit it")
    if not all(map(_is_hugging_face, parts.values())):
        raise UserError("train is a data set of Hugging Face, or held_out is, and the others are not: give one kind")
    whole = parts["train"]
    if isinstance(whole, Mapping) and len(parts) > 1:
        raise UserError("train has parts itself (a dictionary of data sets): omit held_out and test, or give one part")
    return Given(table_of(whole if isinstance(whole, Mapping) else parts, "the data set", Path()), False)


def _of_frames(parts: Mapping[str, Any], classes: Sequence[str]) -> Given:
    if classes:
        raise UserError("classes is for numbers of classes, and a data frame names them: put the names into its column")
    if not all(map(_is_frame, parts.values())):
        raise UserError("train is a data frame, or held_out is, and the others are not: give data frames only")
    names = list(map(str, parts["train"].columns))
    for part, frame in parts.items():
        if list(map(str, frame.columns)) != names:
            raise UserError(f"{_argument(part)} has other columns than train: give data frames with the same ones")
    columns = {
        name: [value for frame in parts.values() for value in frame.iloc[:, place].tolist()]
        for place, name in enumerate(names)
    }
    for name, values in columns.items():
        columns[name] = [str(value) if isinstance(value, Path) else value for value in values]
    options: dict[str, Any] = {}
    if len(parts) > 1:
        options["split_column"] = _free("split", columns)
        columns[options["split_column"]] = [part for part, frame in parts.items() for _ in range(len(frame))]
    return Given(FrameTable(columns, Path.cwd()), True, options)


def _part(data: Any, part: str) -> _Part:
    """Images and labels of one of the arguments."""
    name = _argument(part)
    if isinstance(data, tuple) and len(data) == 2 and getattr(data[0], "ndim", 0) >= 3:
        images, labels = (one.detach().cpu().numpy() if hasattr(one, "detach") else one for one in data)
        labels = list(labels)
        if len(images) != len(labels):
            raise UserError(f"{name} has {len(images):,} images and {len(labels):,} labels: give one for each")
        if hasattr(data[0], "detach"):
            images = list(data[0].detach().cpu())  # tensors, whose channels come first
        return _Part(images, [plain_cell(label) for label in labels])
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")) or isinstance(data, str | bytes | Mapping):
        raise UserError(
            f"{name} must be pairs of image and label (a list, or a data set of torch with a length), arrays (images, "
            f"labels), a data frame, or a data set of Hugging Face, not {type(data).__name__}"
        )
    if isinstance(data, list | tuple):
        pairs = [_pair(data, row, name) for row in range(len(data))]
        return _Part([image for image, _ in pairs], [plain_cell(label) for _, label in pairs])
    return _Part(_Images(data), _labels_of(data, name), _classes_of(data))


def _pair(data: Any, row: int, name: str = "the data set") -> tuple[Any, Any]:
    found = data[row]
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise UserError(f"item {row} of {name} must be a pair of image and label, not {shown(type(found).__name__)}")
    return found[0], found[1]


def _labels_of(data: Any, name: str) -> list[Cell]:
    """The labels of a data set of torch: those that it lists, if they are those that it gives; else all are asked."""
    count = len(data)
    listed = _listed_labels(data)
    if listed is not None and len(listed) == count:
        places = sorted({place * count // _COMPARED for place in range(_COMPARED)}) if count else []
        if all(plain_cell(_pair(data, place, name)[1]) == listed[place] for place in places):
            return listed
    return [plain_cell(_pair(data, row, name)[1]) for row in range(count)]


def _listed_labels(data: Any) -> list[Cell] | None:
    """The labels that a data set, or the one that it is a part of, lists."""
    if hasattr(data, "dataset") and hasattr(data, "indices"):
        whole = _listed_labels(data.dataset)
        return None if whole is None else [whole[index] for index in data.indices]
    targets = getattr(data, "targets", None)
    return [plain_cell(one) for one in targets] if targets is not None and hasattr(targets, "__len__") else None


def _classes_of(data: Any) -> tuple[str, ...]:
    while not hasattr(data, "classes") and hasattr(data, "dataset"):
        data = data.dataset
    classes = getattr(data, "classes", ())
    return tuple(classes) if isinstance(classes, list | tuple) and all(isinstance(one, str) for one in classes) else ()


def _label_columns(
    labels: list[Cell], classes: tuple[str, ...], task: str
) -> tuple[dict[str, list[Cell]], dict[str, Any]]:
    """The columns of the labels, and the options that say what they are."""
    known = [label for label in labels if label != ""]
    if not known:
        raise UserError("the data has no labels: give pairs of image and label")
    if any(isinstance(label, list) for label in known):
        if not all(isinstance(label, list) for label in known):
            raise UserError("some labels are lists and others are not: give one kind")
        return _list_columns(labels, known, classes, task)
    kinds = {type(label) for label in known}
    if kinds <= {bool, int} and task in ("auto", "single", "ordinal"):
        if classes:
            return {"label": [_named(label, classes) for label in labels]}, _in_order(classes, task)
        return {"label": labels}, {"task": "single" if task == "auto" else task}
    if kinds == {str}:
        return {"label": labels}, _in_order(classes, task) if classes else {}
    if kinds <= {bool, int, float}:
        name = classes[0] if len(classes) == 1 else "label"
        return {name: labels}, {"task": "regression" if task == "auto" else task}
    raise UserError(f"labels must be text, numbers or lists, not {', '.join(sorted(one.__name__ for one in kinds))}")


def _list_columns(
    labels: list[Cell], known: list[Any], classes: tuple[str, ...], task: str
) -> tuple[dict[str, list[Cell]], dict[str, Any]]:
    """Columns of labels that are lists: of 0 and 1 or of numbers for every output, or of the classes that there are."""
    width, decimal = len(known[0]), any(isinstance(one, float) for label in known for one in label)
    numeric = all(isinstance(one, bool | int | float) for label in known for one in label)
    flags = numeric and all(is_flag(one) for label in known for one in label)
    are_outputs = width > 1 and numeric and all(len(label) == width for label in known)
    if are_outputs and (flags or decimal or task == "regression"):
        if classes and len(classes) != width:
            raise UserError(f"classes has {len(classes)} names, and labels have {width} outputs: name each of them")
        columns: dict[str, list[Cell]] = {
            name: [label[place] if isinstance(label, list) else "" for label in labels]
            for place, name in enumerate(classes or map(str, range(width)))
        }
        return columns, {"task": ("multi" if flags else "regression") if task == "auto" else task}
    if classes and numeric:
        labels = [[_named(one, classes) for one in label] if isinstance(label, list) else "" for label in labels]
    return {"label": labels}, {"task": "multi" if task == "auto" and not decimal else task}


def _named(label: Any, classes: Sequence[str]) -> Cell:
    if label == "":
        return ""
    if not 0 <= int(label) < len(classes):
        raise UserError(f"label {label} is not a number from 0 to {len(classes) - 1}, as classes has {len(classes)}")
    return classes[int(label)]


def _in_order(classes: tuple[str, ...], task: str) -> dict[str, Any]:
    if len(set(classes)) < len(classes):
        raise UserError("classes has a name twice: give each class its own")
    return {"task": "single" if task == "auto" else task, "class_order": classes}


def _free(name: str, columns: Mapping[str, object]) -> str:
    """A name that no column has yet."""
    while name in columns:
        name += "_"
    return name
