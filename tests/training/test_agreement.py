"""Claims about agreement: one process decides at once, many act alike and ask rarely."""

from __future__ import annotations

import torch
from torch import Tensor

from hvit.training.agreement import STEPS_BETWEEN_REPORTS, Agreement
from hvit.training.distribute import Processes

ALONE = Processes(0, 1, torch.device("cpu"))


def test_one_process_acts_at_once() -> None:
    agreement = Agreement(ALONE, 0)
    assert agreement.ask(1, True, False) == (True, False)
    assert agreement.ask(1, False, True) == (False, True)


def test_what_one_of_many_wants_all_do_at_a_step_that_they_agree_on() -> None:
    class Two(Processes):
        def mean(self, value: Tensor) -> Tensor:
            """The other one was interrupted, and takes no time."""
            return (value + torch.tensor([1.0, 0.0, 0.0])) / 2

    agreement = Agreement(Two(0, 2, torch.device("cpu")), 10)
    assert agreement.ask(10, True, True) == (False, False), "before the first question nobody acts"
    assert agreement.ask(11, False, False) == (True, False)
    assert 11 < agreement.next_question <= 11 + STEPS_BETWEEN_REPORTS
