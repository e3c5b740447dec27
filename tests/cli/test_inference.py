"""Predicting and evaluating on the command line: answers, and questions that have none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]


def test_predict_names_the_classes_of_files_and_folders(hvit: Run, colour_run: Path, photo_folder: Path) -> None:
    status, out, _ = hvit("predict", colour_run, photo_folder, "--json")
    answers = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert len(answers) == 12
    assert {one["class"] for one in answers[0]["classes"]} == {"red", "blue"}
    assert sum(one["probability"] for one in answers[0]["classes"]) == pytest.approx(1, abs=1e-4)
    status, out, _ = hvit("predict", colour_run / "weights.safetensors", photo_folder / "red" / "0.png", "--top-k", "1")
    assert status == 0
    assert "0.png: " in out


def test_evaluate_prints_a_row_for_every_class(hvit: Run, colour_run: Path, photo_folder: Path) -> None:
    status, out, _ = hvit("evaluate", colour_run)
    assert status == 0
    assert "red" in out
    assert "blue" in out
    for line in out.splitlines():
        if line.startswith(("│ red", "│ blue")):
            assert all(cell.strip() for cell in line.strip("│").split("│")), "every column of the table is filled"
    status, out, _ = hvit("evaluate", colour_run / "weights.safetensors", "--root", photo_folder, "--json")
    assert status == 0
    assert {row["name"] for row in json.loads(out)["per_class"]} == {"red", "blue"}


def test_official_flax_weights_predict_without_naming_the_model(hvit: Run, fixtures: Path, photo_folder: Path) -> None:
    weights = fixtures / "nest_flax_fixture" / "imagenet_like" / "ckpt-1.flax"
    status, out, err = hvit("predict", weights, photo_folder / "red" / "0.png", "--top-k", "2")
    assert status == 0, err
    assert "class " in out


def test_wrong_questions_to_good_weights_are_refused(hvit: Run, colour_run: Path, photo_folder: Path) -> None:
    picture = photo_folder / "red" / "0.png"
    for arguments, sentence in (
        (["explain", colour_run, picture, "--classes", "green"], "no class 'green'"),
        (["explain", colour_run, picture, "--top-k", "9"], "four classes at most"),
        (["predict", colour_run, picture, "--top-k", "0"], "--top-k must be 1 or more"),
        (["evaluate", colour_run, "--data", "digits"], "has 2 classes"),
        (["predict", photo_folder, picture], "weights"),
    ):
        status, _, err = hvit(*arguments)
        assert status == 2, arguments
        assert sentence in err


def test_weights_that_are_no_weights_are_refused(hvit: Run, tmp_path: Path, photo_folder: Path) -> None:
    picture = photo_folder / "red" / "0.png"
    for name, content in (("empty.pth", b""), ("text.safetensors", b"hello, I am text"), ("zeros.flax", bytes(100))):
        (tmp_path / name).write_bytes(content)
        status, _, err = hvit("predict", tmp_path / name, picture)
        assert status == 2
        assert name in err


def test_large_images_are_predicted_in_tiles(hvit: Run, colour_run: Path, photo_folder: Path, tmp_path: Path) -> None:
    file = photo_folder / "red" / "0.png"
    given = ("predict", colour_run, file, "--device", "cpu")
    status, text, err = hvit(*given, "--tiles", "24", "--overlap", "4", "--json", "--csv", "out.csv")
    assert status == 0, err
    answer = json.loads(text)
    assert len(answer["tiles"]) == 6
    assert (tmp_path / "out.csv").read_text().splitlines()[0].startswith("file,class_1,probability_1")
    for wrong in (("--overlap", "4"), ("--tiles", "24", "--overlap", "24"), ("--tiles", "0")):
        status, _, err = hvit(*given, *wrong)
        assert (status, len(err.splitlines())) == (2, 1)
        assert "--tiles" in err
