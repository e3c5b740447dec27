"""What all files of a data set have in common, found out before training: which can be read, and what their grey is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from hvit.data.grey import GreyRange, Levels, described, range_of, together
from hvit.data.images.held import HeldImage
from hvit.data.images.reading import Look, look_at, quiet_pillow
from hvit.data.layout import counted
from hvit.data.sets import Progress, no_progress
from hvit.errors import UserError

Source = Path | HeldImage
"""What an image is read from."""
Item = TypeVar("Item")
Answer = TypeVar("Answer")

LOOKED_AT = 256
"""So many images of more than 8 bits a channel, evenly spaced, are decoded where not all images are."""
_LITTLE = 0.25  # share of a range below which an image looks flat


class Survey:
    """Looks at files, and chooses one grey range for all of them.

    grey_range: before files were looked at the rule; afterwards with rule "auto" the two values that are black and
    white in all files. Where there are only 8-bit files, or files of integers and of real numbers, it stays "auto".
    """

    def __init__(self, rule: GreyRange, page: int | None, channels: int = 3) -> None:
        self.rule: GreyRange = rule
        self.grey_range: GreyRange = rule
        self.page, self.channels = page, channels
        self.deep: list[Source] = []
        self.levels: Levels | None = None
        self.moving = self.looked_at = 0

    def look_at_all(
        self, files: Sequence[Source], whole: bool, progress: Progress = no_progress, what: str = "images"
    ) -> dict[Source, str]:
        """Looks at every file; returns what is wrong with those that cannot be read.

        whole: whether they are decoded, not only their headers.
        """
        complaints: dict[Source, str] = {}
        levels: list[Levels] = []
        for done, (file, found) in enumerate(_looks(files, whole, self.rule, self.page, self.channels), 1):
            if isinstance(found, str):
                complaints[file] = found
            else:
                levels += self._noted(file, found)
            if done % 100 == 0 or done == len(files):
                progress(f"checking {what}", done, len(files))
        self._choose(levels if whole else self._levels_of_some())
        return complaints

    def look_at_some(self, files: Sequence[Source]) -> None:
        """Looks at some of the files, evenly spaced."""
        for file, found in _looks(evenly_spaced(files, LOOKED_AT), False, self.rule, self.page, self.channels):
            if not isinstance(found, str):
                self._noted(file, found)
        self._choose(self._levels_of_some())

    def notes(self, total: int, what: str = "images") -> tuple[str, ...]:
        """Sentences about files of more than 8 bits a channel and animations. total: how many files there are."""
        notes = []
        if self.deep:
            notes.append(self._about_grey(total, what))
        if self.moving and self.page is None:
            notes.append(
                f"{counted(self.moving, what[:-1])} of {total:,} {'moves' if self.moving == 1 else 'move'}: the first "
                "frame is read (--data.page for another one)."
            )
        return tuple(notes)

    def _noted(self, file: Source, look: Look) -> list[Levels]:
        self.moving += look.moves
        if look.is_deep:
            self.deep.append(file)
        return [look.levels] if look.levels else []

    def _levels_of_some(self) -> list[Levels]:
        found = _looks(evenly_spaced(self.deep, LOOKED_AT), True, self.rule, self.page, self.channels)
        return [look.levels for _, look in found if isinstance(look, Look) and look.levels]

    def _choose(self, levels: list[Levels]) -> None:
        self.levels, self.looked_at = together(levels), len(levels)
        if self.rule == "auto" and self.levels is not None:
            self.grey_range = range_of("auto", self.levels)

    def _about_grey(self, total: int, what: str) -> str:
        some = "" if self.looked_at == len(self.deep) else f" (in {self.looked_at:,} that were looked at)"
        sentence = f"{len(self.deep):,} of {total:,} {what} have more than 8 bits a channel"
        option = f"--data.grey-range {described(self.rule)}"
        if self.levels is None:
            return f"{sentence}, integers or real numbers: each is read by itself ({option})."
        sentence += f", with values from {self.levels}{some}"
        if self.rule == "percentile":
            return f"{sentence}: 0.1 to 99.9 % of each are read from black to white ({option})."
        black, white = range_of(self.grey_range, self.levels)
        sentence += f": {black:,.6g} is black and {white:,.6g} white ({option})."
        share = (min(self.levels.high, white) - max(self.levels.low, black)) / (white - black) if white > black else 0
        if share < _LITTLE:
            sentence += (
                f" They use {max(share, 0):.1%} of that range, so they look flat: take --data.grey-range auto, "
                "percentile, or the values of black and white."
            )
        return sentence


def evenly_spaced(files: Sequence[Item], most: int) -> list[Item]:
    """Some of many files from all parts of the list."""
    count = min(most, len(files))
    return [files[place * len(files) // count] for place in range(count)]


def _looks(
    files: Sequence[Source], whole: bool, rule: GreyRange, page: int | None, channels: int
) -> Iterator[tuple[Source, Look | str]]:
    """Each file with what was seen, or with what is wrong with it."""

    def look(file: Source) -> Look | str:
        try:
            return look_at(file, whole, rule, page, channels)
        except UserError as error:
            return str(error).removeprefix("cannot read ").removesuffix(".")

    with quiet_pillow():
        yield from in_threads(look, files)


def in_threads(
    work: Callable[[Item], Answer], items: Sequence[Item], portion: int = 64
) -> Iterator[tuple[Item, Answer]]:
    """Each item with its answer, in order, worked out in threads that take some items at a time."""

    def some(some_items: Sequence[Item]) -> list[Answer]:
        return [work(item) for item in some_items]

    # In portions, because the pool keeps a record of everything it is given.
    portions = [items[start : start + portion] for start in range(0, len(items), portion)]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for some_items, answers in zip(portions, pool.map(some, portions), strict=True):
            yield from zip(some_items, answers, strict=True)
