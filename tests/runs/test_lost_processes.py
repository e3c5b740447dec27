"""What happens to a run when something it depends on is lost: a data worker, another process, the terminal."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hvit.errors import RESUMABLE

TINY = [
    *("--data.canvas", "8", "--model.input-size", "8", "8", "--model.patch-size", "1", "1"),
    *("--model.dims", "8", "16", "--model.heads", "2", "2", "--model.depths", "1", "1"),
    *("--loop.batch-size", "128", "--loop.epochs", "5000", "--loop.checkpoint-steps", "100000"),
    *("--loop.evaluate-every", "1000", "--loop.device", "cpu"),
]
PATIENCE = 240


def usual_signals() -> None:
    """Where tests run in the background, a shell has made all of them ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def begin(folder: Path, *fields: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "hvit", "train", "nest_micro_digits", *TINY, *fields, "--out", str(folder)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=usual_signals,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def has_learned(folder: Path) -> Callable[[], bool]:
    journal = folder / "journal.jsonl"
    return lambda: journal.exists() and '"train"' in journal.read_text()


def children_of(number: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == number:
            found.append(int(status.parent.name))
    return found


def the_sentence(process: subprocess.Popen[str], status: int) -> str:
    """The last line of stderr of a process that ends with an exit status and no traceback."""
    _, errors = process.communicate(timeout=PATIENCE)
    assert "Traceback" not in errors
    assert "ignored" not in errors
    assert process.returncode == status, errors
    return errors.strip().splitlines()[-1]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="workers are found in /proc")
def test_a_killed_data_worker_ends_a_run_that_has_saved_itself(tmp_path: Path) -> None:
    process = begin(tmp_path / "run", "--loop.workers", "2")
    wait_until(has_learned(tmp_path / "run"))
    os.kill(children_of(process.pid)[0], signal.SIGKILL)
    sentence = the_sentence(process, 2)
    assert "one was killed" in sentence
    assert "continues exactly from step" in sentence
    assert list((tmp_path / "run" / "checkpoints").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(("lost", "number"), [(0, signal.SIGKILL), (1, signal.SIGKILL), (1, signal.SIGSTOP)])
def test_a_lost_process_ends_the_other_in_a_sentence(tmp_path: Path, lost: int, number: int) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    two = [
        begin(
            tmp_path / "run", "--loop.workers", "0", RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2",
            MASTER_ADDR="127.0.0.1", MASTER_PORT=port,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        wait_until(has_learned(tmp_path / "run"))
        os.kill(two[lost].pid, number)
        sentence = the_sentence(two[1 - lost], RESUMABLE)
        assert "of this run is lost, and none goes on without it" in sentence
    finally:
        two[lost].kill()
        two[lost].communicate()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status", "sentence"),
    [
        (signal.SIGINT, 130, "hvit: interrupted\n"), (signal.SIGTERM, RESUMABLE, "hvit: ended by SIGTERM\n"),
        (signal.SIGHUP, RESUMABLE, "hvit: ended by SIGHUP\n"), (signal.SIGQUIT, RESUMABLE, "hvit: ended by SIGQUIT\n"),
        (signal.SIGUSR1, RESUMABLE, "hvit: ended by SIGUSR1\n"),
    ],
)  # fmt: skip
def test_a_signal_before_the_training_ends_the_command_in_one_line(
    tmp_path: Path, number: int, status: int, sentence: str
) -> None:
    process = begin(tmp_path / "run", "--loop.workers", "0")
    # When torch is being loaded, the command has long been listening, and has not begun to train.
    wait_until(lambda: "libtorch" in maps(process.pid))
    os.kill(process.pid, number)
    _, errors = process.communicate(timeout=PATIENCE)
    assert errors == sentence
    # Python ends by the signal itself where Ctrl-C came in the middle of code that was compiled from a string.
    assert process.returncode in (status, -number if number == signal.SIGINT else status)


def maps(number: int) -> str:
    """The files that a process has mapped into its memory, such as compiled modules."""
    try:
        return Path(f"/proc/{number}/maps").read_text()
    except OSError:
        return ""
