"""Features: those of the model itself, of any level; a call that was killed goes on; what cannot be read is named."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import hvit
from hvit.data.feature_table import read_features
from hvit.data.images.folders import FolderData
from hvit.data.open import open_data
from hvit.data.preprocess import Preprocess
from hvit.errors import UserError
from hvit.models.probe import head_features
from hvit.models.weights.save import save_weights
from hvit.verbs import embed as module
from hvit.verbs.embed import Embedder, FileImages, RunImages, embed, open_embedder


@pytest.fixture
def embedder(weights: Path) -> Embedder:
    return open_embedder(str(weights), "cpu")


def test_features_are_what_the_head_takes_or_the_mean_of_a_level(
    weights: Path, photo_folder: Path, tmp_path: Path
) -> None:
    file = photo_folder / "red" / "0.png"
    for level in (None, 0, 2):
        asked = open_embedder(str(weights), "cpu", level)
        assert embed(asked, FileImages([file]), tmp_path / f"{level}.npy", 4, pytest.fail) == 1
        with Image.open(file) as image:
            batch = asked.preprocess.tensor(image.convert("RGB"))[None]
        model = hvit.open_weights(weights).model
        with torch.no_grad():
            wanted = head_features(model, batch) if level is None else model.levels(batch)[level].mean((1, 2))
        np.testing.assert_allclose(read_features(tmp_path / f"{level}.npy").features, wanted.numpy(), atol=1e-5)
    with pytest.raises(UserError, match=r"from 0 \(the finest\) to 2"):
        open_embedder(str(weights), "cpu", 3)


def test_rows_say_which_image_it_is_and_folders_which_part_and_class(
    embedder: Embedder, photo_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(photo_folder, tmp_path / "photos" / "train")
    shutil.copytree(photo_folder / "red", tmp_path / "photos" / "val" / "red")
    out = tmp_path / "features.npy"
    assert embed(embedder, FileImages([tmp_path / "photos"]), out, 4, pytest.fail) == 18
    table = read_features(out)
    assert sorted(set(zip(table.rows["part"], table.rows["class"], strict=True))) == [
        ("train", "blue"), ("train", "red"), ("val", "red"),
    ]  # fmt: skip
    for name, content in zip(table.rows["file"], table.rows["sha256"], strict=True):
        assert content == hashlib.sha256(Path(name).read_bytes()).hexdigest()


def test_a_call_that_was_killed_goes_on_where_it_was(
    embedder: Embedder, photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PORTION", 5)
    images, out, read = FileImages([photo_folder]), tmp_path / "features.npy", []
    whole = tmp_path / "whole.npy"
    embed(embedder, images, whole, 3, pytest.fail)

    class Killed(FileImages):
        def read(self, index: int, preprocess: Preprocess) -> tuple[Image.Image, str]:
            if index == 11:
                raise KeyboardInterrupt
            return super().read(index, preprocess)

    with pytest.raises(KeyboardInterrupt):
        embed(embedder, Killed([photo_folder]), out, 3, pytest.fail)
    assert not out.exists()

    class Counted(FileImages):
        def read(self, index: int, preprocess: Preprocess) -> tuple[Image.Image, str]:
            read.append(index)
            return super().read(index, preprocess)

    embed(embedder, Counted([photo_folder]), out, 3, pytest.fail)
    assert read == [10, 11]  # the portions before were kept
    np.testing.assert_array_equal(read_features(out).features, read_features(whole).features)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_image_that_cannot_be_read_is_named_and_missing(
    embedder: Embedder, photo_folder: Path, tmp_path: Path
) -> None:
    shutil.copy(photo_folder / "red" / "0.png", tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    sentences: list[str] = []
    out = tmp_path / "out" / "features.npy"
    assert embed(embedder, FileImages([tmp_path]), out, 4, sentences.append) == 1
    assert len(sentences) == 1
    assert "bad.png" in sentences[0]
    with pytest.raises(UserError, match="none of the images can be read"):
        embed(embedder, FileImages([tmp_path / "bad.png"]), out, 4, sentences.append)


def test_all_parts_of_a_runs_data_are_embedded_with_their_classes(
    embedder: Embedder, photo_folder: Path, tmp_path: Path
) -> None:
    images = RunImages(open_data(FolderData(root=str(photo_folder)), 0, 3))
    out = tmp_path / "features.npy"
    assert embed(embedder, images, out, 4, pytest.fail) == 12
    rows = read_features(out).rows
    assert rows["part"].count("train") == 10
    assert rows["part"].count("held_out") == 2
    assert all(Path(name).parent.name == label for name, label in zip(rows["file"], rows["class"], strict=True))


def test_masked_autoencoders_have_features_and_generators_have_none(tmp_path: Path, photo_folder: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "weights.safetensors"
    model = hvit.create_model("mae_hiera_micro_32")
    save_weights(model, path)
    embedder = open_embedder(str(path), "cpu")
    assert embed(embedder, FileImages([photo_folder]), tmp_path / "features.npy", 8, pytest.fail) == 12
    save_weights(hvit.create_model("nest_generator_digits_32"), path)
    with pytest.raises(UserError, match="no features of images"):
        open_embedder(str(path), "cpu")
