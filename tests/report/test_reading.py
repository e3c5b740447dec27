"""Of a run folder everything readable is shown, and what is damaged is named."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path

import pytest

from hvit.errors import UserError
from hvit.report import write_report
from tests.report.runs import (
    ROWS,
    SCORES,
    Page,
    make_run,
    row,
)


def test_a_torn_last_line_is_normal_and_a_torn_middle_line_is_mentioned(tmp_path: Path):
    run = make_run(tmp_path / "run")
    with (run / "journal.jsonl").open("a") as file:
        file.write('{"kind": "tra')
    assert "Skipped" not in Page(run).text
    with (run / "journal.jsonl").open("a") as file:
        file.write("\n" + json.dumps(ROWS[-1]) + "\n")
    assert "Skipped: 1 line of journal.jsonl that cannot be read (line 7)." in Page(run).text


def test_values_that_are_not_finite_leave_the_report_readable(tmp_path: Path):
    broken = [
        row("train", 60, epoch=2.4, loss=math.nan, learning_rate=None, seconds="long"),
        row("evaluate", 60, epoch=2.4, loss=math.inf, top1=math.nan),
    ]
    page = Page(make_run(tmp_path / "run", rows=[*ROWS[:3], *broken], scores=None))
    assert "Held-out accuracy 80.0 % at step 50" in page.text
    assert "nan" not in page.text


def test_files_that_are_no_pictures_are_left_out_and_named(tmp_path: Path):
    run = make_run(tmp_path / "run")
    (run / "pictures" / "explain_empty.png").touch()
    (run / "pictures" / "folder.png").mkdir()
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"\x89PNG\r\n\x1a\n")
    (run / "pictures" / "link.png").symlink_to(secret)
    page = Page(run)
    assert "Skipped, because they are no PNG pictures: explain_empty.png, folder.png, link.png." in page.text
    assert len(page.images()) == 4


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("recipe.json", "{", "recipe.json is damaged"),
        ("recipe.json", "[1, 2]", "must hold a JSON object, not list"),
        ("recipe.json", "[" * 100_000, "recipe.json is damaged"),
        ("recipe.json", "\udcff", "recipe.json is damaged"),
        ("environment.json", "", "environment.json is damaged"),
        ("journal.jsonl", "PK\x03\x04\nnot\na journal\n", "none of its 3 lines can be read"),
        ("scores.json", "not JSON", "scores.json is damaged"),
        ("scores.json", json.dumps(SCORES | {"top1": "high"}), "scores.json is damaged: top1"),
        ("scores.json", json.dumps(SCORES | {"top1": float("nan")}), "scores.json is damaged: top1"),
        ("scores.json", json.dumps(SCORES | {"count": 0}), "scores.json is damaged: count"),
        ("scores.json", json.dumps(SCORES | {"labels": [0, 1]}), "do not fit together"),
        ("scores.json", json.dumps(SCORES | {"labels": [0, 0, 1, 3]}), "do not fit together"),
    ],
)
def test_a_damaged_file_is_named_and_nothing_is_written(tmp_path: Path, name: str, content: str, sentence: str):
    run = make_run(tmp_path / "run")
    (run / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=re.escape(sentence)) as caught:
        write_report(run)
    assert "\n" not in str(caught.value)
    assert not (run / "report.html").exists()


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"it has no recipe\.json"):
        write_report(tmp_path)
    with pytest.raises(UserError, match="there is no folder"):
        write_report(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is a file: give the folder of a run"):
        write_report(tmp_path / "file")


@pytest.mark.parametrize("name", ["recipe.json", "environment.json", "journal.jsonl", "scores.json"])
@pytest.mark.parametrize("kind", ["fifo", "folder", "dangling", "device"])
def test_what_is_no_file_is_refused_at_once(name: str, kind: str, tmp_path: Path):
    run = make_run(tmp_path / "run")
    (run / name).unlink()
    make = {
        "fifo": lambda path: os.mkfifo(path),
        "folder": lambda path: path.mkdir(),
        "dangling": lambda path: path.symlink_to("nowhere"),
        "device": lambda path: path.symlink_to("/dev/zero"),
    }
    make[kind](run / name)
    with pytest.raises(UserError, match=f"{name} is not a regular file"):
        write_report(run)


def test_a_picture_that_is_no_file_is_left_out(tmp_path: Path):
    run = make_run(tmp_path / "run")
    os.mkfifo(run / "pictures" / "waits.png")
    assert "no PNG pictures: waits.png" in Page(run).text
