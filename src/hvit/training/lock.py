"""One process at a time may train in a run folder."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from hvit.errors import UserError
from hvit.files import read_object, remove_unfinished, short_path, write_text

LOCK = ".lock"
HOLDER = ".lock.json"
_PATIENCE = 1.0


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds a run folder, which is made if it is missing, while the block lasts; nobody else can hold it then.

    The system releases the lock when its process ends in any way, so that a killed run leaves nothing to clean up but
    unfinished files, which are removed here. Who holds it stands in `.lock.json`.
    Raises UserError, with the process and the host, where another process holds it, and where it cannot be written.
    """
    lock = FileLock(str(folder / LOCK), timeout=_PATIENCE, thread_local=False)
    is_new = not os.path.lexists(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise _in_use(folder) from error
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{short_path(folder)} cannot be written: {reason} (its lock is {LOCK})") from error
    try:
        remove_unfinished(folder)
        write_text(folder / HOLDER, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}) + "\n")
        yield
    finally:
        with suppress(OSError):
            (folder / HOLDER).unlink()
        # While it is held: whoever has opened this file in the meantime sees that it has no name, and opens anew.
        with suppress(OSError):
            (folder / LOCK).unlink()
            if is_new:
                folder.rmdir()  # only if nothing was written
        with suppress(OSError):
            lock.release()


def refuse_if_held(folder: Path) -> None:
    """Raises UserError, with the process and the host, where another process holds a run folder."""
    if not os.path.isfile(folder / LOCK):  # noqa: PTH113  (a name that is too long is no error here)
        return
    lock = FileLock(str(folder / LOCK), timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise _in_use(folder) from error
    except (OSError, NotImplementedError):  # what cannot be locked is said where it has to be
        return
    lock.release()


def _in_use(folder: Path) -> UserError:
    return UserError(
        f"{short_path(folder)} is in use by {_holder(folder)}: wait until that run ends, or choose another folder"
    )


def _holder(folder: Path) -> str:
    """Who holds the lock, in words."""
    try:
        held = read_object(folder / HOLDER, most=4096)
        return f"process {int(held['pid'])} on {str(held['host'])[:100]!r}"
    except (UserError, KeyError, TypeError, ValueError, OverflowError):
        return "another process"
