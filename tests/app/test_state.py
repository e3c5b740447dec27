"""Claims about what the app computes and keeps: calibrated answers, hidden blocks, the last images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

import hvit
from hvit.app.state import Gone, Images, Limits, Slow
from hvit.data.images.reading import read_image
from hvit.data.regular_files import InMemory
from hvit.errors import UserError
from hvit.labels import LabelSpec
from hvit.metrics.outliers import NearestTraining
from hvit.tasks.confidence import Confidence
from tests.app.conftest import photo

Make = Callable[..., Images]
EVERY = [(row, column) for row in range(4) for column in range(4)]


def test_probabilities_are_calibrated_with_and_without_blocks(make_images: Make) -> None:
    images = make_images()
    said = images.add(photo(), "a.png")
    classifier = images.classifier
    tensor = classifier.preprocess.tensor(read_image(InMemory("a.png", photo())))
    with torch.inference_mode():
        expected = (classifier.model(tensor[None])[0] / 2.0).softmax(0)
        blank = tensor.mean((1, 2), keepdim=True).expand_as(tensor)
        without = (classifier.model(blank[None])[0] / 2.0).softmax(0)
    assert said["answers"] == pytest.approx(expected.tolist(), rel=1e-4)
    assert images.hide(said["id"], [])["answers"] == pytest.approx(expected.tolist(), rel=1e-3)
    assert images.hide(said["id"], EVERY)["answers"] == pytest.approx(without.tolist(), rel=1e-3)
    blocks = images.blocks(said["id"])
    assert blocks["side"] == 4
    assert blocks["words"] == "replaced by the image's mean colour"
    card = images.card(said["id"], 11)
    assert "&lt;b&gt;bold" in card
    assert "<b>bold" not in card
    assert f"{100 * expected[11]:.1f}" in card


def test_an_answer_says_when_it_is_unsure_and_when_the_image_is_unlike_the_training_images(make_images: Make) -> None:
    features = hvit.create_model("nest_micro_32").config.dims[-1]
    bank = NearestTraining(np.eye(1, features, dtype=np.float16), np.zeros(3, np.float32))
    remarks = make_images(training=bank).add(photo(), "a.png")["remarks"]
    assert remarks == [
        "Unsure: no class reaches 110.0\N{NO-BREAK SPACE}%, from which this model answers.",
        "Unlike the training images: farther from them than 100.0\N{NO-BREAK SPACE}% of the held-out ones.",
    ]
    assert make_images(confidence=Confidence()).add(photo(), "a.png")["remarks"] == []


def test_only_the_last_images_are_kept(make_images: Make) -> None:
    images = make_images(Limits(most_images=2))
    first, second = (images.add(photo(number), "a.png")["id"] for number in range(2))
    images.hide(first, [])  # now the second has not been used for longest
    images.add(photo(3), "a.png")
    images.hide(first, [])
    with pytest.raises(Gone, match="the last 2 are"):
        images.hide(second, [])


def test_work_that_takes_too_long_ends_and_goes_on_when_it_is_asked_again(make_images: Make) -> None:
    images = make_images(Limits(seconds=0.0))
    identity = images.add(photo(), "a.png")["id"]
    for _ in range(1000):
        try:
            card = images.card(identity, 0)
        except Slow:
            continue
        assert "Block Shapley" in card
        break
    else:
        pytest.fail("it never ended")


def test_other_work_of_the_page_is_waited_for_but_not_for_ever(make_images: Make) -> None:
    images = make_images(Limits(seconds=0.0))
    with images._working(), pytest.raises(Slow, match="other work"):
        images.add(photo(), "a.png")


@pytest.mark.parametrize("content", [b"", b"abc", photo()[:-100], photo(kind="JPEG")[:200]])
def test_a_broken_file_is_one_sentence_with_its_name(make_images: Make, content: bytes) -> None:
    with pytest.raises(UserError, match=r"cannot read holiday\.png: ") as caught:
        make_images().add(content, "holiday.png")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["multi", "regression"])
def test_labels_and_numbers_are_explained_too(make_images: Make, kind: str) -> None:
    names = tuple(f"class_{number}" for number in range(12))
    numbers = {"mean": (1.0,) * 12, "std": (2.0,) * 12} if kind == "regression" else {"thresholds": (0.0,) * 12}
    images = make_images(labels=LabelSpec(kind, names, **numbers), classes=names, confidence=Confidence())
    said = images.add(photo(), "a.png")
    assert (said["present"] is None) == (kind == "regression")
    assert images.hide(said["id"], [])["answers"] == pytest.approx(said["answers"], rel=1e-3)
    assert "class_3" in images.card(said["id"], 3)


def test_clips_are_refused_with_a_sentence(make_images: Make) -> None:
    preprocess = replace(make_images().classifier.preprocess, input_size=(4, 32, 32))
    with pytest.raises(UserError, match="takes clips: use hvit predict"):
        make_images(preprocess=preprocess)
