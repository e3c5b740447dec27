"""Claims about the journal: torn lines do no harm, repeated steps count once, and old names of values are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from hvit.training.journal import Journal, parse_row, read_journal


def test_a_line_that_a_kill_has_torn_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('{"kind": "train", "step": 1, "loss": 2.0}\n{"kind": "tra')
    Journal(tmp_path).write("train", 2, loss=1.0)
    assert [row["loss"] for row in read_journal(path)] == [2.0, 1.0]


def test_of_a_step_that_a_resumed_run_repeats_the_later_line_counts(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for step, loss in ((3, 1.0), (2, 2.0), (3, 0.5)):
        journal.write("train", step, loss=loss)
    assert [(row["step"], row["loss"]) for row in read_journal(tmp_path / "journal.jsonl")] == [(2, 2.0), (3, 0.5)]


def test_values_of_earlier_versions_have_their_present_names() -> None:
    row = parse_row(b'{"kind": "evaluate", "step": 1, "explained": 0.5}')
    assert row == {"kind": "evaluate", "step": 1, "explained_variance": 0.5}


@pytest.mark.parametrize(
    "line",
    [
        b"", b"\xff", b"[1]", b'{"step": 1}', b'{"kind": "train"}', b'{"kind": "train", "step": -1}',
        b'{"kind": "train", "step": 1.5}', b'{"kind": "train", "step": true}',
        b'{"kind": "train", "step": 1, "loss": "low"}',
    ],
)  # fmt: skip
def test_what_no_run_writes_is_no_line(line: bytes) -> None:
    assert parse_row(line) is None
