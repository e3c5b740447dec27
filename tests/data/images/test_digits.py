"""The scanned digits are split for good, drawn afresh for training, and where the mosaics say they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from hvit.data.images import digits as rooms
from hvit.data.images.digits import DigitsData, digit_mosaics
from hvit.data.open import open_data
from hvit.errors import UserError


def test_no_held_out_scan_appears_in_training() -> None:
    splits = open_data(DigitsData(canvas=8), 0, 1)
    train, held_out = (
        [images.read(index, draw=0)[0].tobytes() for index in range(len(images))]
        for images in (splits.train, splits.held_out)
    )
    assert len(train) + len(held_out) == 1797
    assert not set(train) & set(held_out)
    held_out_shares = np.bincount(splits.held_out.labels) / np.bincount(load_digits().target)
    np.testing.assert_allclose(held_out_shares, 0.25, atol=0.005)


def test_identical_scans_come_to_the_same_side(monkeypatch: pytest.MonkeyPatch) -> None:
    scans, labels = rooms._scans()
    monkeypatch.setattr(rooms, "_scans", lambda: (np.concatenate([scans, scans]), np.concatenate([labels, labels])))
    train, held_out = rooms._split.__wrapped__(0.25)
    assert not set((train % 1797).tolist()) & set((held_out % 1797).tolist())


def test_the_held_out_images_are_the_same_whatever_the_seed() -> None:
    for canvas in (8, 32):
        one, other = (open_data(DigitsData(canvas=canvas), seed, 1).held_out for seed in (0, 1))
        assert all(one.read(i, draw=0)[0].tobytes() == other.read(i, draw=9)[0].tobytes() for i in range(50))


def test_scans_keep_their_grey_levels() -> None:
    scans, labels = rooms._scans()
    original = load_digits()
    np.testing.assert_array_equal(labels, original.target)
    np.testing.assert_allclose(scans / 255 * 16, original.images, atol=0.05)


def test_training_canvases_are_new_at_every_draw_and_the_same_for_the_same_draw() -> None:
    train = open_data(DigitsData(), 3, 1).train
    one, again, other = (train.read(5, draw=draw)[0].tobytes() for draw in (7, 7, 8))
    assert one == again != other
    assert open_data(DigitsData(), 4, 1).train.read(5, draw=7)[0].tobytes() != one


def test_training_targets_are_equal_shares_of_one_to_four_digits() -> None:
    train = open_data(DigitsData(), 0, 1).train
    smallest = set()
    for index in range(200):
        image, target = train.read(index, draw=index)
        assert (image.size, image.mode) == ((32, 32), "L")
        assert isinstance(target, np.ndarray)
        assert (target.shape, target.dtype) == ((10,), np.float32)
        assert target.sum() == pytest.approx(1)
        assert target[train.labels[index]] > 0
        smallest.add(round(1 / float(target[target > 0].min()), 3))
    assert {1, 2, 3, 4} <= smallest


def test_with_one_digit_per_canvas_the_target_is_its_class() -> None:
    train = open_data(DigitsData(digits_per_canvas=(1, 1)), 0, 3).train
    image, target = train.read(11, draw=0)
    assert (image.mode, target) == ("RGB", int(train.labels[11]))


def test_held_out_canvases_show_one_digit_anywhere() -> None:
    held_out = open_data(DigitsData(), 0, 1).held_out
    corners = []
    for index in range(len(held_out)):
        image, target = held_out.read(index, draw=0)
        assert target == held_out.labels[index]
        left, top, right, bottom = image.getbbox() or (0, 0, 0, 0)
        assert max(right - left, bottom - top) <= 16
        corners.append((left, top))
    assert np.ptp(corners, axis=0).min() > 16


@pytest.mark.parametrize("canvas", [16, 32, 48])
def test_mosaics_hold_four_different_digits_strictly_inside_their_quadrants(canvas: int) -> None:
    mosaics = digit_mosaics("held_out", seed=0, count=60, canvas=canvas)
    assert (mosaics.images.shape, mosaics.images.dtype) == ((60, canvas, canvas), np.uint8)
    assert all(len(set(row)) == 4 for row in mosaics.digits.tolist())
    half = canvas // 2
    outside = np.ones_like(mosaics.images, dtype=bool)
    for number in range(60):
        for quadrant, (x0, y0, x1, y1) in enumerate(mosaics.boxes[number].tolist()):
            left, top = quadrant % 2 * half, quadrant // 2 * half
            assert left < x0 < x1 < left + half
            assert top < y0 < y1 < top + half
            assert mosaics.images[number, y0:y1, x0:x1].any()
            outside[number, y0:y1, x0:x1] = False
    assert not mosaics.images[outside].any()


def test_mosaics_are_made_of_the_scans_of_their_split_and_show_the_digits_they_name() -> None:
    glyphs = rooms._glyphs(32)
    labels = rooms._scans()[1]
    for split, members in zip(("train", "held_out"), rooms._split(0.25), strict=True):
        mosaics = digit_mosaics(split, seed=5, count=5)
        for number in range(5):
            for digit, (x0, y0, x1, y1) in zip(mosaics.digits[number], mosaics.boxes[number], strict=True):
                shown = mosaics.images[number, y0:y1, x0:x1]
                same = np.flatnonzero((glyphs[int(x1 - x0)] == shown).all(axis=(1, 2)))
                assert set(same) <= set(members)
                assert set(labels[same]) == {digit}


def test_mosaics_follow_from_their_seed() -> None:
    one, again, other = (digit_mosaics("train", seed, 3).images for seed in (0, 0, 1))
    assert (one == again).all()
    assert (one != other).any()


def test_the_statistics_are_those_of_the_training_images() -> None:
    for canvas in (8, 32):
        splits = open_data(DigitsData(canvas=canvas), 0, 1)
        values = [np.asarray(splits.train.read(i, draw=i)[0]) / 255 for i in range(len(splits.train))]
        assert np.mean(values) == pytest.approx(splits.mean[0], abs=0.01)
        assert np.std(values) == pytest.approx(splits.std[0], abs=0.01)


@pytest.mark.parametrize(
    "fields",
    [
        {"canvas": 9},
        {"canvas": 17},
        {"canvas": 258},
        {"digits_per_canvas": (0, 4)},
        {"digits_per_canvas": (2, 1)},
        {"digits_per_canvas": (1, 5)},
        {"held_out": 0.0},
        {"held_out": 1.0},
        {"kind": "letters"},
    ],
)
def test_impossible_settings_are_refused_at_once(fields: dict[str, object]) -> None:
    with pytest.raises(UserError):
        DigitsData(**fields)


@pytest.mark.parametrize("canvas", [8, 33, 258])
def test_a_canvas_too_small_or_too_large_for_a_mosaic_is_refused(canvas: int) -> None:
    with pytest.raises(UserError, match="even number from 16 to 256"):
        digit_mosaics("train", 0, 1, canvas=canvas)


def test_a_held_out_canvas_is_not_laid_out_like_the_training_canvas_of_its_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place, boxes = rooms._place, []

    def watched(*arguments: Any) -> list[int]:
        boxes.append(place(*arguments))
        return boxes[-1]

    monkeypatch.setattr(rooms, "_place", watched)
    splits = open_data(DigitsData(digits_per_canvas=(1, 1)), 0, 1)
    for images in (splits.train, splits.held_out):
        for number in range(100):
            images.read(number, draw=number)
    train, held_out = boxes[:100], boxes[100:]
    assert sum(one == other for one, other in zip(train, held_out, strict=True)) < 10
