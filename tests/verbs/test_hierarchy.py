"""A hierarchy of classes goes the whole way: training, scores, folds, predictions, an exported model, the report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hvit.cli.main import main
from hvit.data.images.folders import FolderData
from hvit.models.weights.open import open_weights
from hvit.recipe import Recipe
from hvit.verbs import folds, train
from hvit.verbs.evaluate import evaluate
from hvit.verbs.export import ExportRequest, export
from tests.verbs.tiny import RECIPE

SPECIES = {"left": "bright", "right": "bright", "none": "dark"}
LEVELS = ("light", "side")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of two levels in class folders, and a run on them."""
    folder, random = tmp_path_factory.mktemp("levels"), np.random.default_rng(0)
    for species, genus in SPECIES.items():
        place = folder / "images" / genus / species
        place.mkdir(parents=True)
        for number in range(6):
            pixels = random.integers(0, 40, (8, 8))
            if species != "none":
                pixels[:, slice(0, 4) if species == "left" else slice(4, 8)] += 150
            Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number}.png")
    train.train(recipe_of(folder), folder / "run")
    return folder


def recipe_of(folder: Path, **fields: int) -> Recipe:
    return replace(
        RECIPE,
        model=replace(RECIPE.model, num_classes=None),
        data=FolderData(root=str(folder / "images"), label_levels=LEVELS, val_fraction=0.34, **fields),  # pyright: ignore[reportArgumentType]
        loop=replace(RECIPE.loop, epochs=1, batch_size=8, checkpoint_steps=0),
    )


def test_every_level_is_scored_and_scored_again(folder: Path) -> None:
    scores = json.loads((folder / "run" / "scores.json").read_text())
    assert [(row["level"], row["classes"]) for row in scores["levels"]] == [("light", 2), ("side", 3)]
    assert scores["levels"][1]["top1"] == scores["top1"] <= scores["levels"][0]["top1"]
    assert scores["hierarchical_distance"] >= 1 - scores["top1"]
    again = evaluate(folder / "run", device="cpu")
    assert again["levels"] == scores["levels"]
    assert "light: accuracy" in (folder / "run" / "report.html").read_text()


def test_weights_alone_find_the_levels_of_another_folder(folder: Path) -> None:
    assert open_weights(folder / "run").labels.levels[0].of == (0, 1, 0)
    scores = evaluate(folder / "run" / "weights.safetensors", None, str(folder / "images"), device="cpu")
    assert [row["level"] for row in scores["levels"]] == list(LEVELS)


def test_predictions_name_every_level_also_exported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, table = str(folder / "images" / "dark" / "none" / "0.png"), folder / "answers.csv"
    main(["predict", str(folder / "run"), image, "--csv", str(table), "--top-k", "1"])
    line = capsys.readouterr().out.partition(": ")[2]
    assert line.startswith("light ")
    assert " · side " in line
    head = table.read_text().splitlines()[0]
    assert "level_light,level_light_probability,level_side,level_side_probability" in head
    main(["predict", str(folder / "run"), image, "--json"])
    answer = json.loads(capsys.readouterr().out)
    share = {one["class"]: one["probability"] for one in answer["classes"]}
    sums = {"bright": share["left"] + share["right"], "dark": share["none"]}
    light = answer["levels"]["light"]
    assert light["probability"] == pytest.approx(sums[light["class"]], abs=1e-5)
    assert sums[light["class"]] == max(sums.values())
    assert answer["levels"]["side"]["probability"] == max(share.values())
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    export(ExportRequest(folder / "run", "onnx", folder / "model.onnx", inside=True))
    main(["predict", str(folder / "model.onnx"), image, "--json"])
    levels = json.loads(capsys.readouterr().out)["levels"]
    assert levels["light"]["class"] == light["class"]
    assert levels["light"]["probability"] == pytest.approx(light["probability"], abs=1e-3)


@pytest.mark.long
def test_folds_score_every_level(folder: Path) -> None:
    scores = folds.cross_validate(recipe_of(folder, folds=2), folder / "folds")
    assert [row["level"] for row in scores["levels"]] == list(LEVELS)
    assert scores["levels"][1]["top1"] == pytest.approx(scores["top1"], abs=0.06)  # probabilities have six decimals
    assert "light: accuracy" in (folder / "folds" / "report.html").read_text()
