"""Event files have every number of the journal at its step and time, and replace older ones."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hvit.errors import UserError
from hvit.report.tensorboard import write_events
from tests.report.runs import ROWS, make_run, row


def test_every_number_of_the_journal_is_a_scalar_at_its_step(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = make_run(tmp_path / "run", rows=[row("start", 0, time=1000.0), *ROWS[1:]])
    write_events(run)
    folder = write_events(run)
    assert len(list(folder.glob("events.out.tfevents.*"))) == 1
    events = EventAccumulator(str(folder))
    events.Reload()
    assert [(one.step, one.value) for one in events.Scalars("evaluate/top1")] == [
        (50, pytest.approx(0.8)),
        (100, pytest.approx(0.75)),
    ]
    assert events.Scalars("train/loss")[0].wall_time == 1040.0
    assert {"train/learning_rate", "evaluate/loss", "finish/seconds"} <= set(events.Tags()["scalars"])
    assert "start/time" not in events.Tags()["scalars"]


def test_without_tensorboard_one_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"pip install 'hvit\[tensorboard\]'"):
        write_events(make_run(tmp_path / "run"))
