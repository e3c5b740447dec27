"""Opening files of any origin: never waits for one, and says in one sentence why it cannot be opened."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


class NotRegularError(OSError):
    """What should be a file is a folder, a pipe, a device or a socket, or has no content."""


def open_regular(path: str | Path) -> BinaryIO:
    """A regular file that has content, to read.

    A pipe that nobody writes to would make an ordinary `open` wait for ever, a device might be anything.
    Raises NotRegularError where the path is something else, and OSError as `open` does.
    """
    # Without O_NONBLOCK a pipe blocks before anyone can see that it is one; regular files ignore it.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
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
