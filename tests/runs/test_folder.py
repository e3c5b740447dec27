"""One run at a time writes into a folder, and none into that of another run."""

from __future__ import annotations

import errno
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hvit import files
from hvit.errors import UserError
from hvit.recipe import read_recipe, write_recipe
from hvit.training.lock import locked
from hvit.verbs import train
from tests.verbs.tiny import RECIPE


@pytest.mark.usefixtures("no_pictures")
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


def test_a_folder_with_checkpoints_of_another_run_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step_000000001.checkpoint").touch()
    with pytest.raises(UserError, match="already holds a run"):
        train.train(RECIPE, tmp_path)


def test_a_place_that_cannot_be_written_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        train.train(RECIPE, tmp_path / "file" / "run")


@pytest.mark.usefixtures("no_pictures")
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
