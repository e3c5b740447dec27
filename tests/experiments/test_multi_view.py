"""Folds of Weizmann hold out every clip once, with its mirror image, and one training is tested with several views."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hvit.data.clips.packaged import list_path
from hvit.data.clips.settings import ClipData
from hvit.experiments.grid import Place, jobs_of
from hvit.experiments.multi_view import FOLDS, VIEWS, fold, multi_view, of_fold
from hvit.training.journal import JOURNAL, read_journal
from hvit.verbs import experiments as verb

Run = Callable[..., tuple[int, str, str]]


def listed(path: str) -> list[tuple[str, str]]:
    return [(name, label) for name, label in (line.split(" ") for line in list_path(path).read_text().splitlines())]


def test_every_clip_is_held_out_once_and_never_without_its_mirror_image() -> None:
    held_out = [listed(fold(number).held_out_list) for number in range(FOLDS)]
    every = sorted(clip for part in held_out for clip in part)
    assert len(every) == len(set(every)) == 64
    for number, part in enumerate(held_out):
        assert sorted(part + listed(fold(number).train_list)) == every
        sources = {Path(name).stem.removesuffix("_m") for name, _ in part}
        assert len(part) == 2 * len(sources) == 16
        assert sorted(label for _, label in part) == sorted("0123" * 4)


def test_the_seed_is_the_fold() -> None:
    one = multi_view("quick")
    recipes = [job.recipe for job in jobs_of([one], Place(Path("x"), "quick"), None, "/data")]
    assert len(recipes) == FOLDS * (1 + len(VIEWS))
    for recipe in recipes:
        assert isinstance(recipe.data, ClipData)
        assert recipe.data.train_list == fold(recipe.seed).train_list
        assert recipe.data.root == "/data/clips"
    assert of_fold(one.cells[0].recipe, FOLDS).data == one.cells[0].recipe.data


@pytest.mark.long
def test_the_whole_experiment_at_two_steps(hvit: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    names, data = [], tmp_path / "clips"
    for name, label in listed(fold(0).train_list)[::3] + listed(fold(0).held_out_list)[::4]:
        file = data / f"{name}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, np.random.default_rng(len(names)).integers(0, 256, (20, 40, 64, 3), np.uint8))
        names.append(f"{name}.npy {label}\n")
    lists = {"train": names[:16], "held_out": names[16:]}
    for part, lines in lists.items():
        (tmp_path / f"{part}.txt").write_text("".join(lines))
    small = ClipData(
        root="clips", train_list=str(tmp_path / "train.txt"), held_out_list=str(tmp_path / "held_out.txt"),
        class_names=fold(0).class_names, stride=2, cache="none",
    )  # fmt: skip
    monkeypatch.setattr(sys.modules[fold.__module__], "fold", lambda number: small)
    monkeypatch.setattr(verb.train, "draw_training_images", lambda *given: None)
    monkeypatch.setattr(verb.train, "_finish", lambda *given: None)
    options = ("multi_view", "--scale", "quick", "--seeds", "1", "--out", "runs")
    shrunk = ("--data-root", str(tmp_path), "--max-steps", "2", "--device", "cpu")
    status, out, _ = hvit("experiments", "run", *options, *shrunk)
    assert status == 0
    assert "all runs are done" in out
    folder = Path("runs") / "quick" / "multi_view"
    weights = {path.parent.name: path.read_bytes() for path in folder.glob("*/weights.safetensors")}
    assert len(weights) == 4
    assert len(set(weights.values())) == 1, "one training, tested three times"
    for crops, times in VIEWS:
        run = folder / f"{crops}x{times}-seed-0"
        assert [row["kind"] for row in read_journal(run / JOURNAL)] == ["evaluate", "finish"]
        assert json.loads((run / "scores.json").read_text())["views"] == [times, crops]
    before = {path: path.read_bytes() for path in folder.rglob(JOURNAL)}
    assert hvit("experiments", "run", *options, *shrunk)[0] == 0
    assert {path: path.read_bytes() for path in folder.rglob(JOURNAL)} == before, "nothing is tested twice"
    status, out, _ = hvit("experiments", "table", *options)
    assert status == 0
    assert "| 3 x 5 | 15 | 1 |" in out
    assert "nan" not in out
