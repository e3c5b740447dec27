"""Labels of every kind go the whole way: a table, training, scores, the report, predictions and explanations."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hvit.cli.main import main
from hvit.data.augment_settings import AugmentConfig
from hvit.data.images.folders import FolderData
from hvit.models.weights.open import open_weights
from hvit.verbs import train
from hvit.verbs.classifier import Classifier
from hvit.verbs.evaluate import evaluate
from tests.verbs.tiny import RECIPE

HEADERS = {"single": "side", "multi": "top,left", "ordinal": "grey", "regression": "brightness"}
SCORES = {"single": "top1", "multi": "mean_average_precision", "ordinal": "quadratic_kappa", "regression": "r2"}


def make_images(folder: Path, kind: str, count: int = 48) -> Path:
    """Canvases with a bright half at the top, at the left, both or none, and a table of what is there."""
    random = np.random.default_rng(0)
    lines = [f"file,{HEADERS[kind]},hospital"]
    for number in range(count):
        top, left, level = number % 2, number // 2 % 2, int(random.integers(0, 3))
        pixels = random.integers(0, 40, (8, 8))
        pixels[: 4 * top] += 80
        pixels[:, : 4 * left] += 60
        if kind == "ordinal":
            pixels = random.integers(0, 40, (8, 8))
            pixels[:, : 4 * level] += 150
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:03}.png")
        words = {
            "single": "top" if top else "other",
            "multi": f"{top},{left}",
            "ordinal": str(level),
            "regression": f"{pixels.mean() * 10:.3f}",
        }
        lines.append(f"{number:03}.png,{words[kind]},{number // 6}")
    table = folder / "labels.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table


@pytest.fixture(
    scope="module",
    params=[pytest.param(kind, marks=[pytest.mark.long] if kind in ("ordinal", "single") else []) for kind in HEADERS],
)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """A run of a few epochs: the kind of its labels, the folder of its images, and its own."""
    kind, folder = request.param, tmp_path_factory.mktemp(request.param)
    table = make_images(folder, kind)
    data = FolderData(
        table=str(table), label_columns=tuple(HEADERS[kind].split(",")), group_column="hospital",
        task="auto" if kind != "ordinal" else "ordinal", balance="none" if kind == "regression" else "weights",
    )  # fmt: skip
    recipe = replace(
        RECIPE,
        model=replace(RECIPE.model, num_classes=None, drop_path=0.0),
        data=data,
        loss="asymmetric" if kind == "multi" else "auto",
        augment=AugmentConfig(mixup=0.1, label_smoothing=0.1),
        optimize=replace(RECIPE.optimize, average_decay=0.0, learning_rate_per_256=8e-2),
        loop=replace(RECIPE.loop, epochs=30, batch_size=8, checkpoint_steps=0, evaluate_every=30),
    )
    train.train(recipe, folder / "run")
    return kind, folder, folder / "run"


def test_it_trains_and_scores_by_the_usual_names(run: tuple[str, Path, Path]) -> None:
    kind, _, folder = run
    scores = json.loads((folder / "scores.json").read_text())
    assert scores[SCORES[kind]] > 0.2
    names = {
        "single": ("balanced_accuracy", "f1_macro", "top1"),
        "multi": ("f1_micro", "f1_macro", "f1_macro_at_half", "auroc"),
        "ordinal": ("mae", "spearman", "balanced_accuracy"),
        "regression": ("mae", "r2", "spearman", "rmse"),
    }
    assert set(names[kind]) <= set(scores)
    plan = json.loads((folder / "plan.json").read_text())["plan"]
    assert "Columns: path file" in plan["notes"]
    assert ("Label smoothing (0.1) has no meaning for numbers" in plan["notes"]) == (kind == "regression")


def test_the_weights_say_what_their_outputs_are(run: tuple[str, Path, Path]) -> None:
    kind, _, folder = run
    labels = open_weights(folder).labels
    assert labels.kind == kind
    assert len(labels.thresholds) == (2 if kind == "multi" else 0)
    assert len(labels.std) == (1 if kind == "regression" else 0)


def test_weights_are_scored_again_as_in_the_run(run: tuple[str, Path, Path]) -> None:
    kind, _, folder = run
    before = json.loads((folder / "scores.json").read_text())
    scores = evaluate(folder, device="cpu")
    for name in (SCORES[kind], "loss"):
        assert scores[name] == pytest.approx(before[name], abs=1e-5)
    if kind == "multi":
        assert scores["f1_micro"] == before["f1_micro"]
        assert (before["thresholds_chosen_here"], scores["thresholds_chosen_here"]) == (True, False)


def output(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    main(list(words))
    return capsys.readouterr().out


def test_predict_and_evaluate_print_what_the_labels_are(
    run: tuple[str, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    kind, images, folder = run
    answer = json.loads(output(capsys, "predict", str(folder), str(images / "003.png"), "--json"))
    wanted: dict[str, Any] = {"single": "classes", "multi": "labels", "ordinal": "classes", "regression": "values"}
    assert wanted[kind] in answer
    text = output(capsys, "predict", str(folder), str(images / "003.png"))
    assert ("brightness" in text) == (kind == "regression")
    if kind == "regression":
        dark = json.loads(output(capsys, "predict", str(folder), str(images / "000.png"), "--json"))
        assert 100 < dark["values"]["brightness"] < answer["values"]["brightness"] < 2000  # in the units of the labels
    table = output(capsys, "evaluate", str(folder), "--device", "cpu")
    heads = {"single": "recall", "multi": "threshold", "ordinal": "quadratic kappa", "regression": "rank correlation"}
    assert heads[kind] in table


def test_an_explanation_says_what_its_output_is(
    run: tuple[str, Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    kind, images, folder = run
    words = output(
        capsys, "explain", str(folder), str(images / "003.png"), "--out", str(tmp_path), "--json", "--top-k", "1",
        "--methods", "block_shapley",
    )  # fmt: skip
    (tree,) = json.loads(words)["trees"]
    assert ("value" in tree) == (kind == "regression")
    assert ("words" in tree["removal"]["before"]) == (kind in ("multi", "regression"))
    assert (tmp_path / "index.html").stat().st_size > 0


@pytest.mark.long
def test_checking_explanations_takes_the_probabilities_of_the_labels(
    run: tuple[str, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    kind, images, folder = run
    words = ("explain", str(folder), str(images), "--check", "10", "--methods", "cam", "--json")
    if kind == "regression":
        with pytest.raises(SystemExit):
            main(list(words))
        assert "--check measures probabilities of classes, and this model predicts numbers" in capsys.readouterr().err
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classifier, "answers_to", lambda _, logits: torch.full_like(logits, 0.25))
        answer = json.loads(output(capsys, *words))
    assert answer["probability_before"] == answer["probability"] == 0.25


def test_the_report_shows_the_scores_of_the_labels(run: tuple[str, Path, Path]) -> None:
    kind, _, folder = run
    page = (folder / "report.html").read_text(encoding="utf-8")
    title = {
        "single": "Held-out accuracy",
        "multi": "Mean average precision",
        "ordinal": "Quadratic kappa",
        "regression": "Mean absolute error",
    }
    assert title[kind] in page
