"""Images of six channels from training to the report: every verb takes them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import hvit as package
from hvit.models.weights.save import save_weights

Run = Callable[..., tuple[int, str, str]]
NAMES = ("blue", "green", "red", "nir", "swir", "thermal")


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """Two classes of arrays of six channels of 16 bits; one class is bright in the near infrared."""
    root, random = tmp_path / "fields", np.random.default_rng(0)
    for name, channel in (("wheat", 3), ("water", 0)):
        (root / name).mkdir(parents=True)
        for number in range(6):
            pixels = random.integers(0, 1500, (40, 36, 6), dtype=np.uint16)
            pixels[..., channel] += 2000
            np.save(root / name / f"{number}.npy", pixels)
    return root


@pytest.mark.long
def test_every_verb_takes_images_of_six_channels(hvit: Run, arrays: Path, tmp_path: Path) -> None:
    rgb = tmp_path / "rgb.safetensors"
    save_weights(package.create_model("nest_micro_64", num_classes=2), rgb)
    status, _, plan = hvit(
        "train", "nest_micro_folder", "--data.root", arrays, "--data.channels", *NAMES, "--model.in-channels", "6",
        "--model.input-size", "32", "--model.patch-size", "2", "2", "--loop.max-steps", "1", "--loop.batch-size", "4",
        "--loop.workers", "0", "--loop.device", "cpu", "--augment.color-jitter", "0.4", "--out", "run",
    )  # fmt: skip
    assert status == 0, plan
    assert "have 6 channels, so augment.color_jitter" in " ".join(plan.split())
    assert "0 is black and 4,095 white" in " ".join(plan.split())
    assert (tmp_path / "run" / "report.html").is_file()
    file = arrays / "wheat" / "0.npy"
    status, text, err = hvit("evaluate", "run", "--device", "cpu", "--json")
    assert (status, json.loads(text)["count"]) == (0, 2), err
    status, _, err = hvit("predict", "run", arrays, "--device", "cpu", "--csv", "predictions.csv")
    assert status == 0, err
    assert len(list(csv.reader((tmp_path / "predictions.csv").read_text().splitlines()))) == 13
    status, text, err = hvit("explain", "run", file, "--device", "cpu", "--json", "--methods", "block_shapley", "cam")
    assert status == 0, err
    assert (tmp_path / "explanations" / "index.html").is_file()
    status, text, err = hvit("embed", "run", "--device", "cpu", "--json")
    assert (status, json.loads(text)["images"]) == (0, 12), err
    status, text, err = hvit("neighbours", "run", "--json")
    assert status == 0, err


def test_what_does_not_fit_is_one_sentence(hvit: Run, arrays: Path) -> None:
    given = ("train", "nest_micro_folder", "--data.root", arrays, "--dry-run", "--loop.device", "cpu")
    for more, sentence in (
        (("--model.in-channels", "6", "--data.channels", "a", "b"), "names each of the 6 channels"),
        (("--model.in-channels", "5"), "the model takes 5 channels"),
    ):
        status, _, err = hvit(*given, *more)
        assert status == 2
        assert sentence in err
    status, _, err = hvit("train", "nest_micro_digits", "--model.in-channels", "4", "--dry-run")
    assert status == 2
    assert "images of other channels are read from a folder" in err
