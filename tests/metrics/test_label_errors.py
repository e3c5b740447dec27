"""Labels that were exchanged on purpose are found; without cleanlab one sentence says what to install."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from hvit.errors import UserError
from hvit.metrics.label_errors import label_errors, out_of_fold


def clusters() -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat([0, 1, 2], 30)
    centres = 7 * np.eye(3, 6)
    return centres[labels] + np.random.default_rng(0).normal(size=(90, 6)), labels


def test_probabilities_come_from_heads_that_have_not_seen_the_image() -> None:
    features, labels = clusters()
    shares = out_of_fold(features, labels)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-9)
    assert (shares.argmax(1) == labels).mean() > 0.95
    noise = np.random.default_rng(1).normal(size=(90, 80))  # a head that had seen these would know all labels
    assert (out_of_fold(noise, labels).argmax(1) == labels).mean() < 0.6


def test_exchanged_labels_are_found_and_classes_of_one_image_are_not_judged() -> None:
    pytest.importorskip("cleanlab")
    features, labels = clusters()
    wrong = labels.copy()
    wrong[[0, 31, 62]] = [1, 2, 0]
    wrong[89], wrong[5] = 9, -1
    found = label_errors(features, wrong)
    assert set(np.argsort(found.quality)[:3].tolist()) == {0, 31, 62}
    assert len(found.found) > 1
    assert set(found.found.tolist()) <= {0, 31, 62}
    assert found.predicted[[0, 31, 62]].tolist() == [0, 1, 2]
    assert np.isnan(found.quality[[89, 5]]).all()
    assert found.quality[found.found].max() < 0.5


def test_without_cleanlab_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    with pytest.raises(UserError, match=r"pip install 'hvit\[labels\]'"):
        label_errors(*clusters())


def test_one_class_has_no_wrong_labels() -> None:
    pytest.importorskip("cleanlab")
    with pytest.raises(UserError, match="two classes or more"):
        label_errors(clusters()[0], np.zeros(90, np.int64))
