"""Runs of all three tasks that are killed at random moments end as if nobody had disturbed them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "kills.py"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the script forks")
def test_killed_runs_end_as_undisturbed_ones() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "24"], capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "24 kills in " in done.stdout
    assert " 0 with differences, " in done.stdout
