"""Claims about the comparison loop."""

from __future__ import annotations

from itertools import count

from hvit.benchmark.turns import interleave, ratios_of, rounds_of, run_apart


def test_implementations_take_turns_and_the_order_is_reversed_every_round() -> None:
    taken: list[str] = []
    turns = {name: lambda name=name: taken.append(name) for name in "abc"}
    ticks = count()
    times = interleave(turns, 2, lambda: float(next(ticks)))
    assert "".join(taken) == "cba" + "abc" + "cba"
    assert times == {"a": [1.0, 1.0], "b": [1.0, 1.0], "c": [1.0, 1.0]}


def test_a_round_runs_when_it_is_asked_for() -> None:
    taken: list[int] = []
    rounds = rounds_of({"a": 1, "b": 2}, 2, taken.append)
    assert taken == []
    next(rounds)
    assert taken == [2, 1]


def test_ratios_are_those_of_the_same_round() -> None:
    assert ratios_of([4.0, 2.0, 9.0], [2.0, 4.0, 3.0]) == [0.5, 2.0, 3.0]


def test_a_function_runs_in_another_process() -> None:
    import os

    assert run_apart(os.getpid) != os.getpid()
