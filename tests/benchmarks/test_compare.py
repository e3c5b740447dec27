"""Speed benchmarks take turns in one loop, and a benchmark built on it runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_the_comparison_of_small_models_prints_a_row_for_each(
    load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lineage_speed = load("lineage_speed")
    options = ["path", "--size", "micro", "--inputs", "224", "--rounds", "1", "--batch", "1"]
    monkeypatch.setattr(sys, "argv", ["lineage_speed.py", *options])
    lineage_speed.main()
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows[2:]] == [f"| {step}" for step in lineage_speed.STEPS]


@pytest.mark.parametrize(
    "name", ["speed", "speed_rows", "masked_speed", "masking_ways", "generators", "data_speed", "explanations"]
)
def test_every_speed_benchmark_uses_the_one_loop(name: str) -> None:
    text = (Path(__file__).resolve().parents[2] / "benchmarks" / f"{name}.py").read_text(encoding="utf-8")
    assert "compare import" in text or "import compare" in text
