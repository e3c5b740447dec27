"""Signals that ask to end: the first is kept, nohup stays nohup, and everything is as before afterwards."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hvit import interrupts
from hvit.interrupts import ENDING, Ended, Interrupts, held_back, raising_ended


@contextmanager
def nothing_changes() -> Iterator[None]:
    before = [signal.getsignal(number) for number in ENDING]
    try:
        yield
    finally:
        assert [signal.getsignal(number) for number in ENDING] == before


@pytest.mark.parametrize("number", [number for number in ENDING if number != signal.SIGINT])
def test_a_command_that_is_ended_says_by_what(number: int) -> None:
    with nothing_changes(), pytest.raises(Ended, match=f"ended by {signal.Signals(number).name}"), raising_ended():
        signal.raise_signal(number)


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_that_comes_while_an_object_is_deleted_is_not_lost(number: int) -> None:
    class Deleted:
        def __del__(self) -> None:
            signal.raise_signal(number)

    def work() -> None:
        Deleted()
        threading.Event().wait(60)

    with nothing_changes(), pytest.raises((Ended, KeyboardInterrupt)), raising_ended():
        work()


@pytest.mark.parametrize("number", ENDING)
def test_the_first_signal_is_kept_and_the_same_wish_again_is_no_second_one(number: int) -> None:
    wish = Interrupts()
    assert not wish
    with nothing_changes(), raising_ended(), wish.kept():
        signal.raise_signal(number)
        signal.raise_signal(number)
        signal.raise_signal(signal.SIGTERM)  # as torchrun passes a Ctrl-C on
    assert wish
    assert wish.received == [number]


def test_a_second_signal_later_has_its_usual_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    clock: Iterator[float]
    monkeypatch.setattr(interrupts.time, "monotonic", lambda: next(clock))

    def raise_often(number: int, count: int) -> None:
        with nothing_changes(), raising_ended(), Interrupts().kept():
            for _ in range(count):
                signal.raise_signal(number)

    clock = iter([0.0, 0.5, 2.0])
    with pytest.raises(Ended):
        raise_often(signal.SIGTERM, 3)
    clock = iter([0.0, 2.0])
    with pytest.raises(KeyboardInterrupt):
        raise_often(signal.SIGINT, 2)


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        wish = Interrupts()
        with nothing_changes(), raising_ended(), wish.kept():
            signal.raise_signal(signal.SIGHUP)
        assert not wish
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signals_that_are_held_back_arrive_afterwards() -> None:
    wish = Interrupts()
    with wish.kept():
        with held_back():
            signal.raise_signal(signal.SIGTERM)
            assert not wish
        assert wish
