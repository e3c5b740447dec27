"""Claims about implementations in processes: turns, what they report, and what becomes of a failure."""

from __future__ import annotations

import os
from functools import partial

import pytest

from hvit.benchmark.processes import Implementation, Rounds, started, summarise
from hvit.errors import UserError


def counting(report: str) -> Implementation:
    """An implementation that counts its turns."""
    turns: list[int] = []

    def turn() -> int:
        turns.append(1)
        return len(turns)

    return turn, (report, os.getpid())


def failing(kind: type[Exception]) -> Implementation:
    raise kind("no such thing\nand more")


def dying() -> Implementation:
    os._exit(1)


def test_each_lives_in_a_process_of_its_own_and_takes_a_turn_a_round() -> None:
    with started({name: partial(counting, name) for name in ("a", "b")}, warm=1) as processes:
        reports = processes.reports
        rounds = processes.take_turns(3)
    assert [reports[name][0] for name in "ab"] == ["a", "b"]
    assert len({reports["a"][1], reports["b"][1], os.getpid()}) == 3
    assert rounds.measured == {"a": [2, 3, 4], "b": [2, 3, 4]}
    assert [len(rounds.others), len(rounds.seconds["a"]), len(rounds.processor["b"])] == [3, 3, 3]


def test_a_failure_is_a_sentence_with_the_name_of_the_implementation() -> None:
    for build, kind, says in (
        (partial(failing, UserError), UserError, "peer: no such thing"),
        (partial(failing, KeyError), RuntimeError, "peer: "),
        (dying, UserError, "peer: its process died"),
    ):
        with pytest.raises(kind, match=says), started({"peer": build}):
            pass


def test_disturbed_rounds_do_not_count_and_processor_time_takes_over_where_too_few_are_left() -> None:
    seconds = {"ours": [1.0, 1.0, 1.0, 9.0], "peer": [2.0, 2.0, 2.0, 9.0]}
    processor = {"ours": [1.0] * 4, "peer": [3.0] * 4}
    quiet = summarise(Rounds(seconds, processor, {}, [0.0, 0.0, 0.0, 0.5]), 8, "peer")
    assert (quiet["ratios"], quiet["rates"]) == ({"ours": 2.0}, {"ours": 8.0, "peer": 4.0})
    assert (quiet["by_processor_time"], quiet["quiet_rounds"]) == (False, 3)
    noisy = summarise(Rounds(seconds, processor, {}, [0.5] * 4), 8, "peer")
    assert (noisy["ratios"], noisy["by_processor_time"]) == ({"ours": 3.0}, True)
    assert set(noisy) == {
        "ratios", "spread", "rates", "by_processor_time", "quiet_rounds", "seconds", "processor_seconds", "others",
    }  # fmt: skip
