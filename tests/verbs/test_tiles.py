"""Answers of a large image are the mean over its tiles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hvit.verbs.classifier import open_classifier
from hvit.verbs.predict import predict
from hvit.verbs.tiles import predict_tiles


def test_the_answer_of_an_image_is_the_mean_over_its_tiles(weights: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "large.png")
    classifier = open_classifier(weights, "cpu")
    (answer,) = predict_tiles(classifier, [tmp_path / "large.png"], 2, 4, pytest.fail, 32, 0)
    assert [(one["left"], one["top"]) for one in answer["tiles"]] == [
        (0, 0), (32, 0), (64, 0), (0, 32), (32, 32), (64, 32),
    ]  # fmt: skip
    shares = torch.tensor([
        [next(one["probability"] for one in tile["classes"] if one["index"] == index) for index in (0, 1)]
        for tile in answer["tiles"]
    ])  # fmt: skip
    merged = [next(one["probability"] for one in answer["classes"] if one["index"] == index) for index in (0, 1)]
    torch.testing.assert_close(torch.tensor(merged), shares.mean(0), atol=2e-6, rtol=0)
    # A tile is what the same pixels are alone, where nothing is cut off around them.
    Image.fromarray(pixels[:32, :32]).save(tmp_path / "tile.png")
    alone = replace(classifier, preprocess=replace(classifier.preprocess, crop=1.0))
    (one,) = predict(alone, [tmp_path / "tile.png"], 2, 4, pytest.fail)
    assert one["classes"] == answer["tiles"][0]["classes"]


def test_a_file_that_cannot_be_cut_is_named_and_the_others_go_on(weights: Path, tmp_path: Path) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "small.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    sentences: list[str] = []
    files = [tmp_path / "bad.png", tmp_path / "small.png"]
    (answer,) = predict_tiles(open_classifier(weights, "cpu"), files, 1, 4, sentences.append, 64, 0)
    assert len(answer["tiles"]) == 1
    assert len(sentences) == 1
    assert "bad.png" in sentences[0]
