"""What the command line shows fits the columns there are, and something is on the screen while a command loads."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hvit.cli import printing
from hvit.cli.printing import print_scores
from hvit.recipes import list_recipes

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("columns", ["80", "100", "120"])
@pytest.mark.parametrize("verb", ["models", "recipes", "help"])
def test_tables_in_a_pipe_obey_columns(hvit: Run, verb: str, columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    status, out, _ = hvit(verb)
    assert status == 0
    assert max(map(len, out.splitlines())) <= int(columns)


@pytest.mark.parametrize("columns", ["80", "160"])
def test_no_name_is_cut_or_wrapped(hvit: Run, columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from hvit.models import counts

    monkeypatch.setenv("COLUMNS", columns)
    for verb, names in (("models", list(counts.stored())), ("recipes", list_recipes())):
        words = hvit(verb)[1].replace("│", " ").split()
        assert set(names) <= set(words)


@pytest.mark.parametrize("columns", ["", "0", "-3", "many", "9" * 5000, "²"])
def test_nonsense_in_columns_is_no_width(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert printing.table_width() == 160


def test_one_recipe_is_shown_in_full(hvit: Run) -> None:
    _, out, _ = hvit("recipes", "nest_micro_digits")
    keys = [line[:10].strip() for line in out.splitlines()]
    for key in ("recipe", "summary", "claim", "command", "cost", "expected", "source", "run here"):
        assert key in keys
    assert "1.5 to 2 minutes on 2 CPU cores" in out


def scores(classes: int, **more: Any) -> dict[str, Any]:
    numbers = {"top1": 0.5, "top5": 1.0, "loss": 1.0, "calibration_error": 0.1, "count": 4}
    return {**numbers, "classes": list(map(str, range(classes))), **more}


@pytest.mark.parametrize(("classes", "named"), [(2, False), (5, False), (6, True), (10, True)])
def test_top_5_is_named_from_six_classes_on(classes: int, named: bool, capsys: pytest.CaptureFixture[str]) -> None:
    print_scores(scores(classes))
    out = capsys.readouterr().out
    assert "4 held-out images: top-1 50.0 %" in out
    assert ("top-5 100.0 %" in out) == named
    print_scores(scores(classes, evaluated_on="test"))
    assert "4 test images: top-1" in capsys.readouterr().out


def test_clips_are_called_clips(capsys: pytest.CaptureFixture[str]) -> None:
    print_scores(scores(2, sample_kind="clips"))
    print_scores({"explained_variance": 0.5, "loss": 1.0, "count": 4, "sample_kind": "clips"})
    out = capsys.readouterr().out
    assert out.count("4 held-out clips: ") == 2
    assert "image" not in out


def test_a_plan_is_printed_in_plain_words(capsys: pytest.CaptureFixture[str]) -> None:
    printing.print_plan({"against": "a network", "judged by": "pixels", "run folder": "a\nb\x1b", "notes": "one\ntwo"})
    assert capsys.readouterr().err.splitlines() == [
        "discriminator   a network",
        "evaluated with  pixels",
        r"run folder      a\nb\x1b",
        "notes           one",
        "                two",
    ]


def test_a_terminal_says_at_once_what_it_waits_for_and_then_forgets_it() -> None:
    code = """
import sys, os
from hvit.cli.main import VERBS, main
from hvit.cli.printing import say
def slow(rest):
    assert "torch" not in sys.modules
    say("done")
VERBS["report"] = slow
main(["report", "x"])
"""
    main, side = pty.openpty()
    done = subprocess.run([sys.executable, "-c", code], stderr=side, stdout=subprocess.PIPE, timeout=120, check=True)
    os.close(side)
    shown = os.read(main, 1000).decode()
    os.close(main)
    assert shown.startswith("hvit report: loading ...")
    assert shown.endswith("\r\x1b[2K")
    assert done.stdout == b"done\n"


def test_a_pipe_is_not_told_what_is_waited_for(hvit: Run) -> None:
    assert hvit("recipes", "nest_micro_digits")[2] == ""


@pytest.mark.parametrize(
    ("quarters", "says"),
    [
        (
            [[2.14, 0.25], [2.44, 2.55]],
            "no block stands out: the quarters of the image add +2.14, +0.25, +2.44, +2.55",
        ),
        ([[-1.0, 0.0], [-2.0, -0.1]], "no block stands out: no quarter of the image is evidence for it"),
    ],
)
def test_where_no_block_stands_out_it_is_said_why(
    quarters: list[list[float]], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = {"clear_path": [], "values": [quarters], "class": "church", "probability": 1.0}
    printing.print_explanation({"file": "a.png", "trees": [tree], "pictures": []}, False)
    assert f"a.png: church 100.0 %: {says}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("scores", "following"),
    [
        ({"top1": 1.0}, "hvit predict 'my run' FILES, or hvit explain 'my run' FILE"),
        ({"distance": 1.0}, "hvit generate 'my run'"),
        ({"explained_variance": 0.5}, "hvit train RECIPE --weights 'my run'"),
    ],
)
def test_a_finished_run_says_what_comes_next(
    scores: dict[str, float], following: str, capsys: pytest.CaptureFixture[str]
) -> None:
    printing.print_report(Path("my run"), scores)
    assert capsys.readouterr().out.endswith(f"Next: {following}\n")
