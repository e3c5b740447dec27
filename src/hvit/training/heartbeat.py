"""Signs of life of processes that train together, so that none waits for hours for one that is lost."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Protocol

from hvit.errors import RESUMABLE

BEAT = 3.0
"""Seconds between two signs of life."""
MISSED = 14
"""So many looks in a row without a new sign mean that a process is lost. Looks and not seconds: a process that was
paused, as all of them are on a laptop that sleeps, has looked at nothing."""


class Store(Protocol):
    """What processes share: numbers by name, as in `torch.distributed.Store`."""

    def add(self, key: str, value: int, /) -> int:
        """Adds to a number, which starts at 0, and returns it."""
        ...


class Heartbeat:
    """Shows the others that this process lives, and ends it when one of them is lost.

    The first process watches all others, and all others watch the first. A thread does it, so that evaluations may
    take as long as they like. lost: called with a sentence.
    """

    def __init__(self, store: Store, rank: int, world_size: int, lost: Callable[[str], object]) -> None:
        self.store, self.rank, self.lost = store, rank, lost
        self.watched: dict[int, tuple[int, int]] = dict.fromkeys(range(1, world_size) if rank == 0 else [0], (-1, 0))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begins to beat."""
        self._thread.start()

    def stop(self) -> None:
        """Ends it, before the processes part."""
        self._over.set()
        self._thread.join(2 * BEAT)

    def _run(self) -> None:
        while not self._over.wait(BEAT):
            try:
                sentence = self.beat()
            except RuntimeError:  # the store is with the process that started first, or with its launcher
                sentence = "the process that started this run is lost"
            if sentence and not self._over.is_set():
                self.lost(sentence)
                return

    def beat(self) -> str:
        """One sign of life, and one look at the others. Returns what is wrong, if anything."""
        self.store.add(f"alive/{self.rank}", 1)
        if found := self.store.add("lost", 0):
            return f"process {found - 1} of this run is lost"
        for rank, (count, missed) in self.watched.items():
            now = self.store.add(f"alive/{rank}", 0)
            self.watched[rank] = (now, 0 if now != count else missed + 1)
            if self.watched[rank][1] >= MISSED:
                if self.rank == 0:
                    self.store.add("lost", rank + 1)
                return f"process {rank} of this run is lost"
        return ""


def end_process(sentence: str) -> None:
    """Prints a sentence and ends this process at once, whatever it waits for, with the status of what can go on."""
    print(f"hvit: {sentence}", file=sys.stderr, flush=True)
    os._exit(RESUMABLE)
