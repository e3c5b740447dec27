"""What is known of every clip of a collection before training, kept in a file so that it is found out once."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hvit.data.clips.decoding import probe
from hvit.data.clips.videos import ClipFacts
from hvit.data.images.held import HeldClip
from hvit.data.images.listing import show
from hvit.data.images.reading import quiet_pillow
from hvit.data.regular_files import open_regular
from hvit.data.sets import Progress, no_progress
from hvit.data.survey import in_threads
from hvit.errors import UserError
from hvit.files import write_text

_LARGEST = 500_000_000  # bytes of an index: millions of clips
_ANY_KIND = "hvit clips"
_KIND = f"{_ANY_KIND} 2"

Entry = tuple[int, int, bool, ClipFacts | str]
"""Size and time of change of a file, whether all of it was decoded, and its facts or what is wrong with it."""


def index_clips(
    sources: Sequence[Path | HeldClip],
    whole: bool,
    frame_rate: float,
    cache: Path | None,
    progress: Progress = no_progress,
    remember: bool = True,
    page: int | None = None,
) -> tuple[list[ClipFacts | str], tuple[str, ...]]:
    """The facts of every clip, or why it cannot be read: what follows after its name, such as ": the file is empty".

    whole: whether every frame is decoded. frame_rate: of clips that do not say theirs. cache: a file that remembers;
    a clip whose size or time of change is another one is looked at again. It is JSON, is written in one step, and is
    left alone where it cannot be written, or with `remember` False. A damaged one is written anew, and the notes that
    are returned say so. page: of frames that have several.
    """
    header = {"kind": _KIND, "frame_rate": frame_rate, "decoder": _decoder(), "page": page}
    known, notes = _read(cache, header) if cache else ({}, ())
    names = [_name(source, cache) for source in sources]
    stamps = [_stamp(source) for source in sources]
    unknown = [
        place
        for place, (name, stamp) in enumerate(zip(names, stamps, strict=True))
        if not (name in known and known[name][:2] == stamp and known[name][2] >= whole)
    ]
    try:
        for place, found in zip(
            unknown, _look_at([sources[place] for place in unknown], frame_rate, whole, progress, page), strict=True
        ):
            known[names[place]] = (*stamps[place], whole, found)
    finally:
        # What was found out before an interrupt is kept, too.
        if cache and unknown and remember:
            _write(cache, header, known)
    return [known[name][3] for name in names], notes


def _look_at(
    sources: list[Path | HeldClip], frame_rate: float, whole: bool, progress: Progress, page: int | None
) -> Iterator[ClipFacts | str]:
    def look(source: Path | HeldClip) -> ClipFacts | str:
        try:
            return probe(source, frame_rate, whole, page)
        except UserError as error:
            return (
                str(error)
                .removeprefix(f"cannot read {show(source) if isinstance(source, Path) else source}")
                .removesuffix(".")
            )

    with quiet_pillow():
        for done, (_, found) in enumerate(in_threads(look, sources, 16), 1):
            progress("checking clips", done, len(sources))
            yield found


def _decoder() -> str:
    try:
        return version("av")
    except PackageNotFoundError:
        return ""


def _name(source: Path | HeldClip, cache: Path | None) -> str:
    """The clip as it is named in the cache: seen from there, so that both can move together."""
    return os.path.relpath(source, cache.parent) if cache and isinstance(source, Path) else str(source)


def _stamp(source: Path | HeldClip) -> tuple[int, int]:
    if not isinstance(source, Path):
        return -1, -1
    try:
        state = source.stat()
    except (OSError, ValueError):  # not there, or no path at all, as with a null character
        return -1, -1
    return state.st_size, state.st_mtime_ns


def _read(cache: Path, header: Mapping[str, object]) -> tuple[dict[str, Entry], tuple[str, ...]]:
    """What an index knows, nothing if it was made in another way; and the note that it is damaged, if it is."""
    try:
        with open_regular(cache) as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise ValueError("too large")
        parsed = json.loads(content)
        if not parsed["kind"].startswith(_ANY_KIND) or not isinstance(parsed["clips"], dict):
            raise ValueError("no index")
        made_alike = all(parsed.get(name) == value for name, value in header.items())
        known = {name: _entry(*values) for name, values in parsed["clips"].items()} if made_alike else {}
        return known, ()
    except FileNotFoundError:
        return {}, ()
    # Whatever is in a file of this name: text, lists where tables should be, a thousand brackets, a pipe.
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, MemoryError):
        return {}, (f"{show(cache)} is damaged, so all clips were looked at again.",)


def _entry(size: object, changed: object, whole: object, found: object) -> Entry:
    """Raises ValueError for anything but what `_write` writes."""
    if type(size) is not int or type(changed) is not int or type(whole) is not bool:
        raise ValueError("no entry")
    if isinstance(found, str):
        return size, changed, whole, found
    if not isinstance(found, list):
        raise ValueError("no facts")
    frames, rate, start, height, width = found
    whole_numbers = all(type(number) is int and 0 < number < 2**31 for number in (frames, height, width))
    real_numbers = all(type(number) in (int, float) and math.isfinite(number) for number in (rate, start))
    if not (whole_numbers and real_numbers and rate > 0):
        raise ValueError("no facts")
    return size, changed, whole, ClipFacts(frames, float(rate), float(start), height, width)


def _write(cache: Path, header: Mapping[str, object], known: dict[str, Entry]) -> None:
    clips = {
        name: [size, changed, whole, found if isinstance(found, str) else astuple(found)]
        for name, (size, changed, whole, found) in known.items()
    }
    try:
        write_text(cache, json.dumps({**header, "clips": clips}))
    except UserError:
        # The data may lie where nobody may write; then they are looked at again the next time.
        return
