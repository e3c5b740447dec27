"""What is held out of a table: the same share of every class, whole groups, and the same files each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hvit.data.tables.samples import Samples
from hvit.data.tables.split import hold_out
from hvit.errors import UserError
from hvit.labels import LabelSpec

SINGLE = LabelSpec("single", ("a", "b"))


def samples(labels: np.ndarray, spec: LabelSpec = SINGLE, groups: np.ndarray | None = None) -> Samples:
    files = [Path(f"/data/{number:04}.png") for number in range(len(labels))]
    return Samples(files, labels, spec, Path("/data"), groups=groups)


def test_every_class_gives_its_share_and_the_names_decide() -> None:
    labels = np.array([0] * 40 + [1] * 10)
    held, (note,) = hold_out(samples(labels), 0.2, 0)
    assert (held[labels == 0].sum(), held[labels == 1].sum()) == (8, 2)
    assert note == "The table names no split: 20% of each class is held out."
    assert np.array_equal(held, hold_out(samples(labels), 0.2, 0)[0])
    assert not np.array_equal(held, hold_out(samples(labels), 0.2, 1)[0])
    turned = samples(labels[::-1]).files
    again, _ = hold_out(Samples(turned[::-1], labels, SINGLE, Path("/data")), 0.2, 0)
    assert again.sum() == 10


def test_no_group_is_on_both_sides_and_classes_keep_their_share() -> None:
    random = np.random.default_rng(0)
    groups = 2 * random.integers(0, 60, 600)  # of which half the numbers are missing
    labels = (groups % 8 == 0).astype(np.int64)
    held, (note,) = hold_out(samples(labels, groups=groups), 0.25, 0)
    assert not set(groups[held]) & set(groups[~held])
    assert held[labels == 0].mean() == pytest.approx(0.25, abs=0.06)
    assert held[labels == 1].mean() == pytest.approx(0.25, abs=0.06)
    assert "whole groups" in note


def test_of_several_classes_each_is_held_out_in_its_share() -> None:
    random = np.random.default_rng(0)
    labels = (random.random((400, 3)) < (0.5, 0.2, 0.05)).astype(np.float32)
    held, _ = hold_out(samples(labels, LabelSpec("multi", ("a", "b", "c"))), 0.2, 0)
    assert labels[held].sum(0) / labels.sum(0) == pytest.approx([0.2, 0.2, 0.2], abs=0.04)


def test_numbers_are_held_out_from_low_to_high() -> None:
    values = np.arange(200, dtype=np.float32)[:, None]
    held, _ = hold_out(samples(values, LabelSpec("regression", ("age",))), 0.2, 0)
    assert np.histogram(values[held], bins=10, range=(0, 200))[0].tolist() == [4] * 10


def test_no_class_loses_its_last_training_group() -> None:
    labels, groups = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 1, 2, 3, 4, 4])
    held, _ = hold_out(samples(labels, groups=groups), 0.5, 0)
    assert not held[4:].any()
    with pytest.raises(UserError, match="no sample can be held out"):
        hold_out(samples(np.array([0, 1]), groups=np.array([0, 1])), 0.5, 0)
