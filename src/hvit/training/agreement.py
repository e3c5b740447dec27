"""When to stop and when to save, decided alike in all processes that train together."""

from __future__ import annotations

import time

import torch

from hvit.training.distribute import Processes

STEPS_BETWEEN_REPORTS = 20
"""Steps between two lines of training in the journal; many processes agree at least as often."""
_SECONDS_BETWEEN_QUESTIONS = 5.0


class Agreement:
    """What any process of a run wants, in all of them.

    Many processes ask each other about every five seconds only, at steps on which they agree, because asking costs
    time. step: steps done so far.
    """

    def __init__(self, ranks: Processes, step: int) -> None:
        self.ranks, self.next_question = ranks, step + 1
        self.asked_at, self.asked_step = time.monotonic(), step

    def ask(self, step: int, interrupted: bool, late: bool) -> tuple[bool, bool]:
        """Whether any process was interrupted, and whether any is late with its checkpoint; False between questions."""
        if self.ranks.world_size == 1:
            return interrupted, late
        if step < self.next_question:
            return False, False
        seconds = (time.monotonic() - self.asked_at) / max(step - self.asked_step, 1)
        here = torch.tensor([float(interrupted), float(late), seconds], device=self.ranks.device)
        any_interrupted, any_late, seconds = self.ranks.mean(here).tolist()
        between = int(_SECONDS_BETWEEN_QUESTIONS / max(seconds, 1e-6))
        self.next_question = step + min(max(between, 1), STEPS_BETWEEN_REPORTS)
        self.asked_at, self.asked_step = time.monotonic(), step
        return any_interrupted > 0, any_late > 0
