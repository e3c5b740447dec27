"""One process at a time trains in a run folder, and a killed one leaves nothing that is in the way."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hvit.errors import UserError
from hvit.training.lock import HOLDER, locked, refuse_if_held

HOLDS = "import sys; from pathlib import Path; from hvit.training.lock import locked\n"
HOLDS += "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"


def hold(folder: Path) -> subprocess.Popen[str]:
    """Another process that holds a folder until it is killed."""
    command = [sys.executable, "-c", HOLDS, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_with_the_process_and_the_host_until_the_first_is_killed(tmp_path: Path) -> None:
    process = hold(tmp_path)
    try:
        words = rf"in use by process {process.pid} on '{socket.gethostname()}'"
        with pytest.raises(UserError, match=words), locked(tmp_path):
            pass
        with pytest.raises(UserError, match=words):
            refuse_if_held(tmp_path)
    finally:
        process.kill()
        process.communicate()
    assert json.loads((tmp_path / HOLDER).read_text())["pid"] == process.pid, "what it wrote is still there"
    refuse_if_held(tmp_path)
    with locked(tmp_path):
        assert json.loads((tmp_path / HOLDER).read_text())["pid"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_a_process_that_was_started_by_a_killed_one_does_not_keep_the_lock(tmp_path: Path) -> None:
    script = "import os, time; from pathlib import Path; from hvit.training.lock import locked\n"
    script += f"with locked(Path({str(tmp_path)!r})):\n  child = os.fork()\n"
    script += "  if child: print(child, flush=True); os.kill(os.getpid(), 9)\n  time.sleep(60)"
    dead = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert dead.stdout is not None
    child = int(dead.stdout.readline())
    dead.wait()
    try:
        with locked(tmp_path):
            pass
    finally:
        os.kill(child, 9)
        dead.stdout.close()


def test_unfinished_files_are_removed_by_who_holds_the_folder(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / ".abc.unfinished").touch()
    with locked(tmp_path):
        assert not list((tmp_path / "checkpoints").iterdir())


def test_a_folder_that_was_made_and_not_written_into_is_gone_again(tmp_path: Path) -> None:
    with locked(tmp_path / "run"):
        pass
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_locked_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "run" / ".lock").mkdir(parents=True)
    for folder in (tmp_path / "file" / "run", tmp_path / "run", tmp_path / ("x" * 10_000)):
        with pytest.raises(UserError, match="cannot be written") as caught, locked(folder):
            pass
        assert len(str(caught.value)) < 1000
