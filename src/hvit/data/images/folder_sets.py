"""Images that are read from their files each time they are needed."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from hvit.data.grey import GreyRange
from hvit.data.images.decoded import DecodedImages
from hvit.data.images.held import HeldImage, Rows
from hvit.data.images.listing import show
from hvit.data.images.paths import PathList
from hvit.data.images.reading import read_image, read_reduced
from hvit.data.sets import ImageSet, Needed, Reduced, Stored, Target
from hvit.data.survey import evenly_spaced
from hvit.errors import UserError

_MOST_STORED = 1_000
"""So many images that are no files are read for the identity of a data set."""
AnyImage = TypeVar("AnyImage", bound=Image.Image | Reduced)


class FolderSet(ImageSet):
    """Images that are read from their files each time they are needed.

    replaces: whether the next image takes the place of one that can no longer be read (training); if not, it is an
    error (held out, where a score on other images would be wrong). reduced: whether images may be decoded smaller
    than they are where that is enough. folder: what the names of the images start from. grey_range,
    page: as in `read_image`. is_indexed: whether there are so many that not each is looked at for the identity.
    kept: decoded images, which `read_enough` gives instead of decoding.
    """

    def __init__(
        self,
        files: Sequence[Path],
        labels: np.ndarray,
        channels: int,
        replaces: bool,
        reduced: bool = False,
        folder: Path | None = None,
        grey_range: GreyRange = "auto",
        page: int | None = None,
        is_indexed: bool = False,
        kept: DecodedImages | None = None,
    ) -> None:
        self.files = PathList.of(files)
        self.labels, self.channels, self.replaces, self.reduced = labels, channels, replaces, reduced
        self._folder, self._page, self._is_indexed = folder, page, is_indexed
        self._grey_range: GreyRange = grey_range
        self._kept = kept
        self._failed: set[int] = set()

    def digest_of_names(self) -> bytes | None:
        """Of images that an index lists, a hash of their names."""
        return self.files.digest(self._folder or Path()) if self._is_indexed else None

    def stored(self) -> Iterator[tuple[str, Stored]]:
        """Every file, named as seen from the folder of the split; of images that an index lists, some."""
        for index in evenly_spaced(range(len(self)), _MOST_STORED) if self._is_indexed else range(len(self)):
            file = self.file(index)
            yield (self._from_folder(file).as_posix() if self._folder else file.name), file

    def name(self, index: int) -> str:
        """The file of an image, as seen from the folder of the split."""
        file = self.file(index)
        return str(self._from_folder(file)) if self._folder else file.name

    def _from_folder(self, file: Path) -> Path:
        """A file as seen from the folder, which it may lie outside of where a table names it."""
        assert self._folder is not None
        inside = file.is_relative_to(self._folder)
        return file.relative_to(self._folder) if inside else Path(os.path.relpath(file, self._folder))

    def file(self, index: int) -> Path:
        """The file of an image."""
        return self.files[index]

    def source(self, index: int) -> Path | HeldImage:
        """What an image is read from."""
        return self.file(index)

    def read(self, index: int, draw: int) -> tuple[Image.Image, Target]:
        """One image and its class; in training, of a file that can no longer be read the next one and a warning.

        Raises UserError if no file can be read any more, or a held-out one cannot.
        """
        return self._first_readable(index, self._read)

    def read_enough(self, index: int, draw: int, needed: Needed) -> tuple[Image.Image | Reduced, Target]:
        """As `read`, decoded smaller where that is allowed and enough, or as it was kept."""
        if self._kept is not None:
            return self._first_readable(index, self._read_kept)
        if not self.reduced:
            return self.read(index, draw)
        return self._first_readable(index, partial(self._read_reduced, needed=needed))

    def _read(self, file: Path | HeldImage) -> Image.Image:
        return read_image(file, self.channels, self._grey_range, self._page)

    def _read_reduced(self, file: Path | HeldImage, needed: Needed) -> Image.Image | Reduced:
        return read_reduced(file, self.channels, needed, self._grey_range, self._page)

    def _read_kept(self, file: Path | HeldImage) -> Image.Image | Reduced:
        assert self._kept is not None
        assert isinstance(file, Path)
        side = 2 * self._kept.kept.side

        def enough(width: int, height: int) -> tuple[int, int]:
            shorter = min(width, height)
            return math.ceil(width * side / shorter), math.ceil(height * side / shorter)

        decode = partial(self._read_reduced, needed=enough) if self.reduced else self._read
        return self._kept.image(file, "L" if self.channels == 1 else "RGB", decode)

    def _first_readable(self, index: int, read: Callable[[Path | HeldImage], AnyImage]) -> tuple[AnyImage, Target]:
        for candidate in (*range(index, len(self)), *range(index)):
            try:
                return read(self.source(candidate)), self.target(candidate)
            except UserError as error:
                if not self.replaces:
                    raise UserError(
                        f"{error} It is a held-out image, and a score without it would not be the one asked for: "
                        "repair or remove it."
                    ) from error
                if candidate not in self._failed:
                    self._failed.add(candidate)
                    print(f"warning: {error} The next readable image takes its place.", file=sys.stderr)
        raise UserError(
            f"none of the {len(self)} images of the training set ({show(str(self.source(index)))}, …) can be read any "
            "more."
        )


class RowSet(FolderSet):
    """Images that a table or Python holds, read each time they are needed, as files are.

    rows: all images. numbers: (images,), which of them these are. The other arguments are those of `FolderSet`.
    """

    def __init__(
        self,
        rows: Rows,
        numbers: np.ndarray,
        labels: np.ndarray,
        channels: int,
        replaces: bool,
        reduced: bool = False,
        grey_range: GreyRange = "auto",
        page: int | None = None,
    ) -> None:
        super().__init__((), labels, channels, replaces, reduced, None, grey_range, page)
        self.rows, self._numbers = rows, numbers

    def source(self, index: int) -> HeldImage:
        """The image."""
        return HeldImage(self.rows, int(self._numbers[index]))

    def name(self, index: int) -> str:
        """What the rows call it."""
        return self.rows.name(int(self._numbers[index]))

    def stored(self) -> Iterator[tuple[str, Stored]]:
        """The images; of many, some evenly spaced. Names alone where images differ each time they are read."""
        count = len(self)
        for place in range(min(count, _MOST_STORED)):
            index = place * count // min(count, _MOST_STORED)
            yield self.name(index), self.source(index).content() if self.rows.repeats else b""
