"""Comparing runs on the command line: tables, JSON, pictures; and the lines of the guide for trackers."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.report.runs import RECIPE, make_run

Run = Callable[..., tuple[int, str, str]]
GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "monitoring.md"


def test_runs_are_compared_in_tables_and_as_json(hvit: Run, tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "one"), make_run(tmp_path / "two", recipe=RECIPE | {"seed": 7})]
    status, text, err = hvit("compare", *runs, "--picture", "page.html")
    assert status == 0, err
    assert all(word in text for word in ("one", "two", "75.0 %", "seed", "page.html"))
    assert (tmp_path / "page.html").is_file()
    status, text, _ = hvit("compare", *runs, "--json")
    first, _, last = map(json.loads, text.splitlines())
    assert (first["run"], first["top1"]) == ("one", 0.75)
    assert last == {"runs": ["one", "two"], "settings": {"seed": ["42", "7"]}}
    status, _, err = hvit("compare", runs[0])
    assert (status, len(err.splitlines())) == (2, 1)


class Tracker(ModuleType):
    """A tracker that keeps what it is given."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.started: dict[str, Any] = {}

    def log(self, values: dict[str, float], step: int) -> None:
        self.logged.append((step, values))

    log_metrics = log

    def init(self, **facts: Any) -> Any:
        self.started = facts
        return self

    def start_run(self, **facts: Any) -> Any:
        return self.init(**facts)

    def finish(self) -> None:
        pass

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_the_lines_of_the_guide_send_a_journal_to_every_tracker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "runs" / "demo")
    monkeypatch.chdir(tmp_path)
    trackers = {name: Tracker(name) for name in ("wandb", "trackio", "mlflow")}
    for name, tracker in trackers.items():
        monkeypatch.setitem(sys.modules, name, tracker)
    code = re.findall(r"^```py\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {}
    for block in code:
        exec(compile(block, str(GUIDE), "exec"), names)
    for tracker in trackers.values():
        logged = SimpleNamespace(steps=[step for step, _ in tracker.logged], values=dict(tracker.logged))
        assert logged.steps == sorted(logged.steps)
        assert any(values.get("evaluate/top1") == 0.75 for _, values in tracker.logged)
    assert trackers["wandb"].started["config"]["name"] == "nest_micro_digits"
