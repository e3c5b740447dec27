"""The program as a process: what it loads, and how it ends."""

from __future__ import annotations

import builtins
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hvit.__main__ import main
from hvit.errors import RESUMABLE
from hvit.interrupts import Ended


def test_a_reader_that_goes_away_is_no_error() -> None:
    script = f"{sys.executable} -m hvit models --json | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", script], capture_output=True, text=True, timeout=600)
    assert json.loads(done.stdout)["name"] == "nest_tiny_224"
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        ("--help > /dev/full", 2, "hvit: the system says: No space left on device"),
        ("models > /dev/full", 2, "hvit: the system says: No space left on device"),
        ("models | head -1 > /dev/null", 0, ""),
    ],
)
def test_output_that_cannot_be_written_is_one_line_and_a_closed_pipe_none(words: str, status: int, line: str) -> None:
    script = f"{sys.executable} -m hvit {words}"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", script], capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stderr.strip()) == (status, line)


def test_help_answers_without_loading_torch() -> None:
    code = "import sys; from hvit import cli; cli.main(['--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=600).returncode == 0


@pytest.mark.parametrize(
    ("wish", "status", "line"),
    [(KeyboardInterrupt(), 130, "hvit: interrupted"), (Ended(signal.SIGHUP), RESUMABLE, "hvit: ended by SIGHUP")],
)
def test_an_interrupt_while_loading_is_one_line(
    wish: BaseException, status: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = builtins.__import__

    def interrupted(name: str, *rest: Any, **more: Any) -> Any:
        if name == "hvit.cli.main":
            raise wish
        return usual(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", interrupted)
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == status
    assert capsys.readouterr().err.startswith(line)
