"""Looks at some files of a large data set while training goes on, and names those that cannot be read."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from hvit.data.images.reading import look_at, quiet_pillow
from hvit.data.layout import counted, some
from hvit.data.survey import Item, Source
from hvit.errors import UserError

MOST = 10_000
"""So many files are looked at in the background, evenly spaced."""
_PAUSE = 0.005  # seconds after each, so that training has the disk and the processor


def checked_later(files: Sequence[Item]) -> list[Item]:
    """The files that are looked at in the background, from all parts of the list, between those of a check before."""
    count = min(MOST, len(files) // 2)
    return [files[(2 * place + 1) * len(files) // (2 * count)] for place in range(count)]


def _say(sentence: str) -> None:
    print(f"hvit: {sentence}", file=sys.stderr, flush=True)


@contextmanager
def looked_at_meanwhile(files: Sequence[Source], say: Callable[[str], object] = _say) -> Iterator[threading.Thread]:
    """In this block a thread looks at the headers of files; at the end it says one sentence if some cannot be read.

    Nothing else comes of it. The end of the block ends it, too, with a sentence on those that it has looked at.
    """
    over = threading.Event()
    thread = threading.Thread(target=_look, args=(files, over, say), name="check of files", daemon=True)
    if not files:
        yield thread
        return
    with quiet_pillow():
        thread.start()
        try:
            yield thread
        finally:
            over.set()
            thread.join()


def _look(files: Sequence[Source], over: threading.Event, say: Callable[[str], object]) -> None:
    complaints, done = [], 0
    for file in files:
        try:
            look_at(file, False)
        except UserError as error:
            complaints.append(str(error).removeprefix("cannot read ").removesuffix("."))
        done += 1
        if over.wait(_PAUSE):
            break
    if complaints:
        bad = counted(len(complaints), "image")
        say(
            f"{bad} of {done:,} that were looked at while training goes on cannot be read: {some(complaints)}; "
            f"training takes the next image in place of such a one"
        )
