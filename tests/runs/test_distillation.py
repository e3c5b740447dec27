"""Runs of distillation: one option on any classifier's recipe, exact when resumed, a run folder that stands alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import hvit
from hvit.data.augment_settings import AugmentConfig
from hvit.data.open import ClipData, FolderData
from hvit.errors import Stopped, UserError
from hvit.models.baselines import VIT_SIZES
from hvit.models.build import build
from hvit.models.hiera.config import HieraConfig
from hvit.models.nest.config import NestConfig
from hvit.models.weights.open import open_weights
from hvit.models.weights.save import save_weights
from hvit.recipe import Recipe, read_recipe
from hvit.runs.kinds import kind_of_run
from hvit.runs.memory import weight_bytes
from hvit.tasks.distill_settings import DistillConfig
from hvit.training.loop import Trainer
from hvit.training.optimize import OptimizeConfig
from hvit.training.schedule import LoopConfig
from hvit.verbs.evaluate import evaluate
from hvit.verbs.train import plan, resume, train
from tests.hub_server import HubServer

TINY = NestConfig(
    input_size=(8, 8), num_classes=None, patch_size=(1, 1), dims=(8, 16), heads=(2, 2), depths=(1, 1), drop_path=0.2
)
SMALL: dict[str, Any] = {"input_size": 16, "dims": (8, 8, 8, 8), "depths": (1, 1, 1, 1)}


def write_teacher(path: Path, classes: tuple[str, ...], seed: int = 0) -> str:
    torch.manual_seed(seed)
    model = hvit.create_model("resnet_micro_32", num_classes=len(classes), **SMALL)
    stated = {"input_size": [16, 16], "mean": [0.1] * 3, "std": [0.3] * 3, "crop": 1.0, "interpolation": "bilinear"}
    save_weights(model, path, classes=classes, preprocess=stated)
    return str(path)


@pytest.fixture
def teacher(tmp_path: Path) -> str:
    return write_teacher(tmp_path / "teacher.safetensors", ("red", "blue"))


def recipe_of(photos: Path, *teachers: str, **settings) -> Recipe:
    return Recipe(
        name="distilled", summary="A test", model=TINY, data=FolderData(root=str(photos)),
        augment=AugmentConfig(crop="resized", flip=0.5, mixup=0.4),
        optimize=OptimizeConfig(learning_rate_per_256=4e-2, warmup_epochs=0, average_decay=0.9),
        loop=LoopConfig(epochs=3, batch_size=5, workers=0, device="cpu"),
        distill=DistillConfig(teachers=teachers, **settings),
    )  # fmt: skip


@pytest.mark.long
def test_a_teacher_and_the_weights_to_start_from_may_be_on_the_hub(
    photo_folder: Path, tmp_path: Path, hub_server: HubServer
) -> None:
    torch.manual_seed(1)
    start = tmp_path / "start.safetensors"
    save_weights(build(replace(TINY, num_classes=2)), start, classes=("blue", "red"))
    teacher = write_teacher(tmp_path / "teacher.safetensors", ("red", "blue"))
    for name, file in (("anna/start", start), ("anna/teacher", Path(teacher))):
        hub_server.add(name, {"weights.safetensors": file.read_bytes()})
    found = []
    for folder, source, taught in (("here", str(start), teacher), ("hub", "hf:anna/start", "hf:anna/teacher")):
        recipe = recipe_of(photo_folder, taught)
        recipe = replace(recipe, weights=source, loop=replace(recipe.loop, epochs=1))
        assert source in plan(recipe)["weights"]
        scores = train(recipe, tmp_path / folder)
        assert taught in str(scores["distillation"])
        found.append(load_file(tmp_path / folder / "weights.safetensors"))
    assert all(torch.equal(one, found[1][name]) for name, one in found[0].items())
    assert str(read_recipe(tmp_path / "hub").weights).startswith("hf:anna/start@"), "the commit is kept"
    with pytest.raises(UserError, match="anna/nothing"):
        plan(recipe_of(photo_folder, "hf:anna/nothing"))


def stopped_and_resumed(recipe: Recipe, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    after_step = Trainer.after_step

    def stops_after_three(self: Trainer, view) -> bool:
        stops = after_step(self, view) or self.state.step == 3
        if stops:
            self.state.save()
        return stops

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "after_step", stops_after_three)
        with pytest.raises(Stopped):
            train(recipe, folder)
    resume(folder)


@pytest.mark.long
@pytest.mark.parametrize("augmented", [True, False])
@pytest.mark.usefixtures("no_pictures", "one_thread")
def test_a_stopped_run_ends_as_an_undisturbed_one(
    photo_folder: Path, teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, augmented: bool
) -> None:
    other = write_teacher(tmp_path / "other.safetensors", ("blue", "red"), 1)
    recipe = recipe_of(photo_folder, teacher, other, target="both", labels_per_class=2, level=0)
    recipe = recipe if augmented else replace(recipe, augment=AugmentConfig())
    train(recipe, tmp_path / "whole")
    stopped_and_resumed(recipe, tmp_path / "broken", monkeypatch)
    one, two = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "broken"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    with np.load(tmp_path / "whole" / "teachers.npz") as stored:
        assert stored["part_0"].shape == (2, 2, 2)
        assert stored["keys"].shape == ((0, 16) if augmented else (10, 16))
        assert stored["rows"].shape == ((0, 0) if augmented else (10, 2 * 2 + 2 * 8))


def test_a_students_run_stands_alone(photo_folder: Path, teacher: str, tmp_path: Path) -> None:
    recipe = recipe_of(photo_folder, teacher)
    lines = plan(recipe)
    assert "resnet" in lines["teachers"]
    assert lines["loss"] == "0.9 x teachers (logits at temperature 2) + 0.1 x labels"
    assert lines["view"].startswith("crops of 16x16 for all, 8x8 for the student; teachers are computed at every step")
    folder = tmp_path / "run"
    scores = train(recipe, folder)
    assert {"teacher_top1", "agreement"} <= scores.keys()
    (who,) = scores["distillation"]["teachers"]
    assert who["top1"] == scores["teacher_top1"]
    Path(teacher).unlink()
    assert evaluate(folder, device="cpu")["top1"] == scores["top1"]
    opened = open_weights(folder)
    assert opened.preprocess is not None
    assert opened.preprocess["input_size"] == [8, 8]
    assert set(opened.model.state_dict()) == set(hvit.create_model("nest_micro_32", **vars_of(TINY)).state_dict())
    page = (folder / "report.html").read_text()
    assert "What the teachers reach" in page
    kinds = [json.loads(line)["kind"] for line in (folder / "journal.jsonl").read_text().splitlines()]
    assert kinds[-1] == "finish"


def vars_of(config: NestConfig) -> dict[str, Any]:
    names = ("input_size", "patch_size", "dims", "heads", "depths")
    return {name: getattr(config, name) for name in names} | {"num_classes": 2}


@pytest.mark.usefixtures("no_pictures")
def test_images_without_labels_are_distilled_too(photo_folder: Path, teacher: str, tmp_path: Path) -> None:
    more = tmp_path / "more"
    shutil.copytree(photo_folder / "red", more)
    lines = plan(recipe_of(photo_folder, teacher, labels_per_class=2, unlabelled=str(more)))
    assert lines["labels"] == "4 of 15 training images have one that is used"
    flat = recipe_of(more, teacher, label_weight=0.0)
    scores = train(replace(flat, data=FolderData(root=str(more), labels="none")), tmp_path / "run")
    assert scores["classes"] == ["red", "blue"]
    assert scores["teacher_top1"] == 1.0
    assert scores["top1"] == scores["agreement"]


@pytest.mark.usefixtures("no_pictures")
def test_another_teacher_than_at_the_start_is_refused(photo_folder: Path, teacher: str, tmp_path: Path) -> None:
    train(recipe_of(photo_folder, teacher), tmp_path / "run")
    assert len(read_recipe(tmp_path / "run").distill.checksums[0]) == 64
    write_teacher(Path(teacher), ("red", "blue"), 5)
    with pytest.raises(UserError, match="is not the one the run began with"):
        resume(tmp_path / "run")


def test_what_cannot_be_distilled_is_refused_in_one_sentence(photo_folder: Path, teacher: str, tmp_path: Path) -> None:
    recipe = recipe_of(photo_folder, teacher)
    other = write_teacher(tmp_path / "other.safetensors", ("red", "green"))
    wide = hvit.create_model("resnet_micro_32", num_classes=2, **{**SMALL, "input_size": (16, 32)})
    save_weights(wide, tmp_path / "wide.safetensors")
    masked = hvit.create_model("mae_hiera_micro_32").config
    for changed, words in (
        (recipe_of(photo_folder, other), "lacks blue and has green"),
        (recipe_of(photo_folder, "nowhere"), "there is no teacher nowhere"),
        (recipe_of(photo_folder, teacher, level=2), "distill.level must be from 0 to 1 for this model; got 2"),
        (recipe_of(photo_folder, teacher, token=True), "distill.token is for the plain ViT"),
        (recipe_of(photo_folder, str(tmp_path / "wide.safetensors")), "of the same proportions"),
        (replace(recipe, model=masked), "distillation trains a classifier"),
        (replace(recipe, data=FolderData(root=str(photo_folder), labels="none"), distill=DistillConfig(
            teachers=(teacher,), target="features")), "the data has no labels"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=words):
            plan(changed)


def test_the_teacher_counts_in_the_memory_that_a_run_takes(photo_folder: Path, teacher: str) -> None:
    recipe = recipe_of(photo_folder, teacher)
    recipe = replace(recipe, model=replace(TINY, num_classes=2))
    alone = replace(recipe, distill=DistillConfig())
    held = sum(one.numel() for one in open_weights(teacher).model.parameters())
    assert weight_bytes(recipe, kind_of_run(recipe)) - weight_bytes(alone, kind_of_run(alone)) == 4 * held


@pytest.mark.usefixtures("no_pictures")
def test_a_vit_gets_its_distillation_token(photo_folder: Path, teacher: str, tmp_path: Path) -> None:
    vit = replace(VIT_SIZES["vit_micro_32"], input_size=(8, 8), dims=(12,), heads=(2,), depths=(1,), num_classes=None)
    recipe = replace(recipe_of(photo_folder, teacher, token=True, hard=True, label_weight=0.5), model=vit)
    train(recipe, tmp_path / "run")
    model = open_weights(tmp_path / "run").model
    assert model.config.distillation_token
    assert "network.head_dist.weight" in model.state_dict()
    assert len(model(torch.zeros(1, 3, 8, 8))[0]) == 2


@pytest.mark.usefixtures("no_pictures")
def test_clips_are_distilled_alike(clip_folder: Path, tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"num_classes": 2, "dims": (8,), "heads": (1,), "depths": (1,)}
    sizes |= {"unit_size": (1, 1, 1), "unit_attention": (True,), "query_stride": (1, 2, 2)}
    student = HieraConfig(input_size=(4, 8, 8), patch_size=(2, 4, 4), patch_kernel=(3, 7, 7), query_pools=0, **sizes)
    larger = build(replace(student, input_size=(4, 16, 16)))
    statistics = {"mean": [0.5] * 3, "std": [0.3] * 3}
    save_weights(larger, tmp_path / "teacher.safetensors", classes=("dark", "light"), preprocess={
        "input_size": [4, 16, 16], **statistics})  # fmt: skip
    recipe = recipe_of(clip_folder, str(tmp_path / "teacher.safetensors"), target="both")
    recipe = replace(recipe, model=student, data=ClipData(root=str(clip_folder)), augment=AugmentConfig(flip=0.5))
    assert plan(recipe)["view"].startswith("crops of 16x16 for all, 8x8 for the student")
    scores = train(replace(recipe, loop=replace(recipe.loop, batch_size=4)), tmp_path / "run")
    assert 0 <= scores["agreement"] <= 1
    with pytest.raises(UserError, match="clips of as many frames"):
        plan(replace(recipe, model=replace(student, input_size=(8, 8, 8))))
