"""The comparison loop: implementations take turns, and the order is reversed every round.

Turns of one round see the same noise, so that the median over rounds of a ratio of times is steady where the times are
not.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

Turn = Callable[[], object]
T = TypeVar("T")
Measured = TypeVar("Measured")


def rounds_of(turns: Mapping[str, T], count: int, measure: Callable[[T], Measured]) -> Iterator[dict[str, Measured]]:
    """What was measured of every implementation's turn, a round at a time; a round runs when it is asked for."""
    names = list(turns)
    for number in range(count):
        yield {name: measure(turns[name]) for name in (names if number % 2 else reversed(names))}


def interleave(
    turns: Mapping[str, Turn], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of every implementation's turns, round by round, after one round that does not count."""

    def seconds(turn: Turn) -> float:
        start = clock()
        turn()
        return clock() - start

    _, *counted = rounds_of(turns, rounds + 1, seconds)
    return {name: [one[name] for one in counted] for name in turns}


def ratios_of(seconds: Sequence[float], others: Sequence[float]) -> list[float]:
    """Ratios of two implementations' times, round by round, sorted."""
    return sorted(own / other for own, other in zip(seconds, others, strict=True))


def run_apart(function: Callable[..., T], *arguments: object) -> T:
    """What a function returns, run in a fresh process, so that it finds no memory that others have left behind.

    Raises BrokenProcessPool where that process dies, as for want of memory.
    """
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()
