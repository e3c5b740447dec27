"""What a person sees while long work goes on: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
_SECONDS_BETWEEN_LINES = 10.0


class BarOrLines:
    """A bar while the block it opens lasts, if it was given one; else lines, one every ten seconds at most.

    What is printed on `console` stands above the bar.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar: Progress | None = None
        self.start = self.line_at = time.monotonic()

    def __enter__(self) -> Self:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar:
            self.bar.stop()

    def line_is_due(self, now: float) -> bool:
        """Whether it is time for a line; the next one is due ten seconds later."""
        if now - self.line_at < _SECONDS_BETWEEN_LINES:
            return False
        self.line_at = now
        return True


class FilesDone(BarOrLines):
    """Counts files that are explained or refused: a bar with the time left, or a line every ten seconds.

    total: how many files there are; a single one is not counted, unless the forward passes spent on it are. console:
    where it is shown, stderr. Nothing of it reaches stdout, so that answers can be piped. words: what is done, what was
    done, and to what.
    """

    def __init__(
        self, total: int, console: Console, words: tuple[str, str, str] = ("explaining", "explained", "files")
    ) -> None:
        super().__init__(console)
        self.total, self.done = total, 0
        self.spent = self.planned = 0.0
        self.at_once = 1
        self.later: Progress | None = None  # the bar of a single file, which waits for the first passes
        doing, *self.words = words
        if console.is_terminal and not console.quiet and total > 0:
            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[unit]}"), TimeRemainingColumn(),
                       TextColumn("left"))  # fmt: skip
            # Answers on the same terminal go above the bar; in a pipe or a file they stay what they are.
            bar = Progress(
                TextColumn(doing), *columns, console=console, redirect_stdout=sys.stdout.isatty(), transient=True
            )
            self.row = bar.add_task(doing, total=total, unit="")
            self.bar, self.later = (bar, None) if total > 1 else (None, bar)

    def spend(self, passes: float, planned: float, at_once: int = 1) -> None:
        """So many forward passes more were spent on the files at hand, of those planned for each: they are counted.

        at_once: how many files are at hand.
        """
        self.spent, self.planned, self.at_once = self.spent + passes, planned, at_once
        if self.later:
            self.bar, self.later = self.later, None
            self.bar.start()
        self._show()

    def step(self, files: int = 1) -> None:
        """One more file is done, or so many."""
        self.done, self.spent = self.done + files, 0.0
        self._show()

    def _show(self) -> None:
        files = self.done + (min(self.spent / self.planned, self.at_once) if self.planned else 0)
        unit, now = self.planned or 1, time.monotonic()
        if self.bar:
            words = "forward passes" if self.planned else ""
            completed, total = round(files * unit), round(self.total * unit)
            self.bar.update(self.row, completed=completed, total=total, unit=words)
        elif 0 < files < self.total and self.line_is_due(now):
            passes = f"  {files * unit:,.0f} of {self.total * unit:,.0f} forward passes" if self.planned else ""
            left = (now - self.start) / files * (self.total - files) / 60
            self.console.print(f"{self.words[0]} {self.done}/{self.total} {self.words[1]}{passes}  {left:.1f} min left")

    def over(self, answers: Iterator[T]) -> Iterator[T]:
        """The same answers, one a file; each is counted when the next is asked for."""
        for answer in answers:
            yield answer
            self.step()

    def refusing(self, refused: Callable[[str], None]) -> Callable[[str], None]:
        """The same callback for files that cannot be used, which are counted, too."""

        def refused_and_counted(sentence: str) -> None:
            refused(sentence)
            self.step()

        return refused_and_counted


class DataOpening(BarOrLines):
    """How far opening a data set has got, called with what is done, how many files are, and how many there are.

    A bar on a terminal; elsewhere a line after two seconds and then one every ten. console: where it is shown, stderr.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.line_at -= _SECONDS_BETWEEN_LINES - 2
        self.doing = ""
        if console.is_terminal and not console.quiet:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.bar = Progress(*columns, console=console, transient=True)
            self.row = self.bar.add_task("opening the data", total=None)

    def __call__(self, doing: str, done: int, total: int) -> None:
        """So many files of all are done; a total of 0 is not known yet."""
        if self.bar:
            if doing != self.doing:
                self.bar.reset(self.row, description=doing)
            self.bar.update(self.row, completed=done, total=total or None)
        elif self.line_is_due(time.monotonic()):
            self.console.print(f"{doing}: {done:,} of {total:,}" if total else doing)
        self.doing = doing
