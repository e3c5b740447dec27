"""Moving digits show their class by the order of their frames and by nothing else."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest

from hvit.data.clips.moving_digits import MovingDigits, MovingDigitsData, draw_moving_digit
from hvit.data.images.digits import DigitsData, open_digits
from hvit.data.open import moved, open_data
from hvit.data.sets import Splits
from hvit.errors import UserError


def open_moving(num_frames: int = 8, seed: int = 0, in_channels: int = 1, **fields: Any) -> Splits:
    return open_data(MovingDigitsData(**fields), seed, in_channels, num_frames)


@pytest.fixture(scope="module")
def scans() -> np.ndarray:
    held_out = open_digits(DigitsData(canvas=8), 0, 1).held_out
    return np.stack([np.asarray(held_out.read(index, 0)[0]) for index in range(50)])


def frames_of(clip: np.ndarray) -> list[bytes]:
    """The frames of a clip without their order."""
    return sorted(frame.tobytes() for frame in clip)


@pytest.mark.parametrize(("num_frames", "speeds"), [(8, (1, 3)), (16, (1, 3, 5, 7)), (9, (1, 2, 4)), (4, (1,))])
def test_the_classes_show_the_same_frames_in_different_orders(
    num_frames: int, speeds: tuple[int, ...], scans: np.ndarray
) -> None:
    """Whatever else is drawn, it is drawn alike for every class. So what looks at the frames without their order gives
    every class the same answer: it is at chance, exactly."""
    steps = MovingDigitsData(speeds=speeds).steps
    for number in range(20):
        clips = [draw_moving_digit(Random(number), scans, num_frames, 32, step) for step in steps]
        assert all(frames_of(clip) == frames_of(clips[0]) for clip in clips)
        assert len({clip.tobytes() for clip in clips}) == len(steps)


def test_a_clip_played_backwards_is_of_the_opposite_class(scans: np.ndarray) -> None:
    for number, step in enumerate((1, 3) * 5):
        there, back = (draw_moving_digit(Random(number), scans, 8, 32, sign * step) for sign in (1, -1))
        # Both start at the same place, so the way back is the same round from its other end.
        assert np.array_equal(back, np.roll(there[::-1], 1, axis=0))
        assert not np.array_equal(back, there)


def test_what_comes_first_says_nothing_about_the_class(scans: np.ndarray) -> None:
    firsts = {draw_moving_digit(Random(3), scans, 8, 32, step)[0].tobytes() for step in (1, -1, 3, -3)}
    assert len(firsts) == 1


def test_clockwise_is_clockwise_on_the_screen(scans: np.ndarray) -> None:
    for number in range(20):
        clip = draw_moving_digit(Random(number), scans, 16, 64, 1)[..., 0].astype(float)
        rows, columns = np.mgrid[:64, :64]
        weights = clip.sum((1, 2))
        x, y = ((clip * places).sum((1, 2)) / weights for places in (columns, rows))
        # The area that a path goes round is positive where it turns from x to y, which points down.
        assert (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() > 0


def test_the_digit_never_leaves_the_canvas(scans: np.ndarray) -> None:
    for canvas in (16, 33, 64):
        for number in range(50):
            clip = draw_moving_digit(Random(number), scans, 8, canvas, 3)
            assert (clip.shape, clip.dtype) == ((8, canvas, canvas, 1), np.uint8)
            sums = clip.sum((1, 2, 3), dtype=np.int64)
            assert sums.min() == sums.max() > 0


def test_classes_are_balanced_named_and_known_without_reading() -> None:
    splits = open_moving(num_train=100, num_held_out=40)
    assert splits.classes == ("clockwise", "anticlockwise", "clockwise 3x", "anticlockwise 3x")
    assert np.bincount(splits.train.labels).tolist() == [25] * 4
    assert np.bincount(splits.held_out.labels).tolist() == [10] * 4
    clip, label = splits.train.read(6, draw=0)
    assert (clip.shape, label) == ((8, 32, 32, 1), 2)


def test_training_clips_are_new_at_every_draw_and_follow_from_the_seed() -> None:
    train = open_moving(seed=3).train
    one = train.read(5, draw=7)[0]
    assert np.array_equal(one, open_moving(seed=3).train.read(5, draw=7)[0])
    assert not np.array_equal(one, train.read(5, draw=8)[0])
    assert not np.array_equal(one, open_moving(seed=4).train.read(5, draw=7)[0])


def test_held_out_clips_are_always_the_same_and_of_scans_that_are_never_learned_from() -> None:
    one, other = (open_moving(seed=seed).held_out for seed in (0, 1))
    assert np.array_equal(one.read(9, draw=1)[0], other.read(9, draw=2)[0])
    assert not np.array_equal(one.read(9, draw=0)[0], one.read(13, draw=0)[0])
    train = open_moving().train
    assert isinstance(train, MovingDigits)
    assert isinstance(one, MovingDigits)
    assert len(train.scans) + len(one.scans) == 1797
    assert not {scan.tobytes() for scan in train.scans} & {scan.tobytes() for scan in one.scans}


def test_the_statistics_are_those_of_the_clips() -> None:
    splits = open_moving(in_channels=3)
    clips = np.stack([splits.train.read(index, index)[0] for index in range(500)]) / 255
    assert splits.mean == pytest.approx((clips.mean(),) * 3, rel=0.05)
    assert splits.std == pytest.approx((clips.std(),) * 3, rel=0.05)


@pytest.mark.parametrize(
    ("num_frames", "speeds", "fitting"), [(8, (1, 2), "1, 3"), (12, (1, 3), "1, 5"), (8, (5,), "1, 3")]
)
def test_speeds_that_skip_places_are_refused_with_those_that_fit(
    num_frames: int, speeds: tuple[int, ...], fitting: str
) -> None:
    with pytest.raises(UserError, match=rf"choose speeds from {fitting}\."):
        open_moving(num_frames, speeds=speeds)


@pytest.mark.parametrize(
    "fields",
    [
        {"canvas": 8},
        {"canvas": 300},
        {"speeds": ()},
        {"speeds": (0, 1)},
        {"speeds": (1, 1)},
        {"num_train": 0},
        {"num_held_out": 0},
        {"held_out": 1.0},
        {"kind": "digits"},
    ],
)
def test_impossible_settings_are_refused_at_once(fields: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(fields))):
        MovingDigitsData(**fields)


def test_they_need_a_model_of_clips_and_no_root() -> None:
    with pytest.raises(UserError, match="are clips, and the model takes images"):
        open_data(MovingDigitsData(), 0, 1)
    with pytest.raises(UserError, match="embedded"):
        moved(MovingDigitsData(), "somewhere")
