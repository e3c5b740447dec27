"""Reading files that may be anything, and writing files that are whole or not there."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from hvit.errors import UserError

JsonObject = dict[str, Any]
"""A JSON object as it is read: what its values are is for its reader to check."""
UNFINISHED = ".unfinished"
LONGEST_OBJECT = 64 * 2**20
"""Bytes that a JSON file of a run may have."""


def as_path(given: object, what: str = "a path") -> Path:
    """A path that a user gave, with the home folder in the place of ~; as it is where that user is not there.

    what: what it is called in a sentence. Raises UserError for what is no path.
    """
    try:
        path = Path(given)  # pyright: ignore[reportArgumentType]
    except TypeError:
        raise UserError(f"{what} is text or a pathlib.Path; got {given!r:.100}") from None
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def absolute_path(given: object) -> Path:
    """A path as `as_path` gives it, absolute and without links. Raises UserError for links that lead in a circle."""
    path = as_path(given)
    try:
        return path.resolve()
    except RuntimeError:
        raise UserError(f"{short_path(path)} is a link that leads to itself") from None


@contextmanager
def replacing(path: str | Path) -> Iterator[IO[bytes]]:
    """A file to write, which takes its name, and the place of an older one, only when it is whole and on the disk.

    Missing folders are made. Until then it has a random name, so that several threads and processes can write the same
    file: the last one to finish wins. Raises UserError where it cannot be written, or where something else than a file
    has its name; the older file is then untouched.
    """
    if not isinstance(path, str | os.PathLike):
        raise UserError(f"the file to write is text or a pathlib.Path; got {path!r:.100}")
    path = Path(path)
    # Without the name of the file, which may itself be as long as a name can be.
    unfinished = path.parent / f".{secrets.token_hex(8)}{UNFINISHED}"
    try:
        if not path.name:
            raise UserError(f"{path} cannot be written: it is a folder; give the name of a file")
        _refuse_to_replace(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(unfinished, flags, 0o666)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except BaseException:
            with suppress(OSError):
                unfinished.unlink()
            raise
        flush_folder(path.parent)
    except OSError as error:
        raise UserError(f"{short_path(path)} cannot be written: {error.strerror or error}") from error


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file in one step (see `replacing`). Letters that are no text, as in odd file names, become "?"."""
    with replacing(path) as file:
        file.write(text.encode("utf-8", "replace"))


def remove_unfinished(folder: Path) -> None:
    """Removes what writers that were killed have left in a folder and the folders in it; links are not followed.

    Only for the process that alone may write there: the files of others that still write look the same.
    """
    for place, folders, names in os.walk(folder):
        for name in (*names, *folders):
            if name.startswith(".") and name.endswith(UNFINISHED):
                path = Path(place, name)
                with suppress(OSError):
                    shutil.rmtree(path) if name in folders and not path.is_symlink() else path.unlink()


@contextmanager
def opened(path: Path, most: int) -> Iterator[IO[bytes]]:
    """A file to read, which may be a link to one.

    most: how many bytes it may have. Raises UserError where there is no such file, where it is a folder, a pipe or a
    device, where it cannot be read, also inside the block, and where it is longer.
    """
    try:
        # Without O_NONBLOCK a pipe that nobody writes to would make this wait for ever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            state = os.fstat(descriptor)
            if not stat.S_ISREG(state.st_mode):
                raise UserError(f"{short_path(path)} is damaged: it is {_kind(state)}, and should be a file")
            if state.st_size > most:
                raise UserError(f"{short_path(path)} is damaged: it is longer than {most:,} bytes")
            with open(descriptor, "rb", closefd=False) as file:
                yield file
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UserError(f"{short_path(path)} cannot be read: {error.strerror or error}") from error


def read_whole(path: Path, most: int) -> bytes:
    """All bytes of a file. most: how many it may have. Raises UserError as `opened`."""
    with opened(path, most) as file:
        return file.read()


def read_object(path: Path, most: int = LONGEST_OBJECT) -> JsonObject:
    """The JSON object in a file. Raises UserError as `read_whole`, and where the file holds anything else."""
    content = read_whole(path, most)
    try:
        found = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
        raise UserError(f"{short_path(path)} is damaged: it holds no JSON ({reason})") from error
    if not isinstance(found, dict):
        raise UserError(f"{short_path(path)} is damaged: it must hold a JSON object, not {type(found).__name__}")
    return found


def short_path(path: Path) -> str:
    """The path in a sentence; of one that is too long for any file, its beginning and its end."""
    text = str(path)
    return text if len(text) <= 500 else f"{text[:200]} … {text[-200:]}"


def _refuse_to_replace(path: Path) -> None:
    """A rename would put a file in the place of a device or a pipe."""
    with suppress(FileNotFoundError):
        state = path.lstat()
        if not (stat.S_ISREG(state.st_mode) or stat.S_ISLNK(state.st_mode)):
            raise OSError(errno.EEXIST, f"it is {_kind(state)} and no file")


def _kind(state: os.stat_result) -> str:
    if stat.S_ISDIR(state.st_mode):
        return "a folder"
    return "a pipe" if stat.S_ISFIFO(state.st_mode) else "a device or a socket"


def flush_folder(folder: Path) -> None:
    """Puts a new name on the disk; where the system cannot flush folders, there is nothing to do."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    except OSError:  # a folder may be written and not read, and Windows opens none
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.ENOSYS, errno.EACCES):
            raise
    finally:
        os.close(descriptor)
