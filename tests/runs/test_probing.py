"""Probing: a run without steps, whose classifier is the encoder with a fitted head, chosen by what there is."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import hvit
from hvit.data.open import FolderData
from hvit.errors import UserError
from hvit.models.baselines import ResnetConfig
from hvit.models.weights.open import open_weights
from hvit.models.weights.save import save_weights
from hvit.recipe import Recipe, read_recipe
from hvit.recipes import get_recipe
from hvit.verbs.evaluate import evaluate
from hvit.verbs.train import plan, resume, train
from tests.verbs.test_labels import HEADERS, SCORES, make_images

TINY = ResnetConfig(input_size=(16, 16), num_classes=3, dims=(8, 8, 8, 8), depths=(1, 1, 1, 1), block="basic")


@pytest.fixture
def encoder_file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = hvit.create_model("resnet_micro_32", input_size=16, num_classes=3, dims=(8, 8, 8, 8), depths=(1, 1, 1, 1))
    path = tmp_path / "encoder.safetensors"
    stated = {"input_size": [16, 16], "mean": [0.1] * 3, "std": [0.3] * 3, "crop": 1.0, "interpolation": "nearest"}
    save_weights(model, path, classes=["a", "b", "c"], preprocess=stated)
    return path


def probe_of(weights: Path | str, photos: Path, **changes) -> Recipe:
    recipe = get_recipe("photos")
    recipe = replace(recipe, data=FolderData(root=str(photos)), weights=str(weights), **changes)
    return replace(recipe, loop=replace(recipe.loop, workers=0, device="cpu"))


def test_a_probe_leaves_a_run_like_any_other(encoder_file: Path, photo_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    recipe = probe_of(encoder_file, photo_folder)
    recipe = replace(recipe, model=replace(recipe.model, heads=("neighbours", "network")))
    lines = plan(recipe)
    assert lines["steps"].startswith("none: features of 12 images")
    scores = train(recipe, run)
    assert scores["top1"] == 1.0
    assert set(scores["heads"]) == {"linear", "neighbours", "network"}
    opened = open_weights(run)
    assert opened.classes == ("blue", "red")
    assert opened.preprocess["mean"] == [0.1] * 3
    assert opened.preprocess["interpolation"] == "nearest"
    # Only the head is new.
    before, after = open_weights(encoder_file).model.state_dict(), opened.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if not name.startswith("network.fc"))
    assert "heads were fitted to its features" in (run / "report.html").read_text()
    assert evaluate(run, None, None, "cpu")["top1"] == 1.0


@pytest.mark.long
def test_a_killed_probe_goes_on_from_its_features(encoder_file: Path, photo_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(probe_of(encoder_file, photo_folder), run)
    first = open_weights(run).model.state_dict()
    for name in ("weights.safetensors", "scores.json"):
        (run / name).unlink()
    with np.load(run / "features.npz") as stored:
        kept = dict(stored)
    resume(run)
    again = open_weights(run).model.state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    # Features of other data, and a damaged file, are computed anew.
    for content in (None, kept | {"identity": np.array("other"), "train_features": kept["train_features"] * 0}):
        if content is None:
            (run / "features.npz").write_bytes(b"PK broken")
        else:
            np.savez(run / "features.npz", **content)
        resume(run)
        assert torch.equal(open_weights(run).model.head.weight, first["network.fc.weight"])


@pytest.mark.long
def test_a_probe_goes_through_json(encoder_file: Path, photo_folder: Path, tmp_path: Path) -> None:
    train(probe_of(encoder_file, photo_folder), tmp_path / "run")
    recipe = read_recipe(tmp_path / "run")
    assert recipe.model.encoder.family == "resnet"
    assert recipe.model.num_classes == 2
    assert recipe.weights == str(encoder_file)
    journal = [json.loads(line)["kind"] for line in (tmp_path / "run" / "journal.jsonl").read_text().splitlines()]
    assert journal == ["start", "evaluate", "finish"]


@pytest.mark.parametrize("kind", ["multi", "ordinal", "regression"])
def test_labels_of_a_table_have_heads_and_scores_of_their_kind(kind: str, encoder_file: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    table = make_images(images, kind)
    task = kind if kind == "ordinal" else "auto"
    data = FolderData(table=str(table), label_columns=tuple(HEADERS[kind].split(",")), task=task)
    run = tmp_path / "run"
    recipe = probe_of(encoder_file, images)
    scores = train(replace(recipe, data=data), run)
    assert scores["label_kind"] == kind
    assert "not tried" in scores["finetuning"]["sentence"]
    linear = scores["heads"]["linear"]
    assert {"chosen", "squared_error_of_folds" if kind == "regression" else "log_loss_of_folds"} <= set(linear)
    if kind == "regression":
        assert scores["r2"] == linear["r2"] > 0.5
    again = evaluate(run, None, None, "cpu")
    assert again[SCORES[kind]] == pytest.approx(scores[SCORES[kind]], abs=1e-6)
    opened = open_weights(run)
    assert opened.labels.kind == kind
    assert bool(opened.labels.thresholds) == (kind == "multi")
    assert (run / "report.html").is_file()
    with pytest.raises(UserError, match="predicts one class a sample") if kind != "ordinal" else nullcontext():
        plan(replace(recipe, data=data, model=replace(recipe.model, heads=("linear", "neighbours"))))
