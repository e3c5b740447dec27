"""A run measures its probabilities on held-out images, its weights carry it, and `predict` says it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hvit.data.open import FolderData, open_data
from hvit.models.weights.open import open_weights
from hvit.models.weights.read import read_checkpoint
from hvit.tasks.confidence import Confidence, ConfidenceConfig
from hvit.verbs import evaluate, train
from hvit.verbs.classifier import open_classifier
from hvit.verbs.predict import predict
from tests.verbs.tiny import RECIPE, TINY

DIGITS = replace(
    RECIPE, confidence=ConfidenceConfig(unsure_error=0.2), loop=replace(RECIPE.loop, epochs=3, evaluate_every=3)
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("confidence") / "run"
    train.train(DIGITS, folder)
    return folder


def images(folder: Path, arrays: np.ndarray) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{number:03d}.png" for number in range(len(arrays))]
    for path, pixels in zip(paths, arrays, strict=True):
        Image.fromarray(pixels).save(path)
    return paths


def test_the_temperature_lowers_the_loss_and_changes_no_logit(run: Path) -> None:
    scores = json.loads((run / "scores.json").read_text())
    found = scores["calibration"]
    opened = open_weights(run)
    confidence = Confidence.read(opened.confidence, "run")
    assert confidence.temperature == found["temperature"] != 1
    assert confidence.unsure_below == found["unsure"]["below"]
    assert found["error_after"] == pytest.approx(scores["calibration_error"], abs=1e-6)
    assert found["measured_on"] == "held-out"
    held_out = open_data(DIGITS.data, 0, 1).held_out
    classifier = open_classifier(run)
    batch = torch.stack([classifier.preprocess.tensor(held_out.read(index, index)[0]) for index in range(40)])  # pyright: ignore
    with torch.no_grad():
        logits = opened.model(batch)
        assert torch.equal(classifier.logits(batch), logits)
        assert torch.allclose(classifier.answers(batch), (logits / confidence.temperature).softmax(1), atol=1e-6)
    again = evaluate.evaluate(run)
    assert again["calibration_error"] == pytest.approx(scores["calibration_error"], abs=1e-5)
    assert again["confidences"] == pytest.approx(scores["confidences"], abs=2e-4)


def test_noise_and_other_images_lie_farther_from_the_training_images_than_held_out_ones(
    run: Path, tmp_path: Path
) -> None:
    held_out = open_data(DIGITS.data, 0, 1).held_out
    digits = np.stack([np.asarray(held_out.read(index, index)[0]) for index in range(60)])
    noise = np.random.default_rng(0).integers(0, 255, (60, 8, 8), dtype=np.uint8)
    classifier = open_classifier(run)

    def looked(name: str, arrays: np.ndarray) -> list[dict[str, float]]:
        return list(predict(classifier, images(tmp_path / name, arrays), 1, 16, pytest.fail))

    usual, odd, inverted = looked("digits", digits), looked("noise", noise), looked("inverted", 255 - digits)
    assert 0.3 < np.mean([one["outlier"] for one in usual]) < 0.7
    for strange in (odd, inverted):
        distances = np.array([[one["distance"] for one in some] for some in (usual, strange)])
        assert (distances[1][:, None] > distances[0][None]).mean() > 0.8, "the area under the curve"
    unsure = [np.mean([one["unsure"] for one in some]) for some in (usual, odd)]
    assert unsure[0] < unsure[1]


def test_predict_says_unsure_and_unlike(run: Path, tmp_path: Path, hvit: Callable[..., tuple[int, str, str]]) -> None:
    classifier = open_classifier(run)
    held_out = open_data(DIGITS.data, 0, 1).held_out
    files = images(tmp_path / "some", np.stack([np.asarray(held_out.read(index, index)[0]) for index in range(30)]))
    answers = [json.loads(line) for line in hvit("predict", run, *files, "--json")[1].splitlines()]
    below = classifier.confidence.unsure_below
    assert below is not None
    assert [one["unsure"] for one in answers] == [one["classes"][0]["probability"] < below for one in answers]
    lines = hvit("predict", run, *files)[1].splitlines()
    assert [": unsure  " in line for line in lines] == [one["unsure"] for one in answers]
    assert ["unlike the training images" in line for line in lines] == [one["outlier"] >= 0.99 for one in answers]
    ready = replace(classifier, prepared=classifier.model)  # pyright: ignore[reportArgumentType]  (any way to compute it)
    assert "outlier" not in next(predict(ready, files[:1], 1, 16, pytest.fail)), "it would take a second pass"
    (run / "outliers.safetensors").rename(run / "elsewhere.npz")
    assert "outlier" not in json.loads(hvit("predict", run, files[0], "--json")[1])
    (run / "outliers.safetensors").write_bytes(b"another")
    status, _, errors = hvit("predict", run, files[0])
    assert status == 2
    assert "does not belong to the weights next to it" in errors
    (run / "elsewhere.npz").replace(run / "outliers.safetensors")


def test_a_run_that_asks_for_nothing_leaves_weights_as_before(photo_folder: Path, tmp_path: Path) -> None:
    recipe = replace(
        RECIPE,
        model=replace(TINY, in_channels=3, num_classes=None),
        data=FolderData(root=str(photo_folder)),
        loop=replace(RECIPE.loop, max_steps=1),
        confidence=ConfidenceConfig(calibrate=False, outliers=False),
    )
    train.train(recipe, tmp_path / "run")
    assert "confidence" not in json.loads(str(read_checkpoint(tmp_path / "run")[1]["hvit"]))
    assert "calibration" not in json.loads((tmp_path / "run" / "scores.json").read_text())
    assert not (tmp_path / "run" / "outliers.safetensors").exists()
    assert open_classifier(tmp_path / "run").confidence == Confidence()
