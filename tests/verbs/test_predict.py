"""Predictions of images and clips read files as the weights say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hvit.data.grey import GreyRange
from hvit.data.preprocess import Preprocess
from hvit.verbs.classifier import Classifier, open_classifier
from hvit.verbs.predict import predict, predict_clips
from tests.data.deep_files import png


def test_predictions_are_the_mean_over_views_from_beginning_to_end(clip_run: Path, clip_folder: Path) -> None:
    classifier = open_classifier(clip_run)
    (answer,) = predict_clips(classifier, [clip_folder / "dark" / "0.npy"], 2, 3, pytest.fail)
    starts = [look["start"] for look in answer["over_time"]]
    assert starts == [0.0, pytest.approx(2 / 30, abs=1e-3), pytest.approx(4 / 30, abs=1e-3)]
    for index in (0, 1):
        shares = [
            next(one["probability"] for one in look["classes"] if one["index"] == index) for look in answer["over_time"]
        ]
        whole = next(one["probability"] for one in answer["classes"] if one["index"] == index)
        assert whole == pytest.approx(np.mean(shares), abs=1e-5)


class Mean(torch.nn.Module):
    """Answers with the mean of what it is shown, as the logit of its first class."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        means = batch.mean((1, 2, 3))
        return torch.stack([means, torch.zeros_like(means)], dim=1)


@pytest.mark.parametrize(("rule", "level"), [((0.0, 1000.0), 1.0), ((0.0, 4000.0), 0.25), ("full", 1000 / 65535)])
def test_predictions_read_files_as_the_weights_say(tmp_path: Path, rule: GreyRange, level: float) -> None:
    file = png(tmp_path / "flat.png", np.full((8, 8), 1000), 0)
    preprocess = Preprocess((8, 8), (0.0,), (1.0,), grey_range=rule)
    classifier = Classifier(Mean(), ("a", "b"), preprocess, torch.device("cpu"))  # pyright: ignore[reportArgumentType]
    (answer,) = predict(classifier, [file], 2, 4, pytest.fail)
    shares = {one["class"]: one["probability"] for one in answer["classes"]}
    assert np.log(shares["a"] / shares["b"]) == pytest.approx(level, abs=0.003)
