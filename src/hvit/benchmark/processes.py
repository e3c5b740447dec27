"""Implementations in fresh processes that take turns: none finds memory that another has left behind.

A process sleeps while the others have their turns. What other programs used of the machine meanwhile is measured.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

from hvit.benchmark.busy import busy_seconds
from hvit.benchmark.turns import rounds_of
from hvit.errors import UserError
from hvit.files import JsonObject
from hvit.interrupts import leave_to_the_main_process

DISTURBED = 0.08
"""The share of the machine that other programs may have in a round that counts."""

Implementation = tuple[Callable[[], object], object]
"""What takes a turn, and what the process reports before the first one."""
Build = Callable[[], Implementation]
"""Builds an implementation in its process; it is sent there, so it is a function of a module, or a partial of one."""


@dataclass
class Rounds:
    """What was measured, round by round, of every implementation."""

    seconds: dict[str, list[float]]
    """Of its turns."""
    processor: dict[str, list[float]]
    """Processor seconds of its turns."""
    measured: dict[str, list[object]]
    """What its turns returned."""
    others: list[float] = field(default_factory=list)
    """The share of the machine that other programs had, of each round."""


@dataclass
class Processes:
    """Implementations that are ready."""

    pipes: dict[str, Connection]
    reports: dict[str, object]
    """What each reported."""

    def take_turns(self, rounds: int) -> Rounds:
        """Lets every implementation take one turn a round. Raises UserError where a process died."""
        empty: dict[str, list[float]] = {name: [] for name in self.pipes}
        found = Rounds(empty, {name: [] for name in empty}, {name: [] for name in empty})
        turns = rounds_of({name: name for name in self.pipes}, rounds, self._turn)
        for _ in range(rounds):
            whole, busy, own = time.perf_counter(), busy_seconds(), 0.0
            for name, (seconds, used, measured) in next(turns).items():
                found.seconds[name].append(seconds)
                found.processor[name].append(used)
                found.measured[name].append(measured)
                own += used
            extra = busy_seconds() - busy - own
            found.others.append(max(0.0, extra) / ((time.perf_counter() - whole) * (os.cpu_count() or 1)))
        return found

    def _turn(self, name: str) -> tuple[float, float, object]:
        self.pipes[name].send("turn")
        seconds, used, measured = _received(name, self.pipes[name])
        return seconds, used, measured


@contextmanager
def started(builds: Mapping[str, Build], warm: int = 2) -> Iterator[Processes]:
    """Starts the implementations one after the other, since some measure while they get ready; ends them at the end.

    warm: turns that each takes before, which do not count. Raises what a build raises, and UserError where its process
    died, as for want of memory.
    """
    spawn = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        pipes: dict[str, Connection] = {}
        reports: dict[str, object] = {}
        for name, build in builds.items():
            pipes[name], theirs = spawn.Pipe()
            process = spawn.Process(target=_serve, args=(name, build, theirs), daemon=True)
            process.start()
            theirs.close()
            stack.callback(process.kill)
            report = _received(name, pipes[name])
            if isinstance(report, Exception):
                raise report
            reports[name] = report
            for _ in range(warm):
                pipes[name].send("turn")
                _received(name, pipes[name])
        yield Processes(pipes, reports)


def summarise(rounds: Rounds, batch: int, baseline: str) -> JsonObject:
    """Medians over rounds of the baseline's time over each other's, and rates (batch over the median time).

    Undisturbed rounds count; where fewer than three are left, the ratio is that of processor time, which waiting for
    other programs does not lengthen.
    """
    count = len(rounds.others)
    quiet = [number for number in range(count) if rounds.others[number] <= DISTURBED]
    enough = len(quiet) >= min(3, count)
    chosen = {who: [values[number] for number in quiet] for who, values in rounds.seconds.items()}
    times = chosen if enough else rounds.processor
    spread = {
        who: sorted(theirs / mine for theirs, mine in zip(times[baseline], times[who], strict=True))
        for who in rounds.seconds
        if who != baseline
    }
    shown = times if enough else rounds.seconds
    return {
        "ratios": {who: median(values) for who, values in spread.items()},
        "spread": {who: [values[0], values[-1]] for who, values in spread.items()},
        "rates": {who: batch / median(values) for who, values in shown.items()},
        "by_processor_time": not enough,
        "quiet_rounds": len(quiet),
        "seconds": rounds.seconds,
        "processor_seconds": rounds.processor,
        "others": rounds.others,
    }


def _received(name: str, pipe: Connection) -> Any:
    try:
        return pipe.recv()
    except (EOFError, ConnectionError):
        raise UserError(f"{name}: its process died, as for want of memory") from None


def _serve(name: str, build: Build, pipe: Connection) -> None:
    """Builds an implementation, reports, and takes a turn whenever it is asked to."""
    leave_to_the_main_process()
    try:
        turn, report = build()
    except Exception as error:
        kind = UserError if isinstance(error, UserError) else RuntimeError
        pipe.send(kind(f"{name}: {(str(error) or type(error).__name__).splitlines()[0]}"))
        return
    pipe.send(report)
    try:
        while pipe.recv() == "turn":
            start, used = time.perf_counter(), time.process_time()
            measured = turn()
            pipe.send((time.perf_counter() - start, time.process_time() - used, measured))
    except EOFError:  # the main process has gone
        return
