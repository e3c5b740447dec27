"""Runs cases of `fuzz.py` in a process that is watched: outcomes, bounds on time and memory. Run that, not this."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import resource
import shutil
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from hvit.errors import UserError

FORBIDDEN = {code for code in (*range(32), *range(127, 160), 0x202E, 0x2066, 0x200F) if code not in (9, 10, 13)}
"""Characters that give orders to a terminal, or turn the direction of a text."""
_GUARD = 3 * 2**30
_CASES_OF_A_PROCESS = 1000


@dataclass(frozen=True)
class Bounds:
    """What a case may take."""

    seconds: float = 10.0
    """Of processor time."""
    wait: float = 60.0
    """Seconds without using the processor."""
    memory: int = 2**30
    """Bytes beyond what the process had before its first case."""


@dataclass
class Outcome:
    """What a case came to."""

    kind: str
    number: int
    outcome: str
    """answer, refusal, traceback, hang, memory or message."""
    seconds: float = 0.0
    """Of processor time."""
    peak: int = 0
    """The most bytes of memory at a time, beyond what the process had before its first case."""
    kept: int = 0
    """Bytes that it still had afterwards."""
    text: str = ""
    """The sentence of a refusal; of a fault its kind and place, too."""

    @property
    def is_fault(self) -> bool:
        """Whether it is neither an answer nor a refusal."""
        return self.outcome not in ("answer", "refusal")


class Escaped(AssertionError):
    """Text of a file that reached a terminal or a page as it is."""


def run_case(cases: Any, kind: str, seed: int, number: int, folder: Path, shows: bool = False) -> Outcome:
    """Runs one case in this process, in a fresh sub-folder of `folder` that is removed afterwards."""
    here = folder / "case"
    shutil.rmtree(here, ignore_errors=True)
    (here / "cwd").mkdir(parents=True)
    os.chdir(here / "cwd")
    draw = random.Random(f"{seed} {kind} {number}")
    start, outcome, text = time.process_time(), "answer", ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                use = cases.case(draw, here)
            except Exception as error:  # a fault of this script
                raise RuntimeError(f"the case could not be made: {type(error).__name__}: {error}") from error
            torch.manual_seed(0)
            start = time.process_time()
            use()
    except UserError as error:
        outcome, text = ("memory", _place(error)) if _lacked_memory(error) else ("refusal", str(error))
        if outcome == "refusal" and (len(text.splitlines()) != 1 or any(ord(letter) in FORBIDDEN for letter in text)):
            outcome = "message"
    except SystemExit as stop:
        outcome = {0: "answer", None: "answer", 2: "refusal"}.get(stop.code, "traceback")  # pyright: ignore
        text = f"exit status {stop.code}" if outcome == "traceback" else ""
    except Escaped as error:
        outcome, text = "message", str(error)
    except BaseException as error:
        if shows:
            traceback.print_exc()
        outcome, text = ("memory" if _lacked_memory(error) else "traceback"), _place(error)
    seconds = time.process_time() - start
    os.chdir(folder)
    return Outcome(kind, number, outcome, seconds, text=text[:2000])


def _lacked_memory(error: BaseException | None) -> bool:
    """Whether the guard on memory is behind an error, however it was turned into a sentence.

    FFmpeg's error of this name is its own limit, which it checks before it allocates.
    """
    while error is not None:
        if (
            isinstance(error, MemoryError) and not type(error).__module__.startswith("av.")
        ) or "can't allocate memory" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _place(error: BaseException) -> str:
    """Kind and message of an exception, and the last lines of hvit it went through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/hvit/" in frame.filename]
    places = [f"{Path(frame.filename).name}:{frame.name}" for frame in frames[-3:]]
    return f"{type(error).__name__} in {' > '.join(places)}: {str(error)[:300]}"


def _memory(which: str) -> int:
    """VmRSS (bytes in memory now) or VmHWM (the most since it was last reset) of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(which):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _serve(
    pipe: Connection, other_end: Connection, cases: dict[str, Any], seed: int, folder: Path, bounds: Bounds
) -> None:
    """The process of the cases: takes (kind, number), gives back an Outcome."""
    other_end.close()  # so that this process ends when the other one has died
    os.setsid()
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)  # libraries in C write there what they think of damaged files
    os.dup2(quiet, 1)
    torch.set_num_threads(1)
    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (used + _GUARD, used + _GUARD))
    before = _memory("VmRSS")
    while True:
        try:
            kind, number = pipe.recv()
        except EOFError:
            return
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        one = run_case(cases[kind], kind, seed, number, folder)
        one.peak, one.kept = (max(0, _memory(which) - before) for which in ("VmHWM", "VmRSS"))
        if one.peak > bounds.memory and not one.is_fault:
            one.outcome, one.text = "memory", f"{one.peak / 2**20:.0f} MB, {one.text}"
        pipe.send(one)


class Worker:
    """A process for cases that is watched, and forked anew when it has died, hung or done enough."""

    def __init__(self, cases: dict[str, Any], seed: int, folder: Path, bounds: Bounds = Bounds()) -> None:
        self.cases, self.seed, self.folder, self.bounds = cases, seed, folder, bounds
        self.process: Any = None

    def start(self) -> None:
        """Forks the process; it has all valid input already."""
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(theirs, self.pipe, self.cases, self.seed, self.folder, self.bounds)
        )
        self.process.start()
        theirs.close()
        self.done = 0

    def run(self, kind: str, number: int) -> Outcome:
        """Runs a case; whatever happens to the process, there is an outcome."""
        if self.process is None:
            self.start()
        waited, used = time.monotonic(), self.seconds()
        self.pipe.send((kind, number))
        self.done += 1
        one: Outcome | None = None
        while not self.pipe.poll(0.5):
            used_now, waited_now = self.seconds() - used, time.monotonic() - waited
            if used_now > self.bounds.seconds or (waited_now > self.bounds.wait and used_now < 1):
                one = Outcome(kind, number, "hang", used_now, text=f"{used_now:.0f} s used, {waited_now:.0f} s waited")
                break
        if one is None:
            try:
                one = self.pipe.recv()
            except (EOFError, ConnectionResetError):
                self.process.join(10)
                code = self.process.exitcode
                one = Outcome(kind, number, "traceback", text=f"the process died with status {code}")
        assert one is not None
        if one.seconds > self.bounds.seconds and not one.is_fault:
            one.outcome, one.text = "hang", f"{one.seconds:.0f} s used; {one.text}"
        if one.is_fault or one.kept > self.bounds.memory / 8 or self.done >= _CASES_OF_A_PROCESS:
            self.stop()
        return one

    def seconds(self) -> float:
        """Processor time of the process so far."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
        except (OSError, IndexError):
            return 0.0

    def stop(self) -> None:
        """Ends the process and whatever it has started."""
        if self.process is None:
            return
        self.pipe.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.join()
        self.process = None


class Faulty:
    """Cases with the faults that are looked for, to see that they are noticed."""

    expected = ("answer", "refusal", "traceback", "traceback", "hang", "hang", "memory", "memory", "message", "message")

    def case(self, draw: random.Random, folder: Path) -> Callable[[], object]:
        """The case whose number is the next of `expected`."""
        return self.cases[self.number]

    def __init__(self) -> None:
        self.number = 0
        self.cases: tuple[Callable[[], object], ...] = (
            lambda: None,
            lambda: _raise(UserError("this file is empty")),
            lambda: _raise(KeyError("classes")),
            lambda: os.kill(os.getpid(), signal.SIGSEGV),
            lambda: [None for _ in iter(int, 1)],
            lambda: time.sleep(3600),
            lambda: bytearray(2**28),
            lambda: bytearray(2**40),
            lambda: _raise(UserError("the class \x1b[2J is unknown")),
            lambda: _raise(UserError("one line\nand another")),
        )


def _raise(error: Exception) -> None:
    raise error


def self_check(folder: Path) -> None:
    """Asserts that every kind of fault is noticed, and that the cases after it go on."""
    cases = Faulty()
    folder.mkdir()
    for number, expected in enumerate(cases.expected):
        cases.number = number
        worker = Worker({"faulty": cases}, 0, folder, Bounds(seconds=0.5, wait=1.0, memory=2**27))
        found = worker.run("faulty", number)
        worker.stop()
        assert found.outcome == expected, f"case {number} of the self-check is {found}, not {expected}"
