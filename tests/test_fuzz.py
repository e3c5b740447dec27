"""Damaged and hostile input gets an answer or one sentence: the first cases of the campaign, and what is said of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hvit

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "benchmarks" / "fuzz.py"


@pytest.mark.skipif(sys.platform != "linux", reason="bounds of time and memory are asked of Linux")
@pytest.mark.parametrize(
    ("cases", "options"),
    [(16, ["--kinds", "safetensors"]), pytest.param(160, ["--self-check"], marks=pytest.mark.slow)],
)
@pytest.mark.long
def test_the_first_cases_have_no_fault_and_faults_are_noticed(cases: int, options: list[str], tmp_path: Path) -> None:
    faults = tmp_path / "faults.jsonl"
    run = subprocess.run(
        [sys.executable, SCRIPT, *options, "--cases", str(cases), "--out", faults],
        capture_output=True, text=True, timeout=600, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(hvit.__file__).parents[1])},
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr[-2000:]
    assert ("faults of every kind are noticed" in run.stdout) == ("--self-check" in options)
    assert not faults.exists()
    assert re.search(rf"\| {cases} \|", run.stdout)


def test_what_the_page_on_security_names_exists() -> None:
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert len(page.splitlines()) < 120
    links = re.findall(r"\]\(([^)\s]+)\)", page)
    assert [link for link in links if not (ROOT / link).exists()] == []
    assert sum(link.startswith("tests/") for link in links) >= 8
    script = SCRIPT.read_text(encoding="utf-8")
    commands = re.findall(r"^python benchmarks/fuzz\.py (.*)$", page, re.MULTILINE)
    options = {word for command in commands for word in command.split() if word.startswith("--")}
    assert len(options) >= 6
    assert [option for option in options if f'"{option}"' not in script] == []
    for other in ("README.md", "CONTRIBUTING.md"):
        assert "](SECURITY.md)" in (ROOT / other).read_text(encoding="utf-8")
