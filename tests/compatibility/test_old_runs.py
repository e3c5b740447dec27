"""Run folders of version 0.1 (see `write_fixture.py`) are scored, explained and resumed as that version did."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from hvit.models.masked.model import present_name
from hvit.report import write_report
from hvit.run_names import OLD_KEYS

KINDS = ("classification", "pretraining", "generation")
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def old(fixtures: Path, tmp_path: Path) -> Path:
    """A copy of the old folders that may be written into."""
    return Path(shutil.copytree(fixtures / "runs_0_1", tmp_path / "old"))


def close(now: Any, then: Any) -> None:
    """Equal, but for rounding; what is new in an answer is not looked at."""
    if isinstance(then, dict):
        for name, value in then.items():
            close(now[OLD_KEYS.get(name, name)], value)
    elif isinstance(then, list):
        assert len(now) == len(then)
        for one, other in zip(now, then, strict=True):
            close(one, other)
    elif isinstance(then, float):
        assert now == pytest.approx(then, rel=1e-3, abs=1e-4)
    else:
        assert now == then


@pytest.mark.parametrize("kind", KINDS)
def test_an_old_run_is_scored_as_then(kind: str, old: Path, hvit: Call) -> None:
    expected = json.loads((old / "expected.json").read_text())[kind]
    status, out, complaint = hvit("evaluate", old / kind, "--json", "--device", "cpu")
    assert status == 0, complaint
    close(json.loads(out), expected["evaluate"])


def test_an_old_classifier_predicts_and_explains_as_then(old: Path, hvit: Call) -> None:
    expected = json.loads((old / "expected.json").read_text())["classification"]
    arguments = (old / "classification", old / "image.png", "--json", "--device", "cpu")
    status, out, complaint = hvit("predict", *arguments)
    assert status == 0, complaint
    close(json.loads(out)["classes"], expected["predict"]["classes"])
    status, out, complaint = hvit("explain", *arguments, "--out", old / "explained")
    assert status == 0, complaint
    trees = json.loads(out)["trees"]
    assert [tree["class"] for tree in trees] == [tree["class"] for tree in expected["explain"]]
    close([tree["logit"] for tree in trees], [tree["logit"] for tree in expected["explain"]])


@pytest.mark.parametrize("kind", [KINDS[0], *(pytest.param(kind, marks=pytest.mark.long) for kind in KINDS[1:])])
def test_an_old_run_is_resumed_to_the_same_weights(kind: str, old: Path, hvit: Call) -> None:
    folder = old / f"{kind}_interrupted"
    status, _, complaint = hvit("resume", folder)
    assert status == 0, complaint
    then, now = (load_file(place / "weights.safetensors") for place in (old / kind, folder))
    if kind == "pretraining":
        then = {present_name(name): tensor for name, tensor in then.items()}
    assert then.keys() == now.keys()
    assert all((then[name] - now[name]).abs().max() < 1e-4 for name in then)
    assert (folder / "report.html").stat().st_size > 5_000


def test_the_report_of_an_old_run_shows_values_that_have_another_name_now(old: Path) -> None:
    """The journal and the scores of version 0.1 say "explained"."""
    folder = old / "pretraining"
    assert '"explained":' in (folder / "journal.jsonl").read_text()
    page = write_report(folder).read_text(encoding="utf-8")
    assert "-20.<wbr>7\N{NO-BREAK SPACE}%" in page, "the tile, from the scores"
    assert "Explained variance of masked patches" in page, "the curve, from the journal"
    (folder / "scores.json").unlink()
    assert "-20.<wbr>7\N{NO-BREAK SPACE}%" in write_report(folder).read_text(encoding="utf-8"), (
        "the tile, from the journal"
    )
