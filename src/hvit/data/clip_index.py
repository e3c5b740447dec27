"""What is known of every clip of a collection before training, kept in a file so that it is found out once."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from hvit.data.decoding import probe
from hvit.data.reading import quiet_pillow, show
from hvit.data.videos import ClipFacts
from hvit.errors import UserError
from hvit.files import write_text

MANY_CLIPS = 200
"""From so many clips on, checking them shows a progress bar."""
_KIND = "hvit clips 1"

Entry = tuple[int, int, bool, ClipFacts | str]
"""Size and time of change of a file, whether all of it was decoded, and its facts or what is wrong with it."""


def index_clips(sources: Sequence[Path], whole: bool, frame_rate: float, cache: Path | None) -> list[ClipFacts | str]:
    """The facts of every clip, or why it cannot be read: what follows after its name, such as ": the file is empty".

    whole: whether every frame is decoded. frame_rate: of clips that do not say theirs. cache: a file that remembers;
    a clip whose size or time of change is another one is looked at again. It is JSON, is written in one step, and is
    left alone where it cannot be written; what is no such file is written anew.
    """
    header = {"kind": _KIND, "frame_rate": frame_rate, "decoder": _decoder()}
    known = _read(cache, header) if cache else {}
    names = [_name(source, cache) for source in sources]
    stamps = [_stamp(source) for source in sources]
    unknown = [
        place
        for place, (name, stamp) in enumerate(zip(names, stamps, strict=True))
        if not (name in known and known[name][:2] == stamp and known[name][2] >= whole)
    ]
    try:
        for place, found in zip(
            unknown, _look_at([sources[place] for place in unknown], frame_rate, whole), strict=True
        ):
            known[names[place]] = (*stamps[place], whole, found)
    finally:
        # What was found out before an interrupt is kept, too.
        if cache and unknown:
            _write(cache, header, known)
    return [known[name][3] for name in names]


def _look_at(sources: list[Path], frame_rate: float, whole: bool) -> Iterator[ClipFacts | str]:
    def look(some: list[Path]) -> list[ClipFacts | str]:
        found: list[ClipFacts | str] = []
        for source in some:
            try:
                found.append(probe(source, frame_rate, whole))
            except UserError as error:
                found.append(str(error).removeprefix(f"cannot read {show(source)}").removesuffix("."))
        return found

    # In portions, because the pool keeps a record of everything it is given.
    portions = [sources[start : start + 16] for start in range(0, len(sources), 16)]
    console = Console(stderr=True)
    with quiet_pillow(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        results = track(
            pool.map(look, portions),
            "checking clips",
            total=len(portions),
            console=console,
            transient=True,
            disable=len(sources) < MANY_CLIPS or not console.is_terminal,
        )
        yield from chain.from_iterable(results)


def _decoder() -> str:
    try:
        return version("av")
    except PackageNotFoundError:
        return ""


def _name(source: Path, cache: Path | None) -> str:
    """The clip as it is named in the cache: seen from there, so that both can move together."""
    return os.path.relpath(source, cache.parent) if cache else str(source)


def _stamp(source: Path) -> tuple[int, int]:
    try:
        state = source.stat()
    except OSError:
        return -1, -1
    return state.st_size, state.st_mtime_ns


def _read(cache: Path, header: dict[str, Any]) -> dict[str, Entry]:
    try:
        content = json.loads(cache.read_bytes())
        if any(content[name] != value for name, value in header.items()):
            return {}
        return {name: _entry(*values) for name, values in content["clips"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _entry(size: int, changed: int, whole: bool, found: list[Any] | str) -> Entry:
    return size, changed, whole, found if isinstance(found, str) else ClipFacts(*found)


def _write(cache: Path, header: dict[str, Any], known: dict[str, Entry]) -> None:
    clips = {
        name: [size, changed, whole, found if isinstance(found, str) else astuple(found)]
        for name, (size, changed, whole, found) in known.items()
    }
    try:
        write_text(cache, json.dumps({**header, "clips": clips}))
    except UserError:
        # The data may lie where nobody may write; then they are looked at again the next time.
        return
