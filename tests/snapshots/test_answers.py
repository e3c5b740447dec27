"""Outputs become answers: probabilities, present classes, numbers in their units, and words for pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hvit.explain.tree import Prediction, Removal, Tree
from hvit.labels import LabelSpec
from hvit.snapshots.answers import answers_of, in_words, most_asked, present_classes, reread, shown_answers

SINGLE, MULTI = LabelSpec("single", ("a", "b")), LabelSpec("multi", ("a", "b"), thresholds=(0.7, 0.2))
NUMBERS = LabelSpec("regression", ("age", "weight"), mean=(40.0, 70.0), std=(10.0, 5.0))
LOGITS = torch.tensor([0.5, -1.0])


def test_answers_are_probabilities_or_numbers() -> None:
    assert answers_of(LOGITS, SINGLE).sum().item() == pytest.approx(1)
    assert answers_of(LOGITS, MULTI).tolist() == pytest.approx([0.6225, 0.2689], abs=1e-4)
    assert answers_of(LOGITS, NUMBERS).tolist() == [45.0, 65.0]


def test_classes_are_present_from_their_thresholds_on() -> None:
    assert present_classes([0.6225, 0.2689], MULTI) == [1]
    assert present_classes([0.6, 0.9], LabelSpec("multi", ("a", "b"))) == [1, 0]
    assert in_words([0.1, 0.1], MULTI) == "no class"
    assert in_words([45.0, 65.0], NUMBERS) == "age 45, weight 65"
    assert in_words([0.3, 0.7], SINGLE) == "b"


def test_numbers_are_explained_in_their_order_and_have_no_probability() -> None:
    answers = answers_of(LOGITS, NUMBERS)
    assert most_asked(answers, NUMBERS, 5) == [0, 1]
    assert most_asked(torch.tensor([0.1, 0.9]), MULTI, 1) == [1]
    assert shown_answers(["age"], [45.0], NUMBERS) == (["age 45"], None)
    assert shown_answers(["a"], [0.5], MULTI) == (["a"], [0.5])


@pytest.mark.parametrize(("labels", "words"), [(MULTI, "b 26.9 %"), (NUMBERS, "weight 65")])
def test_predictions_without_blocks_are_of_the_explained_output(labels: LabelSpec, words: str) -> None:
    prediction = Prediction(0, 0.8, 0.2, -1.0)
    removal = Removal("exact", "the mean", prediction, (prediction,), (1.0,), (0.0,), 5.0, 0.0)
    tree = Tree(1, -1.0, (0,), (np.ones((1, 4)),), (8, 8), removal=removal)
    (read,) = reread([tree], labels, labels.names)
    assert read.removal is not None
    assert (read.removal.before.words, read.removal.without[0].class_index) == (words, 1)
    assert reread([tree], SINGLE, SINGLE.names) == [tree]
