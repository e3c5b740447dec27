"""A classifier: weights, preprocessing and class names in one, prepared or not."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from hvit.data.preprocess import Preprocess
from hvit.data.sampling import Sampling
from hvit.verbs.classifier import free_name, made_fast, open_classifier


@pytest.mark.usefixtures("only_what_torch_has")
def test_a_classifier_asks_the_prepared_model(weights: Path):
    classifier = open_classifier(weights, "cpu")
    fast, choice = made_fast(classifier, 2)
    assert fast.prepared is not None
    assert choice == str(fast.prepared.choice)
    batch = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(fast.logits(batch), classifier.logits(batch), rtol=1e-4, atol=1e-5)


def test_frames_are_chosen_as_in_training(clip_run: Path) -> None:
    preprocess = open_classifier(clip_run).preprocess
    assert preprocess.sampling == Sampling(4, stride=2)
    assert Preprocess(**json.loads(json.dumps(asdict(preprocess)))) == preprocess


def test_a_path_may_be_text(clip_run: Path) -> None:
    assert open_classifier(str(clip_run)).classes == open_classifier(clip_run).classes


def test_names_of_pictures_are_unique_stable_and_whole_letters() -> None:
    taken: set[str] = set()
    stems = [
        "a",
        "A",
        "a",
        "a_2",
        "\N{ANGSTROM SIGN}",
        "A\N{COMBINING RING ABOVE}",
        *(f"{'é' * 200}{n}" for n in range(3)),
    ]
    names = [free_name(stem, taken) for stem in stems]
    assert len({name.casefold() for name in names}) == len(stems)
    assert all(len(name.encode()) < 160 for name in names)
    assert names[:2] == ["a", "A_2"]
    assert free_name("é" * 200 + "2", set()) == names[-1], "the same in another call"
    assert free_name("é" * 200 + "1", set()) != names[-1]
