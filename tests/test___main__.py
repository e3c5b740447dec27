"""The program as a process: what it loads, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys


def test_a_reader_that_goes_away_is_no_error() -> None:
    script = f"{sys.executable} -m hvit models --json | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", script], capture_output=True, text=True, timeout=600)
    assert json.loads(done.stdout)["name"] == "nest_tiny_224"
    assert "Traceback" not in done.stderr


def test_help_answers_without_loading_torch() -> None:
    code = "import sys; from hvit import cli; cli.main(['--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=600).returncode == 0
