"""Finds files with the same content in the training and in the held-out part of a data set."""

from __future__ import annotations

import hashlib
import stat
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from hvit.data.images.held import HeldClip, HeldImage
from hvit.data.layout import counted, some
from hvit.data.regular_files import open_regular, state_of
from hvit.errors import UserError
from hvit.markup import shown

Source = Path | HeldImage | HeldClip
MOST_BYTES = 2 * 2**30
"""So many bytes are compared at most."""
_CHUNK = 1 << 20


def shared_content_notes(train: Sequence[Source], held_out: Sequence[Source], what: str = "images") -> tuple[str, ...]:
    """The sentence that names held-out files whose content is that of a training file, if there are any.

    Only files of equal size are read. Folders, such as those of frames, are not compared.
    """
    by_size: dict[int, list[list[Source]]] = defaultdict(lambda: [[], []])
    for part, files in enumerate((train, held_out)):
        for file in files:
            if (size := _size(file)) is not None:
                by_size[size][part].append(file)
    pairs, left = [], MOST_BYTES
    for size, (known, asked) in sorted(by_size.items()):
        left -= size * (len(known) + len(asked)) if known and asked else 0
        if not known or not asked or left < 0:
            continue
        contents = {digest: file for file in known if (digest := _digest(file)) is not None}
        pairs += [(file, contents[digest]) for file in asked if (digest := _digest(file)) in contents]
    if not pairs:
        return ()
    named = [f"{_short(file)} is {_short(copy)}" for file, copy in pairs]
    count = counted(len(pairs), f"held-out {what[:-1]}")
    return (
        f"{count} {'has' if len(pairs) == 1 else 'have'} the same content as training {what}, so scores are too good: "
        f"{some(named, 3)}.",
    )


def _short(file: Source) -> str:
    """A file with the folders that identify it: its class and its part of the split."""
    return shown("/".join(file.parts[-3:]) if isinstance(file, Path) else str(file))


def _size(file: Source) -> int | None:
    try:
        if isinstance(file, HeldClip):
            return file.array().nbytes if file.rows.repeats else None
        if isinstance(file, HeldImage):
            return len(file.content())
        state = state_of(file)
    except (UserError, OSError):
        return None
    return state.st_size if state is not None and stat.S_ISREG(state.st_mode) else None


def _digest(file: Source) -> bytes | None:
    total = hashlib.sha256()
    try:
        with file.open() if not isinstance(file, Path) else open_regular(file) as opened:
            while chunk := opened.read(_CHUNK):
                total.update(chunk)
    except OSError:
        return None
    return total.digest()
