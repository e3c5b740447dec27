"""Fashion-MNIST is read from its four IDX files, plain or packed, and damaged ones are refused in one sentence."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hvit.data.images.fashion import CLASSES, FashionData, FashionSet
from hvit.data.open import open_data
from hvit.errors import UserError
from hvit.recipe import as_json
from hvit.recipes import get_recipe
from hvit.training.schedule import LoopConfig
from hvit.verbs import evaluate, train

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes((0, 0, 8, array.ndim)) + sizes + array.tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty images to train on and twenty held out, the labels packed."""
    random = np.random.default_rng(0)
    for part, count in (("train", 40), ("t10k", 20)):
        pixels = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(pixels))
        labels = np.arange(count, dtype=np.uint8) % 10
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    return tmp_path


def test_the_four_files_become_two_parts_in_colour_or_grey(folder: Path) -> None:
    splits = open_data(FashionData(root=str(folder)), 0, 1)
    assert isinstance(splits.train, FashionSet)
    assert (len(splits.train), len(splits.held_out), splits.classes) == (40, 20, CLASSES)
    image, label = splits.train.read(11, 0)
    assert (image.mode, image.size, label) == ("L", (28, 28), 1)
    assert np.array_equal(np.asarray(image), splits.train.pixels[11])
    assert open_data(FashionData(root=str(folder)), 0, 3).train.read(0, 0)[0].mode == "RGB"
    some = open_data(FashionData(root=str(folder), num_per_class=2, held_out_per_class=1), 0, 1)
    assert (len(some.train), len(some.held_out), len(some.notes)) == (20, 10, 2)


@pytest.mark.long
def test_a_run_on_it_is_trained_and_scored_again(folder: Path, tmp_path: Path) -> None:
    digits = get_recipe("nest_micro_digits")
    recipe = replace(
        digits,
        data=FashionData(root=str(folder)),
        model=replace(digits.model, dims=(8, 16, 16), heads=(1, 2, 2), depths=(1, 1, 1)),  # pyright: ignore
        loop=LoopConfig(epochs=1, batch_size=10, max_steps=2, workers=0, device="cpu"),
    )
    assert as_json(recipe)["data"]["kind"] == "fashion_mnist"
    scores = train.train(recipe, tmp_path / "run")
    assert (
        evaluate.evaluate(tmp_path / "run" / "weights.safetensors", "fashion_mnist", str(folder))["top1"]
        == (scores["top1"])
    )


def test_what_is_missing_or_damaged_is_refused_in_one_sentence(folder: Path) -> None:
    images, labels = folder / NAMES[0], folder / f"{NAMES[1]}.gz"
    whole, packed = images.read_bytes(), labels.read_bytes()
    for path, content, sentence in (
        (images, whole[:-1], "but has 31,359 bytes"),
        (images, b"\0\0\x08\x01" + whole[4:], "not in IDX form"),
        (images, whole[:4] + b"\xff\xff\xff\xff" + whole[8:], "says it holds"),
        (images, b"", "not in IDX form"),
        (images, idx(np.zeros((40, 14, 56), np.uint8)), "28 x 28"),
        (labels, packed[:-9], "ends too early"),
        (labels, b"no gzip", "is damaged"),
        (labels, gzip.compress(idx(np.zeros(39, np.uint8))), "39 labels, but there are 40 images"),
        (labels, gzip.compress(idx(np.full(40, 11, np.uint8))), "has the label 11"),
        (labels, gzip.compress(bytes(90_000_000), 9), "more than"),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=sentence):
            open_data(FashionData(root=str(folder)), 0, 1)
        images.write_bytes(whole)
        labels.write_bytes(packed)
    labels.unlink()
    with pytest.raises(UserError, match=r"has neither train-labels-idx1-ubyte nor train-labels-idx1-ubyte.gz"):
        open_data(FashionData(root=str(folder)), 0, 1)
    with pytest.raises(UserError, match="needs the folder"):
        open_data(FashionData(), 0, 1)
