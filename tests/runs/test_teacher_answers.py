"""Teachers are asked once, and what they said is what training and scores see."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hvit.data.augment_settings import AugmentConfig
from hvit.run_names import TEACHERS
from hvit.runs import teacher_answers
from hvit.training.journal import JOURNAL, read_journal
from hvit.verbs.train import train
from tests.runs.test_distillation import recipe_of, write_teacher


@pytest.fixture
def teacher(tmp_path: Path) -> str:
    return write_teacher(tmp_path / "teacher.safetensors", ("red", "blue"))


@pytest.mark.usefixtures("no_pictures", "one_thread")
def test_a_run_with_remembered_answers_has_the_losses_of_one_that_asks_at_every_step(
    photo_folder: Path, teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_teacher(tmp_path / "other.safetensors", ("blue", "red"), 1)
    recipe = recipe_of(photo_folder, teacher, other, target="both")
    recipe = replace(recipe, augment=AugmentConfig(), loop=replace(recipe.loop, epochs=2))
    losses = []
    for name, most in (("remembered", teacher_answers._MOST_REMEMBERED), ("live", 0)):
        monkeypatch.setattr(teacher_answers, "_MOST_REMEMBERED", most)
        train(recipe, tmp_path / name)
        losses.append([row["loss"] for row in read_journal(tmp_path / name / JOURNAL) if row["kind"] == "train"])
        with np.load(tmp_path / name / TEACHERS) as stored:
            assert len(stored["keys"]) == (10 if most else 0)
    assert len(losses[0]) > 1
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.usefixtures("no_pictures")
def test_the_teachers_are_asked_about_the_test_part_too(photo_folder: Path, teacher: str, tmp_path: Path) -> None:
    for number, part in enumerate(("train", "val", "test")):
        for name in ("red", "blue"):
            (tmp_path / "parts" / part / name).mkdir(parents=True)
            for file in sorted((photo_folder / name).iterdir())[2 * number : 2 * number + 2]:
                shutil.copy(file, tmp_path / "parts" / part / name)
    recipe = recipe_of(tmp_path / "parts", teacher)
    scores = train(replace(recipe, loop=replace(recipe.loop, batch_size=4)), tmp_path / "run")
    with np.load(tmp_path / "run" / "teachers.npz") as stored:
        assert stored["part_1"].shape == (1, 4, 2)
        decided = stored["part_1"][0].argmax(1).tolist()
    assert scores["teacher_top1"] == np.mean(np.array(decided) == np.array(scores["labels"]))
