"""The section `distill` of a recipe: what cannot be is refused in one sentence."""

from __future__ import annotations

import pytest

from hvit.errors import UserError
from hvit.tasks.distill_settings import DistillConfig


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"label_weight": 1.0}, "label_weight must be from 0 to less than 1"),
        ({"feature_weight": 0.0}, "feature_weight must be above 0"),
        ({"labels_per_class": 0}, "labels_per_class must be 1 or more"),
        ({"target": "features", "label_weight": 0.0}, "trains no head"),
        ({"token": True, "label_weight": 0.0}, "one head for the labels and one for the teachers' logits"),
        ({"token": True, "target": "features"}, "one head for the labels and one for the teachers' logits"),
        ({"checksums": ("a", "b")}, "one entry for each"),
        ({"target": "words"}, "target"),
    ],
)
def test_impossible_settings_are_refused(fields: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        DistillConfig(teachers=("a",), **fields)


def test_settings_without_a_teacher_are_not_ignored() -> None:
    assert DistillConfig() == DistillConfig(teachers=())
    with pytest.raises(UserError, match=r"distill\.labels_per_class has no meaning without a teacher"):
        DistillConfig(labels_per_class=20)
