"""Commands of hvit in processes of their own, forked in a moment from a server that has loaded hvit once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from hvit.interrupts import ENDING

PATIENCE = 240.0
"""Seconds until a test gives up waiting."""
_CONTEXT = multiprocessing.get_context("forkserver")
# What a run imports; the server has threads of none of it.
_CONTEXT.set_forkserver_preload(
    ["tests.processes", "hvit.cli.main", "hvit.verbs.train", "matplotlib.pyplot", "sklearn.datasets"]
)


class Command:
    """`hvit ARGUMENTS` in a process of one thread that leads its own group, as a shell starts it.

    folder: an existing one, for what it prints. environment: variables that it has in addition.
    """

    def __init__(self, folder: Path, *arguments: str | Path, **environment: str) -> None:
        self.out, self.errors = (folder / f"{name}_{time.monotonic_ns()}.txt" for name in ("out", "errors"))
        texts = tuple(map(str, arguments))
        self.process = _CONTEXT.Process(target=_run, args=(texts, environment, self.out, self.errors))
        self.process.start()

    def wait(self) -> int:
        """Its exit status, when it has ended; negative where a signal ended it."""
        self.process.join(PATIENCE)
        assert self.process.exitcode is not None, f"still at work: {self.errors.read_text()}"
        return self.process.exitcode

    def send(self, number: int) -> None:
        """Sends a signal to it and to all processes that it has started, as a terminal does."""
        assert self.process.pid is not None
        os.killpg(self.process.pid, number)

    def end(self) -> None:
        """Ends it and what it has started, if it is still at work."""
        if self.process.is_alive():
            with suppress(ProcessLookupError):
                self.send(signal.SIGKILL)
        self.process.join(PATIENCE)


def wait_until(holds: Callable[[], object]) -> None:
    """Waits until something is the case."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def places(count: int) -> list[dict[str, str]]:
    """The variables by which so many processes find each other, as torchrun sets them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    everywhere = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [{**everywhere, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


def in_processes(count: int, work: Callable[..., object], *arguments: object) -> None:
    """Calls a function of a module in so many processes that find each other; all have to end well."""
    all_of_them = [_CONTEXT.Process(target=_call, args=(place, work, arguments)) for place in places(count)]
    for one in all_of_them:
        one.start()
    for one in all_of_them:
        one.join(PATIENCE)
    try:
        assert [one.exitcode for one in all_of_them] == [0] * count
    finally:
        for one in all_of_them:
            one.kill()


def _call(environment: dict[str, str], work: Callable[..., object], arguments: tuple[object, ...]) -> None:
    import torch

    os.environ.update(environment)
    torch.set_num_threads(1)
    work(*arguments)


def _run(arguments: tuple[str, ...], environment: dict[str, str], out: Path, errors: Path) -> None:
    import torch

    from hvit.cli import printing
    from hvit.cli.main import main

    os.setsid()
    for number in ENDING:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.environ.update(environment)
    for console in (printing.out, printing.notes):  # which were made when the server had no rank
        console.quiet = environment.get("RANK", "0") != "0"
    for number, path in ((1, out), (2, errors)):
        with path.open("wb") as file:
            os.dup2(file.fileno(), number)
    torch.set_num_threads(1)
    sys.argv = ["hvit", *arguments]
    main()
