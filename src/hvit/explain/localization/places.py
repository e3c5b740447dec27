"""Where objects are in the images of a person: a folder of masks, or a table of boxes (CSV)."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from hvit.data.images.listing import SUFFIXES, show
from hvit.data.open import read_image
from hvit.errors import UserError

Box = tuple[float, float, float, float]
COLUMNS = ("file", "left", "top", "right", "bottom")
_LONGEST_TABLE = 2**28  # bytes


class Places:
    """The places of objects, by image file.

    A folder of masks: the mask of `cats/one.jpg` is `cats/one.png`, or `one.png`, in it, with the suffix of any image
    format and as large as the image; every pixel that is not black is on the object. A table of boxes: a CSV file whose
    first line names the columns file, left, top, right and bottom (others are ignored), with a line for each box, in
    pixels of the upright image, right and bottom exclusive. `file` is the name of an image, with some of the folders
    above it where names repeat.
    """

    def __init__(self, path: Path) -> None:
        """Raises UserError for what is neither, and for a table that cannot be read."""
        self.path = path
        if not path.exists():
            raise UserError(f"cannot read {show(path)}: there is no such folder of masks or table of boxes")
        self.boxes = None if path.is_dir() else _read_boxes(path)

    def mask(self, file: Path, size: tuple[int, int]) -> Image.Image | None:
        """Where the object of an image file is: a grey image, 255 on the object and 0 elsewhere; None if not known.

        size: width and height of the upright image. Raises UserError for a mask of another size.
        """
        ends = [PurePosixPath(*file.parts[start:]) for start in range(len(file.parts)) if file.parts[start] != "/"]
        if self.boxes is None:
            names = (self.path / end.with_suffix(suffix) for end in ends for suffix in SUFFIXES)
            found = next((name for name in names if name.is_file()), None)
            return None if found is None else _read_mask(found, file, size)
        rows = next((self.boxes[str(end)] for end in ends if str(end) in self.boxes), None)
        if rows is None:
            return None
        pixels = np.zeros((size[1], size[0]), dtype=np.uint8)
        for left, top, right, bottom in rows:
            pixels[max(round(top), 0) : max(round(bottom), 0), max(round(left), 0) : max(round(right), 0)] = 255
        return Image.fromarray(pixels)


def _read_mask(found: Path, file: Path, size: tuple[int, int]) -> Image.Image:
    mask = read_image(found, 1, "auto")
    with Image.open(found) as opened:
        if opened.has_transparency_data:
            raise UserError(f"the mask {show(found)} is transparent in places: save it as black and white")
    if mask.size != size:
        given, wanted = (" x ".join(map(str, one)) for one in (mask.size, size))
        raise UserError(f"the mask {show(found)} has {given} pixels, and its image {show(file)} has {wanted}")
    return Image.fromarray(np.where(np.asarray(mask) > 0, 255, 0).astype(np.uint8))


def _read_boxes(path: Path) -> dict[str, list[Box]]:
    """The boxes of every file of a table."""
    if path.stat().st_size > _LONGEST_TABLE:
        raise UserError(f"{show(path)} is larger than a table of boxes may be ({_LONGEST_TABLE >> 20} MiB)")
    found: dict[str, list[Box]] = defaultdict(list)
    try:
        with path.open(encoding="utf-8-sig", newline="") as table:
            rows = csv.DictReader(table)
            missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
            if missing:
                raise UserError(
                    f"{show(path)} is no table of boxes: its first line must name the columns {', '.join(COLUMNS)}; "
                    f"{', '.join(missing)} missing"
                )
            for row in rows:
                try:
                    left, top, right, bottom = (float(row[name]) for name in COLUMNS[1:])
                except (TypeError, ValueError):
                    left = top = right = bottom = float("nan")
                if not (left < right and top < bottom and np.isfinite([left, top, right, bottom]).all()):
                    raise UserError(
                        f"line {rows.line_num} of {show(path)} is no box: left, top, right and bottom must be numbers, "
                        "left below right, top below bottom"
                    )
                found[str(PurePosixPath(row["file"].replace("\\", "/")))].append((left, top, right, bottom))
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise UserError(f"cannot read {show(path)} as a table of boxes (CSV in UTF-8): {error}") from error
    return dict(found)
