"""What a person sees while a run goes on."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hvit.progress import BarOrLines


class ProgressView(BarOrLines):
    """Steps done, current loss, rate and time left, on stderr.

    start, total: steps done and wanted. samples: images or clips.
    """

    def __init__(self, start: int, total: int, silent: bool, samples: str = "images") -> None:
        super().__init__(Console(file=sys.stderr, quiet=silent, highlight=False))
        self.total, self.reported_step, self.reported_at, self.samples = total, start, self.start, samples
        if self.console.is_terminal and not silent:
            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[latest]}"), TimeRemainingColumn())
            self.bar = Progress(TextColumn("training"), *columns, TextColumn("left"), console=self.console)
            self.row = self.bar.add_task("training", total=total, completed=start, latest="")

    def step(self, step: int) -> None:
        """One more step is done."""
        if self.bar:
            self.bar.update(self.row, completed=step)

    def report(self, step: int, epoch: float, loss: float, images_per_step: int) -> float:
        """Shows the loss and the rate since the last report: in the bar, or in a line every ten seconds.

        Returns the rate in images, or clips, per second.
        """
        now = time.monotonic()
        seconds_per_step = (now - self.reported_at) / max(step - self.reported_step, 1)
        speed = images_per_step / seconds_per_step
        self.reported_at, self.reported_step = now, step
        if self.bar:
            self.bar.update(self.row, latest=f"loss {loss:.3f}  {speed:,.0f} {self.samples}/s")
        elif self.line_is_due(now):
            left = (self.total - step) * seconds_per_step / 60
            where = f"step {step}/{self.total}  epoch {epoch:.2f}"
            self.console.print(f"{where}  loss {loss:.3f}  {speed:,.0f} {self.samples}/s  {left:.1f} min left")
        return speed

    def evaluated(self, epoch: float, loss: float, name: str, score: float) -> None:
        """Shows the scores of an evaluation in a line that stays; its time does not count in the rate."""
        self.console.print(f"epoch {epoch:.4g}: held-out {name} {score:.4f}, loss {loss:.4f}")
        self.reported_at = time.monotonic()

    def say(self, sentence: str) -> None:
        """Shows a sentence in a line that stays."""
        self.console.print(sentence, markup=False, soft_wrap=True)

    def warn(self, sentence: str) -> None:
        """Shows what goes wrong, if anything, in a line that stays."""
        if sentence:
            self.console.print(f"warning: {sentence}", markup=False, soft_wrap=True)
