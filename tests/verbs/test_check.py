"""Claims about `hvit explain --check`: a table, a sentence, JSON, and refusals in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import hvit
from hvit.cli.main import main
from hvit.models.weights.save import save_weights
from hvit.run_names import EXPLANATION_CHECK, REPORT, WEIGHTS
from tests.report.runs import make_run

COUNT = 10


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_weights(hvit.create_model("nest_micro_32", num_classes=3), tmp_path / "w.safetensors", classes=("a", "b", "c"))
    return tmp_path / "w.safetensors"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Images of 48 x 40 pixels, a broken one, and masks of the left half."""
    random = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for number in range(COUNT):
        picture = random.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / "images" / f"{number}.png")
        mask = np.zeros((40, 48), np.uint8)
        mask[:, :24] = 255
        Image.fromarray(mask).save(tmp_path / "masks" / f"{number}.png")
    return tmp_path / "images"


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    try:
        main([str(argument) for argument in arguments])
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.long
def test_json_has_every_measure_with_its_interval_and_rule(
    weights: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("explain", weights, images, "--check", COUNT, "--methods", "gradcat", "cam", "--json")
    status, out, _ = run(capsys, *words, "--places", images.parent / "masks")
    assert status == 0
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["method"] for answer in answers] == ["gradcat", "cam"]
    for answer in answers:
        names = [one["name"] for one in answer["measures"]]
        assert names == ["deletion", "insertion", "random weights", "pointing"]
        assert answer["images"] == COUNT
        assert answer["trusted"] == all(one["passes"] for one in answer["measures"])
        assert answer["verdict"].startswith(f"{answer['method']} can")
        for one in answer["measures"]:
            low, high = one["interval"]
            assert low <= one["value"] <= high
        # The mask goes the way of its image: the left half of what the model sees.
        assert answer["measures"][-1]["compared_with"] == pytest.approx(0.5, abs=0.04)
        assert 0 < answer["probability_before"] < 1
    assert run(capsys, *words, "--places", images.parent / "masks")[1] == out


def test_gradcat_is_checked_with_the_gradients_asked_for(
    weights: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("explain", weights, images, "--check", COUNT, "--methods", "gradcat", "--gradient", "libra", "--json")
    answer = json.loads(run(capsys, *words)[1])
    assert answer["method"] == "gradcat_libra"
    assert answer["verdict"].startswith("gradcat_libra can")


@pytest.mark.long
def test_a_check_of_a_run_is_kept_and_its_report_shows_it(
    weights: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_folder = make_run(images.parent / "run")
    weights.rename(run_folder / WEIGHTS)
    words = ("explain", run_folder, images, "--check", COUNT, "--methods", "cam")
    status, out, err = run(capsys, *words)
    assert status == 0
    assert f"kept in {run_folder / EXPLANATION_CHECK}; {run_folder / REPORT} shows it" in " ".join(err.split())
    assert out.splitlines()[-1] in (run_folder / REPORT).read_text()
    assert run(capsys, *words, "--json")[1].count("\n") == 1


@pytest.mark.long
def test_block_shapley_is_checked_by_default_and_a_broken_file_is_named(
    weights: Path, images: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hvit.explain.methods.block_shapley.SMALL_WORK", 0.0)  # a budget of few passes
    (images / "broken.png").write_bytes(b"no image")
    monkeypatch.setattr("hvit.progress._SECONDS_BETWEEN_LINES", 0.0)
    status, out, err = run(capsys, "explain", weights, images, "--check", 20)
    assert status == 2
    assert " forward passes " in err
    assert "broken.png" in err
    assert "baselines: same first step, limit" in out
    assert out.splitlines()[-1].startswith("block_shapley can")
    assert f"on these {COUNT} images: " in out.splitlines()[-1]
    assert "The predicted class has a probability of " in out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--check", "9"), "10 or more; got 9"),
        (("--check", "10", "--methods", "rollout"), "cannot be explained by rollout; choose from block_shapley, "),
        (("--check", "10", "--classes", "a", "--beam", "2"), "omit --classes, --beam"),
        (("--places", "boxes.csv"), "--places is for --check only"),
        (("--check", "10", "--places", "boxes.csv"), "cannot read boxes.csv"),
        (("--check", "10", "--methods", "cam", "--places", "{weights}"), "as a table of boxes"),
    ],
)
def test_what_cannot_be_checked_is_refused(
    weights: Path, images: Path, options: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.format(weights=weights) for word in options]
    status, out, err = run(capsys, "explain", weights, images, *words)
    assert (status, out) == (2, "")
    assert sentence in err


def test_too_few_images_and_places_of_others_are_refused(
    weights: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = images.parent / "boxes.csv"
    table.write_text("file,left,top,right,bottom\nother.png,0,0,5,5\n")
    words = ("explain", weights, images, "--check", COUNT, "--methods", "cam")
    status, _, err = run(capsys, *words, "--places", table)
    assert status == 2
    assert "has no place of an object in these images" in err
    (images / "0.png").unlink()
    status, _, err = run(capsys, *words)
    assert status == 2
    assert "needs 10 images or more; got 9" in err
