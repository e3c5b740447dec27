"""Features on the command line: of files and of a run, neighbours, and a review that the report shows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hvit.data.feature_table import read_features

Run = Callable[..., tuple[int, str, str]]


def test_features_of_files_and_their_neighbours(
    hvit: Run, colour_run: Path, photo_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "photos.npy"
    status, text, err = hvit(
        "embed", colour_run, photo_folder, "--out", out, "--level", "1", "--device", "cpu", "--json"
    )
    assert status == 0, err
    assert json.loads(text)["images"] == 12
    assert read_features(out).facts["level"] == 1
    asked = photo_folder / "red" / "0.png"
    status, text, err = hvit("neighbours", out, asked, "--num", "2", "--device", "cpu", "--json")
    assert status == 0, err
    (answer,) = map(json.loads, text.splitlines())
    assert len(answer["neighbours"]) == 2
    assert answer["neighbours"][0]["class"] == "red"
    status, text, err = hvit("neighbours", out, out, "--map", tmp_path / "map.png")
    assert (status, text.count("red")) != (0, 0), err
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def reviewed(hvit: Run, colour_run: Path, photo_folder: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A run whose data has an image twice, and the folder of the data."""
    run, data = tmp_path / "run", tmp_path / "photos"
    shutil.copytree(colour_run, run)
    shutil.copytree(photo_folder, data)
    shutil.copy(data / "red" / "1.png", data / "blue" / "copied.png")
    status, text, err = hvit("embed", run, "--root", data, "--device", "cpu")
    assert status == 0, err
    assert "Features of 13 images" in text
    return run, data


@pytest.mark.long
def test_a_review_of_a_run_is_in_its_report(hvit: Run, reviewed: tuple[Path, Path]) -> None:
    run, data = reviewed
    status, text, err = hvit("neighbours", run, "--root", data, "--distance", "0")
    assert status == 0, err
    assert "among 13: 1" in text
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "What is in the data" in page
    assert "copied.png" in page
    status, again, _ = hvit("neighbours", run, "--root", data, "--distance", "0", "--json")
    assert status == 0
    assert [pair["kind"] for pair in json.loads(again)["pairs"]] == ["same file"]


def test_what_cannot_be_embedded_is_one_sentence_and_leaves_nothing(
    hvit: Run, colour_run: Path, photo_folder: Path, tmp_path: Path
) -> None:
    weights = colour_run / "weights.safetensors"
    for given, sentence in (
        (["embed", weights], "no run folder"),
        (["embed", weights, photo_folder, "--out", "x.txt"], "ends in .parquet or .npy"),
        (["embed", weights, photo_folder, "--level", "7"], "--level must be a number from 0"),
        (["embed", weights, photo_folder, "--root", "x"], "--root is for the data of a run"),
        (["neighbours", colour_run], "has no features yet"),
        (["neighbours", colour_run, "--map", "x.jpg"], "--map must name a PNG file"),
        (["neighbours", colour_run, "--distance", "3"], "--distance must be from 0"),
    ):
        status, _, err = hvit(*given)
        assert status == 2
        assert sentence in err
        assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
