"""What runs of generation are compared with: statistics that are computed once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hvit.data.images.digits import DigitsData
from hvit.data.open import open_data
from hvit.data.preprocess import Preprocess
from hvit.metrics.frechet import Extractor
from hvit.runs.generation import reference_statistics
from hvit.tasks.extractors import pixel_extractor
from hvit.training.distribute import alone
from hvit.verbs import evaluate, train
from tests.verbs.small_generator import RECIPE


def test_statistics_of_training_images_are_computed_once_and_damaged_ones_anew(tmp_path: Path) -> None:
    splits = open_data(DigitsData(canvas=8), 0, 1)
    preprocess = Preprocess((8, 8), splits.mean, splits.std, 1.0)
    known, path = pixel_extractor(4), tmp_path / "reference.npz"
    counted: list[int] = []

    def counting(images: torch.Tensor) -> torch.Tensor:
        counted.append(len(images))
        return known.extract(images)

    extractor = Extractor(known.source, counting)
    first = reference_statistics(extractor, splits.held_out, preprocess, path, alone("cpu"))
    assert sum(counted) == first.count == len(splits.held_out)
    again = reference_statistics(extractor, splits.held_out, preprocess, path, alone("cpu"))
    assert sum(counted) == len(splits.held_out), "read from the file"
    np.testing.assert_array_equal(again.covariance, first.covariance)
    whole = path.read_bytes()
    path.write_bytes(whole[:300])
    reference_statistics(extractor, splits.held_out, preprocess, path, alone("cpu"))
    assert sum(counted) == 2 * len(splits.held_out)
    assert len(path.read_bytes()) == len(whole)
    other = Extractor(replace(known.source, name="other"), counting)
    assert reference_statistics(other, splits.held_out, preprocess, path, alone("cpu")).source.name == "other"
    assert reference_statistics(other, splits.train, preprocess, path, alone("cpu")).count == len(splits.train)


@pytest.mark.long
def test_a_run_compared_with_training_images_keeps_and_uses_their_statistics(tmp_path: Path) -> None:
    model = replace(RECIPE.model, reference="training", conditional=False)
    scores = train.train(replace(RECIPE, model=model, loop=replace(RECIPE.loop, max_steps=1)), tmp_path / "run")
    assert (scores["split"], scores["reference_count"]) == ("training", 1347)
    assert (tmp_path / "run" / "reference.npz").exists()
    assert "recognised" not in scores
    again = evaluate.evaluate(tmp_path / "run", device="cpu")
    assert again["distance"] == pytest.approx(scores["distance"], rel=1e-4)
