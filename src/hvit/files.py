"""Writing files that are whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from hvit.errors import UserError


@contextmanager
def replacing(path: str | Path) -> Iterator[IO[bytes]]:
    """A file to write, which takes its name, and the place of an older one, only when it is whole and on the disk.

    Missing folders are made. Raises UserError where it cannot be written; the older file is then untouched.
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        if unfinished.exists():
            unfinished.unlink()


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file in one step (see `replacing`). Letters that are no text, as in odd file names, become "?"."""
    with replacing(path) as file:
        file.write(text.encode("utf-8", "replace"))
