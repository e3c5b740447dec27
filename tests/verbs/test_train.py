"""Whole runs: killed and resumed, on one process and on two, from bad input to the report."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hvit.cli.main import main
from hvit.data.images import background, folders
from hvit.data.images.folders import FolderData, open_folder
from hvit.errors import RESUMABLE, UserError
from hvit.recipe import read_recipe, write_recipe
from hvit.training.checkpoint import newest_checkpoint
from hvit.training.journal import read_journal
from hvit.verbs import evaluate, train
from tests.processes import Command, wait_until
from tests.verbs.tiny import ON_THE_COMMAND_LINE, RECIPE, TINY


def test_a_run_leaves_a_folder_that_tells_its_whole_story(tmp_path: Path) -> None:
    lines: dict[str, str] = {}
    scores = train.train(RECIPE, tmp_path, lines.update)
    assert {"model", "data", "steps", "learning rate", "device"} <= lines.keys()
    assert read_recipe(tmp_path) == RECIPE
    names = {path.name for path in tmp_path.iterdir()}
    expected = {"recipe.json", "environment.json", "journal.jsonl", "checkpoints", "weights.safetensors", "scores.json"}
    assert expected | {"plan.json", "report.html", "pictures", "outliers.safetensors"} == names
    assert json.loads((tmp_path / "scores.json").read_text())["top1"] == scores["top1"]
    assert [row["epoch"] for row in read_journal(tmp_path / "journal.jsonl") if row["kind"] == "evaluate"] == [1, 2]
    assert evaluate.evaluate(tmp_path)["top1"] == scores["top1"]
    with pytest.raises(UserError, match="already holds a run"):
        train.train(RECIPE, tmp_path)


@pytest.mark.long
@pytest.mark.usefixtures("no_pictures", "one_thread")
def test_a_run_killed_in_mid_epoch_resumes_bit_for_bit(tmp_path: Path, train_and_kill: Callable[..., None]) -> None:
    folder = tmp_path / "broken"
    train_and_kill(folder, "nest_micro_digits", *ON_THE_COMMAND_LINE, "--loop.workers", "1")
    train.train(read_recipe(folder), tmp_path / "whole")
    train.resume(folder)
    assert any(row["kind"] == "resume" and row["step"] for row in read_journal(folder / "journal.jsonl"))
    one, other = load_file(tmp_path / "whole" / "weights.safetensors"), load_file(folder / "weights.safetensors")
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.long
@pytest.mark.usefixtures("no_pictures", "one_thread")
def test_two_processes_learn_what_one_does(tmp_path: Path, train_in_two_processes: Callable[..., str]) -> None:
    """With stochastic depth, and images that are erased and mixed."""
    drawn = ["--model.drop-path", "0.3", "--augment.mixup", "0.8", "--augment.cutmix", "1", "--augment.erasing", "0.5"]
    fields = [*ON_THE_COMMAND_LINE, *drawn, "--loop.max-steps", "4", "--optimize.epsilon", "1e-3"]
    printed = train_in_two_processes(tmp_path / "two", "nest_micro_digits", *fields)
    assert printed.count("top-1") == 1, "only the first process prints"
    train.train(read_recipe(tmp_path / "two"), tmp_path / "one")
    one, other = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    for name in one:
        assert torch.allclose(one[name], other[name], atol=2e-5), name


@pytest.mark.slow
def test_torchrun_starts_processes_that_train_together(tmp_path: Path) -> None:
    fields = [*ON_THE_COMMAND_LINE, "--loop.max-steps", "2", "--out", tmp_path / "run"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "hvit"]
    done = subprocess.run(
        [*launcher, "train", "nest_micro_digits", *map(str, fields)], capture_output=True, text=True, timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["processes"] == 2


def test_a_number_of_classes_that_was_typed_is_never_replaced(
    photo_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not even where it is that of the recipe as published."""
    with pytest.raises(SystemExit) as ended:
        main(["train", "nest_tiny_imagenet", "--data.root", str(photo_folder), "--model.num-classes", "1000"])
    assert ended.value.code == 2
    assert "the recipe has 1000 classes" in capfd.readouterr().err


@pytest.mark.long
@pytest.mark.usefixtures("no_pictures")
def test_files_that_were_not_checked_are_looked_at_while_a_run_trains(
    tmp_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(folders, "LOOKED_AT", 1)
    monkeypatch.setattr(background, "_PAUSE", 0.0)
    photos = shutil.copytree(photo_folder, tmp_path / "photos")
    data = FolderData(root=str(photos), check="sample")
    splits = open_folder(data, RECIPE.seed, 3)
    broken = next(path for path in splits.later if path in set(splits.train.files))  # pyright: ignore
    broken.write_bytes(b"no image")
    recipe = replace(
        RECIPE, data=data, model=replace(TINY, in_channels=3, num_classes=2),
        loop=replace(RECIPE.loop, epochs=1, batch_size=4),
    )  # fmt: skip
    scores = train.train(recipe, tmp_path / "run")
    said = [line for line in capsys.readouterr().err.splitlines() if "that were looked at while training" in line]
    assert len(said) == 1
    assert f"{broken.parent.name}/{broken.name}" in said[0]
    assert 0 <= scores["top1"] <= 1


@pytest.mark.long
def test_weights_for_other_classes_are_not_scored(tmp_path: Path, photo_folder: Path) -> None:
    train.train(replace(RECIPE, loop=replace(RECIPE.loop, max_steps=1)), tmp_path / "run")
    with pytest.raises(UserError, match="has 10 classes"):
        evaluate.evaluate(tmp_path / "run", "folder", str(photo_folder))


@pytest.mark.usefixtures("no_pictures")
def test_checkpoints_that_do_not_fit_an_edited_recipe_are_refused(tmp_path: Path) -> None:
    train.train(replace(RECIPE, loop=replace(RECIPE.loop, max_steps=1)), tmp_path)
    write_recipe(replace(RECIPE, model=replace(TINY, dims=(8, 32))), tmp_path)
    with pytest.raises(UserError, match="not those of its recipe"):
        train.resume(tmp_path)


def test_a_folder_that_is_no_run_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no run folder"):
        train.resume(tmp_path)
    (tmp_path / "recipe.json").write_text('{"name": "x", "surprise": 1}')
    with pytest.raises(UserError, match="not a valid recipe"):
        train.resume(tmp_path)


@pytest.mark.parametrize(
    ("number", "workers"),
    [(signal.SIGINT, "1"), (signal.SIGUSR1, "0")],
    ids=["SIGINT", "SIGUSR1"],
)
@pytest.mark.long
def test_a_run_that_is_interrupted_says_how_to_go_on(
    tmp_path: Path, start: Callable[..., Command], number: int, workers: str
) -> None:
    """A terminal interrupts the workers, too. tests/test_interrupts.py has all signals."""
    fields = [*ON_THE_COMMAND_LINE, "--loop.epochs", "5000", "--loop.checkpoint-steps", "100000"]
    fields += ["--loop.workers", workers]
    run = start("train", "nest_micro_digits", *fields, "--loop.evaluate-steps", "3", "--out", tmp_path / "run")
    journal = tmp_path / "run" / "journal.jsonl"
    wait_until(lambda: not run.process.is_alive() or (journal.exists() and '"evaluate"' in journal.read_text()))
    before = newest_checkpoint(tmp_path / "run")[0]
    run.send(number)
    status, errors = run.wait(), run.errors.read_text()
    assert status == RESUMABLE, errors
    assert "hvit resume" in errors
    assert "Traceback" not in errors
    after = newest_checkpoint(tmp_path / "run")[0]
    assert after is not None
    if number == signal.SIGINT:
        assert before is None or after["step"] >= before["step"]
