"""Opening files of any origin: never waits for one, and says in one sentence why it cannot be opened."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path
from typing import BinaryIO

from hvit.errors import UserError
from hvit.markup import shown


class Refusal(Exception):
    """A reason, found by ourselves, not to read a file."""


class NotRegularError(OSError):
    """What should be a file is a folder, a pipe, a device or a socket, or has no content."""


class InMemory(str):
    """The name of a file whose content is in memory, such as one that a browser has sent; it is opened as a file is."""

    content: bytes

    def __new__(cls, name: str, content: bytes) -> InMemory:
        made = super().__new__(cls, name)
        made.content = content
        return made


def open_regular(path: str | Path) -> BinaryIO:
    """A regular file that has content, or the content of one in memory, to read.

    A pipe that nobody writes to would make an ordinary `open` wait for ever, a device might be anything.
    Raises NotRegularError where the path is something else, and OSError as `open` does.
    """
    if isinstance(path, InMemory):
        if not path.content:
            raise NotRegularError("the file is empty")
        return io.BytesIO(path.content)
    # Without O_NONBLOCK a pipe blocks before anyone can see that it is one; regular files ignore it.
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError as error:
        raise NotRegularError(f"its name is none of a file ({error})") from error
    try:
        check_regular(os.fstat(descriptor))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def check_regular(state: os.stat_result) -> None:
    """Raises NotRegularError for the state of anything but a regular file that has content."""
    if stat.S_ISDIR(state.st_mode):
        raise NotRegularError("it is a folder, not a file")
    if not stat.S_ISREG(state.st_mode):
        raise NotRegularError("it is not a regular file")
    if state.st_size == 0:
        raise NotRegularError("the file is empty")


def system_reason(error: OSError) -> str:
    """Why the system did not open or list something, as the end of a sentence."""
    if isinstance(error, NotRegularError):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, PermissionError):
        return "this user has no permission to read it"
    if error.errno == errno.ELOOP:
        return "it is a link that leads in a circle"
    return f"the system says: {error.strerror or error}"


def state_of(path: str | Path) -> os.stat_result | None:
    """The state of what is at a path, None if nothing is there or a link leads nowhere.

    Raises UserError where the system does not say, as for a path that is too long or in a folder that may not be
    entered.
    """
    try:
        return Path(path).stat()
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        reason = system_reason(error) if isinstance(error, OSError) else str(error)
        raise UserError(f"cannot read {shown(str(path))}: {reason}.") from error


def is_folder(path: str | Path) -> bool:
    """Whether a folder, or a link to one, is at a path. Raises UserError as `state_of`."""
    state = state_of(path)
    return state is not None and stat.S_ISDIR(state.st_mode)


def entries_of(folder: str | Path) -> list[os.DirEntry[str]]:
    """What is in a folder, in alphabetical order. Raises UserError if it may not be listed."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"cannot list {shown(str(folder))}: {system_reason(error)}.") from error
