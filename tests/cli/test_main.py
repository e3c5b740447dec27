"""The command line as its users meet it: verbs, help, answers, and one sentence for what cannot be used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from hvit.cli.main import VERBS

Run = Callable[..., tuple[int, str, str]]


def test_help_explains_every_verb_and_every_verb_explains_itself(hvit: Run) -> None:
    status, out, _ = hvit("--help")
    assert status == 0
    for verb in VERBS:
        assert verb in out
        status, text, _ = hvit(verb, "--help")
        assert status == 0
        assert "usage" in text


@pytest.mark.long
def test_explain_writes_pictures_and_reports_the_paths(hvit: Run, colour_run: Path, photo_folder: Path) -> None:
    picture = photo_folder / "red" / "0.png"
    other = photo_folder / "blue" / "0.png"
    status, out, _ = hvit("explain", colour_run, picture, other, "--json", "--out", "why")
    assert status == 0
    answers = [json.loads(line) for line in out.splitlines()]
    assert [len(tree["path"]) for tree in answers[0]["trees"]] == [2, 2]
    assert len({name for answer in answers for name in answer["pictures"]}) == 4
    assert answers[0]["trees"][0]["paths"] == [answers[0]["trees"][0]["path"]]
    assert answers[0]["trees"][0]["removal"]["form"] == "exact for all blocks"
    assert answers[0]["trees"][0]["method"] == "block_shapley"
    page = Path("why/index.html").read_text(encoding="utf-8")
    assert page.count("0.png") >= 2
    for name in answers[0]["pictures"]:
        with Image.open(name) as drawn:
            assert drawn.width > 300
    status, out, _ = hvit("explain", colour_run, picture, "--classes", "blue", "--methods", "gradcat")
    assert status == 0
    assert "blue" in out
    assert "left" in out or "right" in out
    assert "The page: explanations/index.html" in out
    every = ("gradcat", "cam", "gradcam", "gradcam++")
    status, out, _ = hvit("explain", colour_run, picture, "--methods", *every, "--level", "-2", "--beam", "3", "--json")
    assert status == 0
    assert [len(tree["paths"]) for tree in json.loads(out)["trees"]] == [3, 3]
    status, _, err = hvit("explain", colour_run, picture, "--methods", "rollout")
    assert status == 2
    assert "this model cannot be explained by rollout; choose from block_shapley, gradcat, cam" in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["dance"], "no verb 'dance'"),
        (["train", "nest_micro_digit"], "no recipe called"),
        (["train", "--epochs", "3"], "name a recipe first"),
        (["train", "nest_micro_folder"], "--data.root"),
        (["train", "nest_micro_folder", "--data.root", "nowhere"], "nowhere"),
        (["train", "nest_micro_digits", "--model.input-size", "30", "30"], "multiples of 8"),
        (["train", "nest_micro_digits", "--loop.batch-size", "0"], "batch_size"),
        (["train", "nest_micro_digits", "--weights", "nowhere.safetensors", "--out", "x"], "nowhere.safetensors"),
        (["train", "nest_micro_digits", "--no-such-field", "1"], "no-such-field"),
        (["train", "nest_micro_digits", "--loop.epochs", "many"], "many"),
        (["resume", "nowhere"], "no run folder"),
        (["report", "nowhere"], "nowhere"),
        (["evaluate", "nowhere"], "nowhere"),
        (["predict", "nowhere", "photo.jpg"], "photo.jpg"),
        (["models", "inception*"], "no model matches"),
        (["recipes", "inception*"], "no recipe matches"),
    ],
)
def test_what_cannot_be_used_is_one_sentence_and_status_2(hvit: Run, arguments: list[str], sentence: str) -> None:
    status, out, err = hvit(*arguments)
    assert status == 2
    assert sentence in " ".join((out + err).split())
    assert "Traceback" not in out + err


def test_bad_files_are_named_and_the_readable_ones_answered(hvit: Run, colour_run: Path, shared_data: Path) -> None:
    names = sorted(path.name for path in (shared_data / "bad_inputs").iterdir() if path.suffix != ".mp4")
    files = [shared_data / "bad_inputs" / name for name in names]
    status, out, err = hvit("predict", colour_run, *files, "--json")
    answered = {Path(json.loads(line)["file"]).name for line in out.splitlines()}
    refused = {"truncated.jpg", "zero_byte.png", "text_renamed.jpg", "corrupt_crc.png", "bomb_30000x30000.png"}
    assert status == 2
    assert answered == set(names) - refused
    assert len(err.splitlines()) == len(refused)
    assert all(any(name in line for line in err.splitlines()) for name in refused)
    status, out, err = hvit("explain", colour_run, *files, "--methods", "gradcat", "--top-k", "1", "--json")
    assert status == 2
    assert {Path(json.loads(line)["file"]).name for line in out.splitlines()} == answered
    refusals = [line for line in err.splitlines() if line.startswith("hvit: ")]  # progress may be printed, too
    assert len(refusals) == len(refused)
    assert all(any(name in line for line in refusals) for name in refused)
    page = Path("explanations/index.html").read_text(encoding="utf-8")
    assert all((name in page) == (name in answered) for name in names)
