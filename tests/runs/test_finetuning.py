"""Fine-tuning after a probe is bounded, chosen by training images, delivered only where it is better, and resumes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import hvit
from hvit.data.open import FolderData
from hvit.errors import Stopped, UserError
from hvit.labels import LabelSpec
from hvit.models.timm_encoder import TimmConfig
from hvit.models.weights.open import open_weights
from hvit.recipe import Recipe
from hvit.recipes import get_recipe
from hvit.runs import finetuning
from hvit.runs.finetuning import Speeds, Trial, choose_trial, divide, validation_count
from hvit.runs.starting import all_but_the_last
from hvit.verbs.train import plan, resume, train
from tests.processes import in_processes


@pytest.fixture(scope="module")
def few_are_enough() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetuning, "FEWEST", 2)
        patch.setattr(finetuning, "MOST_EPOCHS", 6)
        yield


@pytest.fixture(scope="module")
def delivered(
    few_are_enough: None, photo_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Recipe, Path]:
    """A recipe of which fine-tuned layers are delivered, and the folder of its run."""
    folder = tmp_path_factory.mktemp("delivered")
    recipe = photos(encoder_file(folder, blind=True), photo_folder)
    train(recipe, folder / "run")
    return recipe, folder / "run"


def encoder_file(folder: Path, blind: bool) -> Path:
    """A small ResNet; blind: its last level gives the same features for all images, until it is trained."""
    torch.manual_seed(0)
    model = hvit.create_model("resnet_micro_32", input_size=16, num_classes=3, dims=(8, 8, 8, 8), depths=(1, 1, 1, 1))
    if blind:
        last = model.network.layer4[0]
        for norm in (last.bn2, last.downsample[1]):
            torch.nn.init.zeros_(norm.weight)
        torch.nn.init.ones_(last.bn2.bias)
    path = folder / "encoder.safetensors"
    stated = {"input_size": [16, 16], "mean": [0.5] * 3, "std": [0.3] * 3, "crop": 1.0, "interpolation": "nearest"}
    hvit.save_weights(model, path, classes=["a", "b", "c"], preprocess=stated)
    return path


def photos(weights: Path, folder: Path, minutes: float = 60) -> Recipe:
    recipe = get_recipe("photos")
    return replace(
        recipe, data=FolderData(root=str(folder)), weights=str(weights),
        model=replace(recipe.model, finetune_minutes=minutes),
        optimize=replace(recipe.optimize, learning_rate_per_256=5.0, layer_decay=1.0),
        loop=replace(recipe.loop, workers=0, device="cpu", batch_size=4),
    )  # fmt: skip


def test_what_is_better_on_validation_photos_is_delivered(delivered: tuple[Recipe, Path]) -> None:
    recipe, run = delivered
    lines = plan(recipe)
    assert lines["fine-tuning"] == (
        "then at most about 60 minutes (all above levels:3), delivered only if it recognises more of 2 training images "
        "that it was not trained on"
    )
    assert "a trial of 18 steps, and as many on all training images" in lines["time"]
    scores = json.loads((run / "scores.json").read_text())
    found = scores["finetuning"]
    assert found["delivered"]
    assert (found["validation_frozen"], found["validation_tuned"], found["steps"]) == (0.5, 1.0, 18)
    assert (found["held_out_frozen"], found["held_out_tuned"], scores["top1"]) == (0.5, 1.0, 1.0)
    assert scores["heads"]["linear"]["top1"] == 0.5
    before, after = open_weights(recipe.weights).model.state_dict(), open_weights(run).model.state_dict()
    frozen = [name for name in before if not name.startswith(("network.layer4", "network.fc"))]
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    assert not torch.equal(before["network.layer4.0.bn2.weight"], after["network.layer4.0.bn2.weight"])
    report = (run / "report.html").read_text()
    assert "Fine-tuned layers were delivered (18 steps): they recognise 100.0 % of 2 validation images" in report
    assert not (run / "finetuning").exists()


def tuned(recipe: Recipe, folder: Path) -> None:
    """Work of a process: a probe with fine-tuning."""
    finetuning.FEWEST, finetuning.MOST_EPOCHS = 2, 6
    train(recipe, folder)


@pytest.mark.long
def test_two_processes_probe_and_fine_tune_as_one(delivered: tuple[Recipe, Path], tmp_path: Path) -> None:
    recipe, run = delivered
    in_processes(2, tuned, recipe, tmp_path / "run")
    alone, together = (json.loads((one / "scores.json").read_text()) for one in (run, tmp_path / "run"))
    for name in ("steps", "validation_count", "delivered", "validation_frozen", "validation_tuned", "held_out_tuned"):
        assert together["finetuning"][name] == alone["finetuning"][name]
    assert (together["top1"], together["loss"]) == (alone["top1"], pytest.approx(alone["loss"], rel=1e-3))
    before, after = open_weights(run).model.state_dict(), open_weights(tmp_path / "run").model.state_dict()
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=1e-3, atol=1e-3, msg=name)


def test_a_probe_is_not_sharded(delivered: tuple[Recipe, Path], tmp_path: Path) -> None:
    recipe, _ = delivered
    with pytest.raises(UserError, match=r"loop\.parallel fsdp does not fit photos: its encoder is frozen.*use ddp"):
        plan(replace(recipe, loop=replace(recipe.loop, parallel="fsdp")))


@pytest.mark.usefixtures("few_are_enough")
def test_frozen_features_are_delivered_where_fine_tuning_is_not_better(photo_folder: Path, tmp_path: Path) -> None:
    recipe, run = photos(encoder_file(tmp_path, blind=False), photo_folder), tmp_path / "run"
    scores = train(recipe, run)
    found = scores["finetuning"]
    assert not found["delivered"]
    assert found["sentence"].startswith("Frozen features were delivered: they recognise 100.0 % of 2 validation images")
    assert scores["top1"] == found["held_out_frozen"] == 1.0
    before, after = open_weights(recipe.weights).model.state_dict(), open_weights(run).model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if not name.startswith("network.fc"))
    assert found["sentence"] in (run / "report.html").read_text()


@pytest.mark.long
def test_an_interrupted_fine_tuning_goes_on_exactly(
    delivered: tuple[Recipe, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, whole = delivered
    usual, steps, run = finetuning.train_batches, iter(range(1000)), tmp_path / "broken"

    def interrupted(*given, **named):
        for batch in usual(*given, **named):
            # In the trial, and in the training on all photos.
            if next(steps) in (5, 25):
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(finetuning, "train_batches", interrupted)
        with pytest.raises(Stopped, match=f"hvit resume {run}` continues exactly"):
            train(recipe, run)
        assert (run / "finetuning" / "trial").exists()
        with pytest.raises(Stopped):
            resume(run)
        assert (run / "finetuning" / "all").exists()
    resume(run)
    first, second = (open_weights(one).model.state_dict() for one in (whole, run))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.long
def test_too_few_photos_are_said(photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finetuning, "FEWEST", 50)
    recipe = photos(encoder_file(tmp_path, blind=False), photo_folder)
    sentence = "not tried: 10 training images are too few to choose by (150 are needed)"
    assert plan(recipe)["fine-tuning"] == sentence
    scores = train(recipe, tmp_path / "run")
    assert scores["finetuning"]["sentence"] == (
        "Frozen features were delivered; fine-tuning was not tried: 10 training images are too few to choose by (150 "
        "are needed)."
    )
    assert json.loads((tmp_path / "run" / "finetuning.json").read_text())["reason"].startswith("10 training images")


def test_the_steps_follow_from_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finetuning, "FEWEST", 50)
    monkeypatch.setattr(finetuning, "MOST_EPOCHS", 10)

    class Sets:
        train, held_out, test, classes = range(1000), range(300), None, ("a", "b")
        labels = LabelSpec("single", ("a", "b"))

    class Ready:
        recipe, splits, sample_kind = get_recipe("photos"), Sets, "images"

    # 85 % of 90 seconds, of which looking at 200 + 300 images takes 10: two times 33 seconds are left.
    assert choose_trial(Ready, Speeds(0.02, 0.8)) == Trial(41, 200)  # pyright: ignore[reportArgumentType]
    assert choose_trial(Ready, Speeds(1e-4, 1e-3)) == Trial(320, 200)  # pyright: ignore[reportArgumentType]
    refused = choose_trial(Ready, Speeds(0.1, 5.0))  # pyright: ignore[reportArgumentType]
    assert "1.5 minutes are enough for 2 steps on this machine" in str(refused)
    assert [validation_count(images) for images in (149, 150, 200, 1000, 20_000)] == [0, 50, 50, 200, 1000]


def test_every_class_is_in_both_parts() -> None:
    labels = np.array([0] * 60 + [1] * 30 + [2] * 10)
    validation, rest = divide(labels, 20, 42)
    assert sorted([*validation, *rest]) == list(range(100))
    assert np.bincount(labels[validation]).tolist() == [12, 6, 2]
    assert not np.array_equal(validation, divide(labels, 20, 43)[0])


def test_the_last_level_or_quarter_is_tuned() -> None:
    assert all_but_the_last(hvit.create_model("hiera_micro_32").config) == "levels:2"  # pyright: ignore
    assert all_but_the_last(TimmConfig()) == "layers:12"
