"""Which image files a folder holds, known by their suffixes, and file names as they can be printed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from hvit.data.regular_files import entries_of, is_folder, state_of
from hvit.errors import UserError
from hvit.markup import shown

ARRAY_SUFFIXES = (".npy", ".npz")
SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".jfif",
    ".mpo",
    ".png",
    ".webp",
    ".gif",
    ".bmp",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".avif",
    ".heic",
    ".heif",
)
_ALL_SUFFIXES = frozenset((*SUFFIXES, *ARRAY_SUFFIXES))


def list_images(paths: Iterable[str | Path]) -> list[Path]:
    """The images that some files and folders stand for.

    A file stands for itself, whatever its name; a folder for every image in it and in its sub-folders, known by
    its suffix, in alphabetical order. Hidden files are skipped, and nothing is listed twice.

    Raises UserError if a path does not exist or a folder holds no image.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if state_of(path) is None:
            raise UserError(f"cannot read {show(path)}: there is no such file.")
        if is_folder(path):
            images = [file for file in files_below(path) if is_image_or_array_name(file)]
            if not images:
                raise UserError(f"{show(path)} holds no image: expected files ending in {', '.join(SUFFIXES)}.")
            found.update(dict.fromkeys(images))
        else:
            found[path] = None
    return list(found)


def is_image_or_array_name(path: str | Path) -> bool:
    """Whether a file's name ends like a picture's, or like that of an array of NumPy."""
    return (suffix_of(path) if isinstance(path, str) else path.suffix.lower()) in _ALL_SUFFIXES


def suffix_of(name: str) -> str:
    """The ending of a file's name, in lower case; "" where it has none."""
    stem, dot, ending = name.rpartition(os.sep)[2].rpartition(".")
    return f".{ending.lower()}" if dot and ending and stem else ""


def is_image_name(path: Path) -> bool:
    """Whether a file's name ends like a picture's."""
    return path.suffix.lower() in SUFFIXES


def files_below(folder: Path) -> Iterator[Path]:
    """Every file in a folder and its sub-folders that is not hidden, in alphabetical order.

    Links are followed, but never in a circle. Raises UserError if a folder may not be listed.
    """
    yield from map(Path, names_below(folder))


def names_below(folder: Path, entered: Callable[[Path, os.stat_result], object] | None = None) -> Iterator[str]:
    """As `files_below`, as text. entered: called with each folder and its state, before it is listed."""
    yield from _walk(folder, frozenset(), entered)


def show(path: str | Path) -> str:
    """A path as it can be printed anywhere, even if its name is not valid text or would give orders to a terminal."""
    return shown(str(path))


def _walk(
    folder: Path, above: frozenset[tuple[int, int]], entered: Callable[[Path, os.stat_result], object] | None
) -> Iterator[str]:
    state = state_of(folder)
    here = (state.st_dev, state.st_ino) if state else (0, 0)
    if here in above:
        return
    if entered is not None and state is not None:
        entered(folder, state)
    for entry in entries_of(folder):
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and _leads_to_folder(Path(entry.path))):
            yield from _walk(Path(entry.path), above | {here}, entered)
        else:
            yield entry.path


def _leads_to_folder(link: Path) -> bool:
    try:
        return is_folder(link)
    except UserError:  # where it leads may not be looked at: it is named as a file that cannot be read
        return False
