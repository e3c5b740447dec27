"""A run is not resumed with other data or another recipe than it began with, unless that is accepted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hvit.data.images.folders import FolderData
from hvit.data.open import open_data
from hvit.errors import UserError
from hvit.recipe import read_recipe, write_recipe
from hvit.recipes import get_recipe
from hvit.runs.plan_file import counts_and_labels
from hvit.training.checkpoint import newest_checkpoint, save_checkpoint
from hvit.training.journal import read_journal
from hvit.training.schedule import LoopConfig
from hvit.verbs import train
from tests.verbs.tiny import RECIPE


def short_run(folder: Path, root: Path) -> None:
    """Two steps on the pictures of a folder."""
    recipe = get_recipe("nest_micro_folder")
    loop = LoopConfig(epochs=2, batch_size=4, max_steps=2, workers=0, device="cpu")
    train.train(replace(recipe, data=FolderData(root=str(root)), loop=loop), folder)


@pytest.mark.long
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


@pytest.mark.usefixtures("no_pictures")
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


@pytest.mark.usefixtures("no_pictures")
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
    train.resume(folder, report=said.update, accept_changed_data=True)
    resumed = [row for row in read_journal(folder / "journal.jsonl") if row["kind"] == "resume"]
    assert len(resumed[-1]["accepted"]) >= 3
    assert all(change in said["accepted"] for change in resumed[-1]["accepted"])
    train.resume(folder)


@pytest.mark.usefixtures("no_pictures")
def test_what_changes_nothing_that_is_learned_may_be_edited(tmp_path: Path) -> None:
    train.train(replace(RECIPE, loop=replace(RECIPE.loop, max_steps=1)), tmp_path)
    recipe = read_recipe(tmp_path)
    write_recipe(replace(recipe, loop=replace(recipe.loop, workers=1)), tmp_path)
    train.resume(tmp_path)


@pytest.mark.usefixtures("no_pictures")
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
    train.resume(folder, report=said.append)
    assert sum("did not record the names and the content" in lines.get("notes", "") for lines in said) == 1
    (root / "red" / "0.png").rename(root / "red" / "again.png")
    with pytest.raises(UserError, match="again"):
        train.resume(folder)


@pytest.mark.usefixtures("no_pictures")
def test_a_run_goes_on_with_lists_and_data_in_another_place(tmp_path: Path, photo_folder: Path) -> None:
    root = tmp_path / "photos"
    shutil.copytree(photo_folder, root)
    files = sorted(path.relative_to(root) for path in root.rglob("*.png"))
    table = tmp_path / "table.csv"
    table.write_text("path,label\n" + "".join(f"{file},{file.parent.name}\n" for file in files))
    recipe = get_recipe("nest_micro_folder")
    loop = LoopConfig(epochs=1, batch_size=4, max_steps=1, workers=0, device="cpu")
    data = FolderData(root=str(root), table=str(table))
    train.train(replace(recipe, data=data, loop=loop), tmp_path / "run")
    now = table.rename(tmp_path / "renamed.csv")
    with pytest.raises(UserError, match=r"table.csv \(data.table of the run .* is missing: say where the data is"):
        train.resume(tmp_path / "run")
    write_recipe(replace(read_recipe(tmp_path / "run"), data=replace(data, table=str(now))), tmp_path / "run")
    assert "top1" in train.resume(tmp_path / "run"), "what the table lists is the same"
    now.write_text("".join(now.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(UserError, match="not what the run"):
        train.resume(tmp_path / "run")
    shutil.rmtree(root)
    with pytest.raises(UserError, match=r"photos \(data.root of the run .* is missing: say .* with --root"):
        train.resume(tmp_path / "run")
