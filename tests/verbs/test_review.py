"""The review in a run folder: pictures of what was found, explanations of doubtful labels, and a map."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hvit.data.feature_table import read_features
from hvit.data.images.folders import FolderData
from hvit.data.open import open_data
from hvit.report.review import review_sections
from hvit.run_names import EMBEDDINGS, REVIEW, REVIEW_FILE
from hvit.verbs.embed import RunImages, embed, open_embedder
from hvit.verbs.neighbours import find_problems
from hvit.verbs.review import draw_map, write_review


@pytest.fixture
def run(tmp_path: Path, weights: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(weights, folder / "weights.safetensors")
    return folder


@pytest.mark.long
def test_a_review_has_pictures_and_explanations_and_replaces_an_older_one(
    run: Path, photo_folder: Path, tmp_path: Path
) -> None:
    embedder = open_embedder(str(run), "cpu")
    images = RunImages(open_data(FolderData(root=str(photo_folder)), 0, 3))
    embed(embedder, images, run / EMBEDDINGS, 8, pytest.fail)
    table = read_features(run / EMBEDDINGS)
    problems = find_problems(table, 0.0)
    rows = [{name: table.rows[name][row] for name in ("file", "part", "class")} | {"row": row} for row in (0, 11)]
    problems["pairs"] = [
        {"kind": "similar", "distance": 0.01, "across_parts": True, "first": rows[0], "second": rows[1]}
    ]
    problems["label_errors"] = [rows[0] | {"predicted": "red", "probability": 0.1}]
    (run / REVIEW).mkdir()
    (run / REVIEW / "old.jpg").touch()
    write_review(run, table, problems, images)
    names = {path.name for path in (run / REVIEW).iterdir()}
    assert names == {
        REVIEW_FILE, "image_1.jpg", "image_2.jpg", "explanation_1.jpg", "explanation_1_dark.jpg", "map.png",
        "map_dark.png",
    }  # fmt: skip
    with Image.open(run / REVIEW / "image_1.jpg") as image:
        assert max(image.size) <= 128
    review = json.loads((run / REVIEW / REVIEW_FILE).read_text())
    assert review["pairs"][0]["pictures"] == ["image_1.jpg", "image_2.jpg"]
    assert review["label_errors"][0]["picture"] == "image_1.jpg"
    page = "".join(review_sections(run))
    assert page.count("<details>") == 1
    assert page.count("<img") == 5


def test_a_map_is_drawn_with_and_without_classes(weights: Path, photo_folder: Path, tmp_path: Path) -> None:
    from hvit.data.feature_table import FeatureTable

    rows = {"class": ["a"] * 5 + ["b"] * 5}
    features = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
    for table in (FeatureTable(features, rows), FeatureTable(features, {"class": [""] * 10})):
        light, dark = draw_map(table)
        assert light.startswith(b"\x89PNG")
        assert light != dark
