"""Claims about what is seen while a run trains: plain lines without a terminal, with the rate of its samples."""

from __future__ import annotations

import pytest

from hvit import progress
from hvit.training.progress import ProgressView


def test_a_line_without_a_terminal_names_step_loss_rate_and_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with ProgressView(10, 70, False, "clips") as view:
        now = 20.0
        assert view.report(30, 1.5, 0.25, 8) == 8
        now = 25.0
        view.report(31, 1.55, 0.2, 8)  # less than ten seconds later: no line
        view.evaluated(2, 0.5, "top1", 0.75)
        view.warn("the generator has collapsed")
        view.warn("")
    assert capsys.readouterr().err.splitlines() == [
        "step 30/70  epoch 1.50  loss 0.250  8 clips/s  0.7 min left",
        "epoch 2: held-out top1 0.7500, loss 0.5000",
        "warning: the generator has collapsed",
    ]


def test_a_silent_view_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressView(0, 1, True) as view:
        view.evaluated(1, 0.5, "top1", 0.75)
    assert capsys.readouterr().err == ""
