"""Classification: the loss, the scores, and what is shipped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from hvit.models.create import create_model
from hvit.models.weights.open import open_weights
from hvit.tasks.classify import Classify

CLASSES = ("ant", "bee", "cow")
PREPROCESS = {"input_size": [32, 32], "mean": [0.5], "std": [0.2], "crop": 1.0, "interpolation": "bilinear"}


@pytest.fixture
def task() -> Classify:
    torch.manual_seed(0)
    model = create_model("nest_micro_32", num_classes=3, in_channels=1).eval()
    return Classify(model, CLASSES, PREPROCESS)


def test_the_loss_is_cross_entropy_against_shares_of_classes(task: Classify) -> None:
    images, shares = torch.randn(4, 1, 32, 32), torch.rand(4, 3).softmax(dim=1)
    loss = task.loss(task.phases[0], task.networks, {"images": images, "targets": shares})
    expected = -(shares * F.log_softmax(task.networks["model"](images), dim=1)).sum(dim=1).mean()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)


def test_whole_labels_are_shares_of_one(task: Classify) -> None:
    images, labels = torch.randn(4, 1, 32, 32), torch.tensor([0, 2, 1, 1])
    batches = ({"images": images, "targets": targets} for targets in (labels, F.one_hot(labels, 3).float()))
    one, other = (task.loss(task.phases[0], task.networks, batch).item() for batch in batches)
    assert one == pytest.approx(other, abs=1e-6)


def test_scores_do_not_depend_on_how_the_images_are_cut_into_batches(task: Classify) -> None:
    images, labels = torch.randn(7, 1, 32, 32), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    whole = task.evaluate(task.networks, [{"images": images, "targets": labels}])
    pieces = zip(images.split(3), labels.split(3), strict=True)
    cut = task.evaluate(task.networks, [{"images": one, "targets": other} for one, other in pieces])
    assert cut["predictions"] == whole["predictions"]
    assert cut["loss"] == pytest.approx(whole["loss"], abs=1e-6)
    hits = sum(label == guess for label, guess in zip(whole["labels"], whole["predictions"], strict=True))
    assert whole["top1"] == pytest.approx(hits / 7)
    assert whole["top5"] == 1.0, "five guesses among three classes always hit"


def test_views_of_a_clip_are_averaged_as_probabilities_however_they_are_cut_into_batches(task: Classify) -> None:
    views, clips, labels = torch.randn(6, 1, 32, 32), torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([2, 2, 2, 0, 0, 0])
    with torch.no_grad():
        expected = task.networks["model"](views).softmax(dim=1).view(2, 3, 3).mean(dim=1)
    for size in (6, 4, 1):
        pieces = zip(views.split(size), labels.split(size), clips.split(size), strict=True)
        batches = [{"images": one, "targets": two, "clips": three} for one, two, three in pieces]
        scores = task.evaluate(task.networks, batches)
        assert (scores["count"], scores["labels"]) == (2, [2, 0])
        assert scores["predictions"] == expected.argmax(dim=1).tolist()
        assert scores["loss"] == pytest.approx(-expected[[0, 1], [2, 0]].log().mean().item(), abs=1e-5)


def test_what_is_saved_names_its_classes_and_preprocessing(task: Classify, tmp_path: Path) -> None:
    task.save_weights(tmp_path, task.networks)
    opened = open_weights(tmp_path)
    assert tuple(opened.classes) == CLASSES
    assert opened.preprocess == PREPROCESS
    images = torch.randn(2, 1, 32, 32)
    assert torch.equal(opened.model(images), task.networks["model"](images))
