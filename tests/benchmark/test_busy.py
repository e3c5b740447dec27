"""Claims about what a machine is doing."""

from __future__ import annotations

import os

import pytest

from hvit.benchmark.busy import busy_seconds, disturbance, forget_peak, memory_now


def test_memory_and_busy_seconds_are_positive_where_the_system_says_them() -> None:
    assert busy_seconds() >= 0
    now, most = memory_now(), memory_now("VmHWM")
    assert now is None or most is None or 0 < now <= most


def test_a_peak_is_that_of_what_follows() -> None:
    if memory_now() is None:
        pytest.skip("this system does not say")
    held = bytearray(b"x") * (96 * 2**20)
    most = memory_now("VmHWM")
    del held
    forget_peak()
    after = memory_now("VmHWM")
    assert most is not None
    assert after is not None
    assert after < most - 80


def test_a_busy_machine_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.1, 0.0, 0.0))
    assert disturbance() is None
    monkeypatch.setattr(os, "getloadavg", lambda: (5.25, 0.0, 0.0))
    assert str(disturbance()).startswith("the load average is 5.2 on 2 cores: other programs")
