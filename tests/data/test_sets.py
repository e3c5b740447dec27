"""What all data sets have in common: subsets of every class, and statistics for models of colour and of grey."""

from __future__ import annotations

import numpy as np
import pytest

from hvit.data.sets import (
    ChosenImages,
    ImageSet,
    Sample,
    check_subset,
    choose_subset,
    statistics_for,
    subset_notes,
)
from hvit.errors import UserError

LABELS = np.array([0] * 40 + [1] * 10 + [2] * 3)
CLASSES = ("ant", "bee", "cow")


def test_subsets_of_a_seed_are_nested_and_those_of_another_are_others() -> None:
    few, more = (choose_subset(LABELS, CLASSES, 0, None, share) for share in (0.1, 0.5))
    assert np.bincount(LABELS[few]).tolist() == [4, 1, 1], "at least one of every class"
    assert np.bincount(LABELS[more]).tolist() == [20, 5, 2]
    assert set(few) < set(more)
    assert np.array_equal(np.sort(few), few)
    assert not np.array_equal(choose_subset(LABELS, CLASSES, 1, None, 0.5), more)
    assert np.array_equal(choose_subset(LABELS, CLASSES, 1, None, None), np.arange(53))


def test_more_than_a_class_has_is_refused_with_what_there_is() -> None:
    with pytest.raises(UserError, match="class 'cow' has only 3 training clips: choose at most 3"):
        choose_subset(LABELS, CLASSES, 0, 4, None, "clips")


@pytest.mark.parametrize(
    ("number", "fraction", "words"),
    [(1, 0.5, "give only one"), (0, None, "at least 1"), (None, 0.0, "above 0"), (None, 1.5, "at most 1")],
)
def test_impossible_subsets_are_refused(number: int | None, fraction: float | None, words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_subset(number, fraction)


def test_a_subset_is_mentioned_and_the_whole_is_not() -> None:
    assert subset_notes(6, 6) == ()
    assert "6 of 1,000 clips" in subset_notes(6, 1000, "clips")[0]


def test_grey_statistics_are_those_of_the_weighted_channels() -> None:
    mean, std = (0.2, 0.4, 0.6), (0.1, 0.1, 0.1)
    assert statistics_for(mean, std, 3) == (mean, std)
    grey_mean, grey_std = statistics_for(mean, std, 1)
    assert grey_mean == pytest.approx((0.299 * 0.2 + 0.587 * 0.4 + 0.114 * 0.6,), abs=1e-3)
    assert grey_std == pytest.approx((0.1,), abs=1e-3)


def test_chosen_images_are_those_of_the_set_under_other_numbers() -> None:
    class Numbers(ImageSet):
        labels, views = np.arange(10) % 3, (2, 1)

        def read(self, index: int, draw: int) -> tuple[Sample, int]:
            return np.full((1, 1, 1, 1), 10 * index + draw, np.uint8), int(self.labels[index])

        def stored_pixels(self, indices: np.ndarray) -> np.ndarray:
            return indices[:, None, None, None].astype(np.uint8)

    some = ChosenImages(Numbers(), np.array([7, 2]))
    assert (len(some), some.labels.tolist(), some.views) == (2, [1, 2], (2, 1))
    assert np.asarray(some.read(0, 5)[0]).item() == 75
    assert np.asarray(some.read_enough(1, 3, lambda width, height: (width, height))[0]).item() == 23
    assert np.asarray(some.read_view(0, 0, 2)[0]).item() == 77
    assert some.stored_pixels(np.array([1, 0])).flatten().tolist() == [2, 7]
    assert some.name(1) == "2"
