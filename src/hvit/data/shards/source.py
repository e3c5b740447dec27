"""What shards are written from: a class folder or a table, with its parts, labels, and the files of its images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from hvit.data.images.folder_listing import Classes, list_folder
from hvit.data.images.held import HeldImage, Rows
from hvit.data.images.listing import is_image_name, is_image_or_array_name, show
from hvit.data.images.paths import PathList
from hvit.data.images.reading import FORMATS, look_at
from hvit.data.layout import UNLABELLED, ignored_notes, split_name
from hvit.data.regular_files import InMemory, is_folder, open_regular, system_reason
from hvit.data.shards.index import MOST_IMAGE_BYTES
from hvit.data.tables.hugging_face import is_saved
from hvit.data.tables.open import is_no_path, table_at
from hvit.data.tables.samples import IN_HELD_OUT, IN_TEST, IN_TRAIN, Samples, list_samples
from hvit.data.tables.settings import LabelOptions
from hvit.errors import UserError
from hvit.files import as_path
from hvit.labels import LabelSpec

_ENDINGS = {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tif"}
_PARTS = {IN_TRAIN: "train", IN_HELD_OUT: "val", IN_TEST: "test"}


@dataclass(frozen=True)
class Part:
    """The samples of one part. name: "train", "val" or "test", "" where the source is not divided.

    files: of the samples, or what a table calls them. rows: the images, where the table holds them, of which
    `numbers` are those of this part. folder: what names start from.
    """

    name: str
    files: Sequence[Path]
    labels: np.ndarray
    folder: Path
    rows: Rows | None = None
    numbers: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def title(self, number: int) -> str:
        """What a sample is called in the source, as text."""
        return split_name(self.files[number], self.folder)

    def content(self, number: int) -> tuple[bytes, str]:
        """The bytes of an image's file, and the ending of its format. Raises UserError for what cannot be stored."""
        if self.rows is not None:
            assert self.numbers is not None
            content = HeldImage(self.rows, int(self.numbers[number])).content()
            return content, _format_of(content)
        file = self.files[number]
        if not is_image_name(file):
            raise UserError(f"{show(file)} is an array of NumPy, and shards hold image files: save it as PNG or TIFF")
        try:
            with open_regular(file) as opened:
                content = opened.read(MOST_IMAGE_BYTES + 1)
        except OSError as error:
            raise UserError(f"cannot read {show(file)}: {system_reason(error)}") from error
        if len(content) > MOST_IMAGE_BYTES:
            raise UserError(
                f"{show(file)} has more than {MOST_IMAGE_BYTES:,} bytes, the most that a shard holds of one"
            )
        return content, file.suffix.lower().removeprefix(".")


@dataclass(frozen=True)
class Source:
    """All parts of a source, what their labels are, and sentences on it."""

    parts: tuple[Part, ...]
    spec: LabelSpec
    notes: tuple[str, ...]

    def digest(self) -> str:
        """What distinguishes this source from others: the names, labels and, of files, sizes of its samples."""
        total = hashlib.sha256(repr((self.spec.kind, self.spec.names)).encode())
        for part in self.parts:
            total.update(f"\0{part.name}\0{len(part)}\0".encode() + part.labels.tobytes())
            for number, file in enumerate(part.files):
                total.update(part.title(number).encode() + b"\0")
                if part.rows is None:
                    total.update(str(_size(file)).encode())
        return total.hexdigest()


def open_source(place: str, root: str, options: LabelOptions, labels: str) -> Source:
    """The samples of a class folder or of a table.

    root: where the paths of a table start from. options: its columns. labels: "auto", "folders" or "none". Raises
    UserError where there are none, or where they are not what the options say.
    """
    path = as_path(place)
    if not is_no_path(place) and is_folder(path) and not is_saved(path):
        return _of_folder(place, labels)
    if not is_no_path(place) and not os.path.lexists(path):
        raise UserError(
            f"{show(path)} does not exist: give a folder with a sub-folder a class, or a table (CSV, TSV, JSON lines, "
            "Parquet, or a saved data set of Hugging Face)"
        )
    table = table_at(place, is_image_or_array_name)
    samples = list_samples(table, options, root, is_image_or_array_name, True, labels, "images")
    rows = table.rows(samples.image_column)
    if rows is not None and not rows.repeats:
        raise UserError(f"{table.name} has other images each time it is read, and shards keep them: save it first")
    whole = np.zeros(len(samples.labels), np.int64) if samples.part is None else samples.part
    parts = [
        _of_samples(samples.only(whole == part), "" if samples.part is None else name, rows)
        for part, name in _PARTS.items()
        if (whole == part).any()
    ]
    return Source(tuple(parts), samples.spec, samples.notes)


def check_image(content: bytes, name: str, whole: bool) -> None:
    """Looks at the header of an image, or decodes it. Raises UserError for what is none."""
    look_at(InMemory(name, content), whole, page=1)


def _of_folder(place: str, labels: str) -> Source:
    listing = list_folder(place, labels)
    layout, (train, held_out, test) = listing.layout, listing.parts
    spec = LabelSpec("single", tuple(train) if listing.labelled else (UNLABELLED,))
    parts = [_of_classes("train" if held_out else "", train, layout.train)]
    for name, classes, folder in (("val", held_out, layout.held_out), ("test", test, layout.test)):
        if classes and folder is not None:
            parts.append(_of_classes(name, classes, folder))
    return Source(tuple(parts), spec, (*listing.notes, *ignored_notes(listing.ignored, "images")))


def _of_classes(name: str, classes: Classes, folder: Path) -> Part:
    labels = np.repeat(np.arange(len(classes)), [len(files) for files in classes.values()])
    return Part(name, PathList.joined(list(classes.values())), labels, folder)


def _of_samples(samples: Samples, name: str, rows: Rows | None) -> Part:
    return Part(name, samples.files, samples.labels, samples.folder, rows, samples.rows)


def _format_of(content: bytes) -> str:
    """The ending of the format of an image in memory."""
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            name = image.format or ""
    except Exception as error:  # damaged files make Pillow raise almost anything
        raise UserError(f"it is not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image") from error
    return _ENDINGS.get(name, name.lower())


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except (OSError, ValueError):
        return -1
