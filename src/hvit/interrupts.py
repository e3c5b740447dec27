"""Signals that ask a process to end: Ctrl-C, a scheduler's termination, a closed terminal."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# Schedulers announce with SIGUSR1 that a job will soon be ended, such as Slurm with --signal=USR1@120.
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1")
ENDING = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
"""The signals that ask to end; a system may lack some of them."""
_SAME_WISH = 1.0
"""Seconds within which a second signal is the first one again: launchers pass on what a terminal sends to all."""
_AGAIN_AFTER = 0.05

Handler = Callable[[int, FrameType | None], object]
Usual = Handler | int | signal.Handlers | None
"""What Python says handles a signal."""


class Ended(BaseException):
    """A signal asked this process to end. No `Exception`, as KeyboardInterrupt is none."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.number = number


@contextmanager
def raising_ended() -> Iterator[None]:
    """Inside this block termination, hang-up, quit and SIGUSR1 raise `Ended`, as Ctrl-C raises KeyboardInterrupt."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Ended(number)

    with _handling({number: end for number in ENDING if number != signal.SIGINT}), _sent_again():
        yield


@contextmanager
def _sent_again() -> Iterator[None]:
    """Sends a signal again, a moment later, whose exception Python dropped: it does so while it deletes an object."""
    usual = sys.unraisablehook

    def hook(dropped: sys.UnraisableHookArgs) -> None:
        wish = dropped.exc_value
        if not isinstance(wish, Ended | KeyboardInterrupt):
            usual(dropped)
            return
        number = wish.number if isinstance(wish, Ended) else signal.SIGINT
        again = threading.Timer(_AGAIN_AFTER, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = usual


class Interrupts:
    """The wish to stop, kept until there is a good moment for it; true once there is one.

    received: the signals that came first, at most one.
    """

    def __init__(self) -> None:
        self.received: list[int] = []
        self._first_at = 0.0
        self._usual: dict[int, Usual] = {}

    def __bool__(self) -> bool:
        return bool(self.received)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Inside this block the first signal to end is kept. A later one, after a second, has its usual effect."""
        with _handling(dict.fromkeys(ENDING, self._keep)) as self._usual:
            yield

    def _keep(self, number: int, frame: FrameType | None) -> None:
        if not self.received:
            self.received.append(number)
            self._first_at = time.monotonic()
        elif time.monotonic() - self._first_at > _SAME_WISH:
            usual = self._usual.get(number)
            if callable(usual):
                usual(number, frame)
            else:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)


def leave_to_the_main_process() -> None:
    """Makes a process that was started by another ignore what a terminal sends to both of them.

    The other one then ends it, by a termination signal, or by ending itself.
    """
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


@contextmanager
def held_back() -> Iterator[None]:
    """Inside this block signals to end wait; processes that are started in it are born with them waiting."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _handling(handlers: dict[int, Handler]) -> Iterator[dict[int, Usual]]:
    """Handles signals inside the block; yields the handlers before it, which come back after it.

    A signal that is ignored, as `nohup` ignores hang-up, stays so. Only the main thread can handle signals; in others
    nothing changes.
    """
    usual = {number: signal.getsignal(number) for number in handlers}
    chosen = {number: usual[number] for number in handlers if usual[number] not in (signal.SIG_IGN, None)}
    try:
        with held_back():
            for number in chosen:
                signal.signal(number, handlers[number])
    except ValueError:
        yield {}
        return
    try:
        yield chosen
    finally:
        # Python calls a handler some time after the signal: none may be waiting for it when it is taken away.
        with held_back():
            for number, handler in chosen.items():
                signal.signal(number, handler)
