"""Claims about `hvit benchmark`: a table, JSON and a picture from fresh processes, and sentences for what cannot be."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hvit.benchmark import measure

Hvit = Callable[..., tuple[int, str, str]]


@pytest.mark.long
def test_models_are_measured_next_to_a_peer(hvit: Hvit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "run_apart", lambda *_: 100.0)  # the limit, which takes a process of its own
    monkeypatch.setattr(os, "getloadavg", lambda: (99.0, 0.0, 0.0))
    options = ["--batch", "2", "--seconds", "0.01", "--threads", "1", "--device", "cpu"]
    status, output, errors = hvit(
        "benchmark", "nest_micro_32", "--against", "timm", *options, "--json", "speed.json", "--picture", "speed.png"
    )
    assert status == 0, errors
    assert errors.startswith("warning: the load average is 99.0 on ")
    assert output.startswith("nest_micro_32 (3x32x32): ")
    assert "timm" in output
    (result,) = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))
    ours, timm = result["implementations"]
    assert ours["per_second"] > 0
    assert 0 <= timm["difference"] < 1e-4
    assert timm["latency"]["p50"] <= timm["latency"]["p99"]
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing.safetensors"], "there is no file or folder nothing.safetensors"),
        (["nest_micro_32", "--against", "tim"], "--against 'tim' is not known; did you mean 'timm'"),
        (["nest_micro_32", "--batch", "0"], "--batch must be 1 or more"),
        (["nest_micro_32", "--threads", "100000"], ", the cores of this machine; got 100000"),
        (["nest_micro_32", "--batch", "1000000000000"], "GB: give a smaller --batch"),
        (["nest_micro_32", "--seconds", "0"], "--seconds must be above 0"),
        (["nest_micro_32", "--against", "transformers"], "transformers has no nest_micro_32"),
    ],
)
def test_what_cannot_be_measured_is_a_sentence(hvit: Hvit, arguments: list[str], says: str) -> None:
    status, _, errors = hvit("benchmark", *arguments, "--device", "cpu")
    assert (status, says in errors) == (2, True)
    assert errors.count("\n") <= 2
