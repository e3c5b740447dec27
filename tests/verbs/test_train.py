"""Whole runs: killed and resumed, on one process and on two, from bad input to the report."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hvit import files
from hvit.cli.main import main
from hvit.data.images.digits import DigitsData
from hvit.data.images.folders import FolderData
from hvit.data.open import open_data
from hvit.errors import UserError
from hvit.models.nest.config import NestConfig
from hvit.recipe import Recipe, read_recipe, with_classes_of_the_data, write_recipe
from hvit.recipes import get_recipe
from hvit.runs.classification import Classification
from hvit.runs.kinds import kind_of
from hvit.runs.plan_file import counts_and_labels
from hvit.training.checkpoint import newest_checkpoint, save_checkpoint
from hvit.training.journal import read_journal
from hvit.training.lock import locked
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig
from hvit.verbs import evaluate, train

# A NesT so small that a run on the 8 x 8 scans takes seconds.
TINY = NestConfig(
    input_size=(8, 8), in_channels=1, num_classes=10, patch_size=(1, 1), dims=(8, 16), heads=(2, 2), depths=(1, 1),
    drop_path=0.2,
)  # fmt: skip
RECIPE = Recipe(
    name="tiny",
    summary="A test",
    model=TINY,
    data=DigitsData(canvas=8),
    optimize=OptimizeConfig(learning_rate_per_256=4e-3, warmup_epochs=1, average_decay=0.9),
    loop=LoopConfig(epochs=2, batch_size=128, checkpoint_steps=3, workers=0, device="cpu"),
)
ON_THE_COMMAND_LINE = [
    *("--data.canvas", "8", "--model.input-size", "8", "8", "--model.patch-size", "1", "1"),
    *("--model.dims", "8", "16", "--model.heads", "2", "2", "--model.depths", "1", "1"),
    *("--loop.batch-size", "128", "--loop.epochs", "2", "--loop.checkpoint-steps", "3", "--loop.device", "cpu"),
    *("--loop.workers", "0"),
]


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "hvit", *map(str, arguments)]


def test_a_run_leaves_a_folder_that_tells_its_whole_story(tmp_path: Path) -> None:
    lines: dict[str, str] = {}
    scores = train.train(RECIPE, tmp_path, lines.update)
    assert {"model", "data", "steps", "learning rate", "device"} <= lines.keys()
    assert read_recipe(tmp_path) == RECIPE
    names = {path.name for path in tmp_path.iterdir()}
    expected = {"recipe.json", "environment.json", "journal.jsonl", "checkpoints", "weights.safetensors", "scores.json"}
    assert expected | {"plan.json", "report.html", "pictures"} == names
    assert json.loads((tmp_path / "scores.json").read_text())["top1"] == scores["top1"]
    assert [row["epoch"] for row in read_journal(tmp_path / "journal.jsonl") if row["kind"] == "evaluate"] == [1, 2]
    assert evaluate.evaluate(tmp_path)["top1"] == scores["top1"]
    with pytest.raises(UserError, match="already holds a run"):
        train.train(RECIPE, tmp_path)


def test_a_run_killed_in_mid_epoch_resumes_bit_for_bit(tmp_path: Path, train_and_kill: Callable[..., None]) -> None:
    whole = command("train", "nest_micro_digits", *ON_THE_COMMAND_LINE, "--out", tmp_path / "whole")
    subprocess.run(whole, check=True, capture_output=True, timeout=600)
    folder = tmp_path / "broken"
    train_and_kill(folder, 600, "nest_micro_digits", *ON_THE_COMMAND_LINE, "--loop.workers", "1")
    subprocess.run(command("resume", folder), check=True, capture_output=True, timeout=600)
    one, other = load_file(tmp_path / "whole" / "weights.safetensors"), load_file(folder / "weights.safetensors")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_two_processes_learn_what_one_does(tmp_path: Path, train_in_two_processes: Callable[..., str]) -> None:
    fields = [*ON_THE_COMMAND_LINE, "--loop.max-steps", "6", "--optimize.epsilon", "1e-3"]
    subprocess.run(
        command("train", "nest_micro_digits", *fields, "--out", tmp_path / "one"),
        check=True, capture_output=True, timeout=600,
    )  # fmt: skip
    told = train_in_two_processes(tmp_path / "two", 600, "nest_micro_digits", *fields)
    assert told.count("top-1") == 1, "only the first process speaks"
    one, other = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    for name in one:
        assert torch.allclose(one[name], other[name], atol=2e-5), name


def test_weights_start_another_run_with_a_new_head(tmp_path: Path) -> None:
    first = replace(RECIPE, loop=replace(RECIPE.loop, max_steps=4))
    train.train(first, tmp_path / "first")
    lines: dict[str, str] = {}
    second = replace(first, weights=str(tmp_path / "first"))
    model = train.new_model(second, kind_of(second.model), lines.update)
    trained = load_file(tmp_path / "first" / "weights.safetensors")
    assert all(torch.equal(value, trained[name]) for name, value in model.state_dict().items())
    assert "hvit" in lines["loaded"]


def test_the_number_of_classes_follows_the_data_or_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"recipe has 7 classes .* but the data has 10"):
        train.train(replace(RECIPE, model=replace(TINY, num_classes=7)), tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_recipe_without_a_number_of_classes_takes_the_datas(tmp_path: Path) -> None:
    open_recipe = with_classes_of_the_data(RECIPE)
    assert open_recipe.model.num_classes is None
    assert train.plan(open_recipe) == train.plan(RECIPE)
    write_recipe(open_recipe, tmp_path)
    assert read_recipe(tmp_path) == open_recipe


def test_a_number_of_classes_that_was_typed_is_never_replaced(
    photo_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not even where it is that of the recipe as published."""
    with pytest.raises(SystemExit) as ended:
        main(["train", "nest_tiny_imagenet", "--data.root", str(photo_folder), "--model.num-classes", "1000"])
    assert ended.value.code == 2
    assert "the recipe has 1000 classes" in capfd.readouterr().err


def test_weights_for_other_classes_are_not_scored(tmp_path: Path, photo_folder: Path) -> None:
    train.train(replace(RECIPE, loop=replace(RECIPE.loop, max_steps=1)), tmp_path / "run")
    with pytest.raises(UserError, match="tells 10 classes apart"):
        evaluate.evaluate(tmp_path / "run", "folder", str(photo_folder))


def test_a_run_is_not_resumed_on_other_data(tmp_path: Path, photo_folder: Path) -> None:
    root = tmp_path / "photos"
    shutil.copytree(photo_folder, root)
    recipe = get_recipe("nest_micro_folder")
    loop = LoopConfig(epochs=2, batch_size=4, max_steps=2, workers=0, device="cpu")
    train.train(replace(recipe, data=FolderData(root=str(root)), loop=loop), tmp_path / "run")
    shutil.copy(root / "red" / "0.png", root / "red" / "another.png")
    with pytest.raises(UserError, match=r"not what the run .* began with"):
        train.resume(tmp_path / "run")
    assert "top1" in train.resume(tmp_path / "run", str(photo_folder)), "the same data in another place"


def short_run(folder: Path, root: Path) -> None:
    """Two steps on the pictures of a folder."""
    recipe = get_recipe("nest_micro_folder")
    loop = LoopConfig(epochs=2, batch_size=4, max_steps=2, workers=0, device="cpu")
    train.train(replace(recipe, data=FolderData(root=str(root)), loop=loop), folder)


@pytest.fixture
def unfinished(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs without their pictures and reports, which these tests do not look at."""
    monkeypatch.setattr(train, "_finish", lambda *_: None)
    monkeypatch.setattr(train, "draw_training_images", lambda *_: None)


@pytest.mark.usefixtures("unfinished")
def test_renamed_replaced_and_exchanged_pictures_are_named_and_not_trained_on(
    tmp_path: Path, photo_folder: Path
) -> None:
    short_run(tmp_path / "run", photo_folder)
    changes: dict[str, Callable[[Path], object]] = {
        "1 missing (red/0.png), 1 new (red/again.png)": lambda root: (root / "red" / "0.png").rename(
            root / "red" / "again.png"
        ),
        "1 with other content (blue/2.png)": lambda root: shutil.copy(root / "blue" / "3.png", root / "blue" / "2.png"),
        "with green": lambda root: (root / "red").rename(root / "green"),
    }
    for number, (words, change) in enumerate(changes.items()):
        root = tmp_path / str(number)
        shutil.copytree(photo_folder, root)
        assert "top1" in train.resume(tmp_path / "run", str(root)), "the same content in another place"
        change(root)
        with pytest.raises(UserError, match=r"not what the run .* began with.* --accept-changed-data") as caught:
            train.resume(tmp_path / "run", str(root))
        assert any(part in str(caught.value) for part in words.split(", ")), caught.value


@pytest.mark.usefixtures("unfinished")
def test_accepted_changes_stand_in_the_journal_and_are_the_new_beginning(tmp_path: Path, photo_folder: Path) -> None:
    root, folder = tmp_path / "photos", tmp_path / "run"
    shutil.copytree(photo_folder, root)
    short_run(folder, root)
    (root / "red" / "0.png").rename(root / "red" / "again.png")
    recipe = read_recipe(folder)
    changed = replace(recipe, optimize=replace(recipe.optimize, weight_decay=0.5))
    write_recipe(replace(changed, loop=replace(changed.loop, max_steps=3)), folder)
    with pytest.raises(UserError, match=r"loop\.max_steps was 2 and is 3") as caught:
        train.resume(folder)
    assert f"optimize.weight_decay was {recipe.optimize.weight_decay} and is 0.5" in str(caught.value)
    said: dict[str, str] = {}
    train.resume(folder, tell=said.update, accept_changed_data=True)
    resumed = [row for row in read_journal(folder / "journal.jsonl") if row["kind"] == "resume"]
    assert len(resumed[-1]["accepted"]) >= 3
    assert all(change in said["accepted"] for change in resumed[-1]["accepted"])
    train.resume(folder)


@pytest.mark.usefixtures("unfinished")
def test_what_changes_nothing_that_is_learned_may_be_edited(tmp_path: Path) -> None:
    train.train(replace(RECIPE, loop=replace(RECIPE.loop, max_steps=1)), tmp_path)
    recipe = read_recipe(tmp_path)
    write_recipe(replace(recipe, loop=replace(recipe.loop, workers=1)), tmp_path)
    train.resume(tmp_path)


@pytest.mark.usefixtures("unfinished")
def test_a_run_of_an_earlier_version_resumes_with_a_note_and_is_guarded_from_then_on(
    tmp_path: Path, photo_folder: Path
) -> None:
    root, folder = tmp_path / "photos", tmp_path / "run"
    shutil.copytree(photo_folder, root)
    short_run(folder, root)
    plan = json.loads((folder / "plan.json").read_text())
    del plan["recipe"]
    plan["data"] = counts_and_labels(open_data(FolderData(root=str(root)), 42, 3))
    (folder / "plan.json").write_text(json.dumps(plan))
    state, _ = newest_checkpoint(folder)
    assert state is not None
    for name in ("belongs_to", "losses", "owes_evaluation"):
        del state[name]
    save_checkpoint(folder, state["step"], state)
    said: list[dict[str, str]] = []
    train.resume(folder, tell=said.append)
    assert sum("did not record the names and the content" in lines.get("notes", "") for lines in said) == 1
    (root / "red" / "0.png").rename(root / "red" / "again.png")
    with pytest.raises(UserError, match="again"):
        train.resume(folder)


@pytest.mark.usefixtures("unfinished")
def test_of_two_runs_that_begin_in_one_folder_at_once_exactly_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, results = threading.Barrier(2), []
    usual = train.new_model

    def meet(*arguments: Any) -> Any:
        both.wait(timeout=60)
        return usual(*arguments)

    monkeypatch.setattr(train, "new_model", meet)

    def begin() -> None:
        try:
            train.train(replace(RECIPE, loop=replace(RECIPE.loop, max_steps=1)), tmp_path / "run")
            results.append("")
        except UserError as error:
            results.append(str(error))

    threads = [threading.Thread(target=begin) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [sentence for sentence in results if sentence]
    assert len(refused) == 1
    assert "in use by process" in refused[0] or "already holds a run" in refused[0]


def test_a_run_is_neither_begun_nor_resumed_while_another_process_holds_its_folder(tmp_path: Path) -> None:
    write_recipe(RECIPE, tmp_path)
    with locked(tmp_path):
        for work in (lambda: train.train(RECIPE, tmp_path), lambda: train.resume(tmp_path)):
            with pytest.raises(UserError, match=rf"in use by process {os.getpid()} on "):
                work()


@pytest.mark.usefixtures("unfinished")
def test_a_full_disk_ends_a_run_in_one_sentence_and_loses_nothing_that_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train.train(replace(RECIPE, loop=replace(RECIPE.loop, max_steps=3)), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    recipe = read_recipe(tmp_path)
    write_recipe(replace(recipe, loop=replace(recipe.loop, max_steps=6)), tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        train.resume(tmp_path, accept_changed_data=True)
    kept = ("checkpoint", "safetensors")
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert all(after[path] == content for path, content in before.items() if path.name.endswith(kept))
    assert not [path for path in after if path.name.endswith(files.UNFINISHED)]


def test_what_a_dry_run_prints_is_all_it_does(tmp_path: Path, clip_folder: Path, photo_folder: Path) -> None:
    for name, source in (("hiera_micro_actions", clip_folder), ("nest_micro_folder", photo_folder)):
        root = tmp_path / name
        shutil.copytree(source, root)
        before = sorted(tmp_path.rglob("*"))
        recipe = get_recipe(name)
        train.plan(replace(recipe, data=replace(recipe.data, root=str(root)), loop=replace(recipe.loop, device="cpu")))
        assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.usefixtures("unfinished")
def test_checkpoints_that_do_not_fit_an_edited_recipe_are_refused(tmp_path: Path) -> None:
    train.train(replace(RECIPE, loop=replace(RECIPE.loop, max_steps=1)), tmp_path)
    write_recipe(replace(RECIPE, model=replace(TINY, dims=(8, 32))), tmp_path)
    with pytest.raises(UserError, match="not those of its recipe"):
        train.resume(tmp_path)


def test_a_folder_with_checkpoints_of_another_run_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step_000000001.checkpoint").touch()
    with pytest.raises(UserError, match="already holds a run"):
        train.train(RECIPE, tmp_path)


def test_missing_weights_are_noticed_before_the_model_takes_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Classification, "build", lambda *_: pytest.fail("the model was built"))
    with pytest.raises(UserError, match="there is no weights file nowhere"):
        train.new_model(replace(RECIPE, weights="nowhere"), kind_of(RECIPE.model))


def test_a_place_that_cannot_be_written_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        train.train(RECIPE, tmp_path / "file" / "run")


def test_a_folder_that_is_no_run_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no run folder"):
        train.resume(tmp_path)
    (tmp_path / "recipe.json").write_text('{"name": "x", "surprise": 1}')
    with pytest.raises(UserError, match="not a valid recipe"):
        train.resume(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_run_interrupted_with_its_workers_says_how_to_go_on(tmp_path: Path, number: int) -> None:
    fields = [*ON_THE_COMMAND_LINE, "--loop.epochs", "5000", "--loop.checkpoint-steps", "100000", "--loop.workers", "1"]
    process = subprocess.Popen(
        command("train", "nest_micro_digits", *fields, "--out", tmp_path / "run"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 600
    journal = tmp_path / "run" / "journal.jsonl"
    while not (journal.exists() and '"evaluate"' in journal.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    before = newest_checkpoint(tmp_path / "run")[0]
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 2, errors
    assert "hvit resume" in errors
    assert "Traceback" not in errors
    after = newest_checkpoint(tmp_path / "run")[0]
    assert after is not None
    if number == signal.SIGINT:
        assert before is None or after["step"] > before["step"]
