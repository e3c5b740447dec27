"""A predictor answers batches of paths, of files' contents and of arrays alike, and survives being pickled."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import hvit
from hvit.errors import UserError
from hvit.models.weights.save import save_weights
from hvit.verbs.predictor import Predictor


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    found = []
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 40, 3), np.uint8)
        found.append(tmp_path / f"{number}.png")
        Image.fromarray(pixels).save(found[-1])
    return found


def test_paths_contents_and_arrays_have_the_same_answers(weights: Path, files: list[Path]) -> None:
    predictor = Predictor(weights, top_k=2, device="cpu")
    by_path = predictor({"path": np.array(list(map(str, files)), object), "label": np.arange(3)})
    assert by_path["label"].tolist() == [0, 1, 2]
    assert by_path["path"].tolist() == list(map(str, files))
    assert by_path["error"].tolist() == ["", "", ""]
    assert set(by_path["class_1"]) <= {"blue", "red"}
    np.testing.assert_allclose(by_path["probability_1"] + by_path["probability_2"], 1, atol=1e-4)
    contents = np.array([file.read_bytes() for file in files], object)
    arrays = np.stack([np.asarray(Image.open(file)) for file in files])
    for column, values in (("bytes", contents), ("image", arrays)):
        answers = pickle.loads(pickle.dumps(predictor))({column: values})
        assert column not in answers
        np.testing.assert_array_equal(answers["probability_1"], by_path["probability_1"])
        assert answers["class_1"].tolist() == by_path["class_1"].tolist()


def test_what_cannot_be_read_is_named_in_its_row(weights: Path, files: list[Path]) -> None:
    contents = [files[0].read_bytes(), b"no image", b""]
    answers = Predictor(weights, device="cpu")({"bytes": contents, "path": ["a.png", "b.png", "c.png"]})
    assert answers["error"][0] == ""
    assert all(f"{name}.png" in answers["error"][place] for place, name in ((1, "b"), (2, "c")))
    assert answers["class_1"].tolist()[1:] == ["", ""]
    assert np.isnan(answers["probability_1"][1:]).all()
    nothing = Predictor(weights, device="cpu")({"path": ["/nowhere/a.png"]})
    assert "no such file" in nothing["error"][0]


def test_features_are_those_of_embed(weights: Path, files: list[Path]) -> None:
    from hvit.data.images.reading import read_image
    from hvit.verbs.embed import open_embedder

    predictor = Predictor(weights, "features", device="cpu")
    answers = predictor({"path": [str(files[0]), "/nowhere/a.png"]})
    embedder = open_embedder(str(weights), "cpu")
    wanted = embedder.features(embedder.preprocess.tensor(read_image(files[0]))[None])
    np.testing.assert_allclose(answers["features"][0], wanted[0], atol=1e-6)
    assert np.isnan(answers["features"][1]).all()
    assert len(answers["sha256"][0]) == 64


def test_a_fingerprint_is_of_weights_and_options(weights: Path, tmp_path: Path) -> None:
    first = Predictor(weights, device="cpu").fingerprint()
    assert Predictor(weights, device="cpu").fingerprint() == first
    assert Predictor(weights, top_k=1, device="cpu").fingerprint() != first
    torch.manual_seed(1)
    other = tmp_path / "other.safetensors"
    save_weights(hvit.create_model("nest_micro_32", num_classes=2), other, classes=("blue", "red"))
    assert Predictor(other, device="cpu").fingerprint() != first


def test_a_batch_without_images_and_another_output_are_refused(weights: Path) -> None:
    with pytest.raises(UserError, match="needs a column of images"):
        Predictor(weights, device="cpu")({"label": np.arange(2)})
    with pytest.raises(UserError, match="must be classes or features"):
        Predictor(weights, "words")  # type: ignore


def test_models_of_clips_are_refused(clip_run: Path) -> None:
    with pytest.raises(UserError, match="takes clips"):
        Predictor(clip_run, device="cpu").open()
