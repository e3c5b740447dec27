"""Checkpoints survive kills, damage and full disks."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from hvit import files
from hvit.errors import UserError
from hvit.training.checkpoint import newest_checkpoint, save_checkpoint
from hvit.training.journal import Journal, read_journal


def save(folder: Path, step: int) -> Path:
    return save_checkpoint(folder, step, {"step": step, "tensor": torch.full((100,), float(step))})


def test_the_newest_checkpoint_comes_back_and_two_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 30):
        save(tmp_path, step)
    state, damaged = newest_checkpoint(tmp_path)
    assert state is not None
    assert state["step"] == 30
    assert state["tensor"].tolist() == [30.0] * 100
    assert not damaged
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


@pytest.mark.parametrize("harm", ["truncated", "flipped", "empty"])
def test_a_damaged_checkpoint_is_passed_over_for_an_older_one(tmp_path: Path, harm: str) -> None:
    save(tmp_path, 1)
    path = save(tmp_path, 2)
    content = bytearray(path.read_bytes())
    if harm == "flipped":
        content[len(content) // 2] ^= 1
    path.write_bytes({"truncated": content[:-7], "flipped": content, "empty": b""}[harm])
    state, damaged = newest_checkpoint(tmp_path)
    assert state is not None
    assert state["step"] == 1
    assert damaged == [path]
    path.write_bytes(b"")
    (tmp_path / "checkpoints" / "step_000000001.checkpoint").write_bytes(b"x")
    with pytest.raises(UserError, match="every checkpoint"):
        newest_checkpoint(tmp_path)


def test_a_full_disk_loses_nothing_that_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(UserError, match=r"No space left on device.*intact"):
        save(tmp_path, 2)
    state, damaged = newest_checkpoint(tmp_path)
    assert state is not None
    assert state["step"] == 1
    assert not damaged
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_000000001.checkpoint"]


def test_a_run_without_checkpoints_has_none(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) == (None, [])


def test_a_journal_torn_by_a_kill_is_continued_on_a_new_line(tmp_path: Path) -> None:
    Journal(tmp_path).write("train", 1, loss=2.0)
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write('{"kind": "train", "st')
    journal = Journal(tmp_path)
    journal.write("train", 1, loss=1.0)
    journal.write("train", 2, loss=0.5)
    assert [(row["step"], row["loss"]) for row in read_journal(journal.path)] == [(1, 1.0), (2, 0.5)]
