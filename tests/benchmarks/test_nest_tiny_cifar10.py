"""The prepared run of NesT-T on CIFAR-10 trains, continues and says that two steps are not 300 epochs."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.long
def test_two_steps_on_a_cpu(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    script = import_module("nest_tiny_cifar10")
    folder = tmp_path / "run"
    options = ["--data-root", str(shared_data / "cifar10"), "--out", str(folder), "--device", "cpu", "--workers", "0"]
    monkeypatch.setattr(sys, "argv", ["nest_tiny_cifar10.py", *options, "--steps", "2", "--images", "1"])
    script.main()
    first = capsys.readouterr().out
    assert "| 96.04 |" in first
    assert "not comparable with the published score" in first
    script.main()
    again = capsys.readouterr().out
    assert again.splitlines()[-2:] == first.splitlines()[-2:], "a finished run is shown, not trained again"
