"""Frames and crops are chosen by SlowFast's rules; the tables were worked out by hand from their definition."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
import torch

from hvit.data.sampling import Sampling, crop_corner, segment_indices, span_indices, view_start

# 16 frames of stride 4 reach over 64 frames at 30 a second; the steps between them are 63 / 15 = 4.2.
AT_30 = [0, 4, 8, 12, 16, 21, 25, 29, 33, 37, 42, 46, 50, 54, 58, 63]
# At 25 a second they reach over 64 * 25 / 30 = 53.33 frames, in steps of 52.33 / 15 = 3.489.
AT_25 = [0, 3, 6, 10, 13, 17, 20, 24, 27, 31, 34, 38, 41, 45, 48, 52]

STARTS = [
    # frames, span, views, starts: 300 - 64 leaves room for 236, and 236 / 4 = 59, 236 / 9 = 26.2
    (300, 64.0, 1, "offset", [118]),
    (300, 64.0, 5, "offset", [0, 59, 118, 177, 236]),
    (300, 64.0, 10, "offset", [0, 26, 52, 78, 104, 130, 156, 182, 208, 234]),
    (300, 64.0, 1, "share", [0]),
    (300, 64.0, 5, "share", [0, 47.2, 94.4, 141.6, 188.8]),
    (300, 64.0, 10, "share", [0, 23.6, 47.2, 70.8, 94.4, 118, 141.6, 165.2, 188.8, 212.4]),
    # 250 - 53.33 leaves room for 196.67, and 196.67 / 4 = 49.2, 196.67 / 9 = 21.9
    (250, 160 / 3, 1, "offset", [98]),
    (250, 160 / 3, 5, "offset", [0, 49, 98, 147, 196]),
    (250, 160 / 3, 10, "offset", [0, 21, 42, 63, 84, 105, 126, 147, 168, 189]),
    (250, 160 / 3, 5, "share", [0, 39.3333, 78.6667, 118, 157.3333]),
    # a clip as long as the span, and a shorter one, have no room
    (64, 64.0, 5, "offset", [0] * 5),
    (40, 64.0, 5, "offset", [0] * 5),
    (40, 64.0, 1, "offset", [0]),
    (40, 64.0, 5, "share", [0] * 5),
]

VIEWS = [
    # frames, rate, views, view, starts, indices
    (300, 30.0, 1, 0, "offset", [118 + place for place in AT_30]),
    (300, 30.0, 5, 4, "offset", [236 + place for place in AT_30]),
    (300, 30.0, 10, 3, "offset", [78 + place for place in AT_30]),
    (250, 25.0, 1, 0, "offset", [98 + place for place in AT_25]),
    (250, 25.0, 5, 3, "offset", [147 + place for place in AT_25]),
    (250, 25.0, 10, 9, "offset", [189 + place for place in AT_25]),
    (300, 30.0, 1, 0, "share", AT_30),
    # 235 * 1 / 10 = 23.5: 23.5, 27.7, 31.9, 36.1, 40.3, 44.5, 48.7, 52.9, 57.1, ..., 86.5
    (299, 30.0, 10, 1, "share", [23, 27, 31, 36, 40, 44, 48, 52, 57, 61, 65, 69, 73, 78, 82, 86]),
    # the clip stands still on its last frame
    (40, 30.0, 5, 2, "offset", [0, 4, 8, 12, 16, 21, 25, 29, 33, 37, 39, 39, 39, 39, 39, 39]),
    (40, 25.0, 1, 0, "offset", [0, 3, 6, 10, 13, 17, 20, 24, 27, 31, 34, 38, 39, 39, 39, 39]),
    (1, 25.0, 10, 7, "offset", [0] * 16),
]


@pytest.mark.parametrize(("frames", "span", "views", "starts", "expected"), STARTS)
def test_views_start_where_slowfast_starts_them(
    frames: int, span: float, views: int, starts: str, expected: list[float]
) -> None:
    found = [view_start(frames, span, view, views, starts) for view in range(views)]
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("frames", "rate", "views", "view", "starts", "expected"), VIEWS)
def test_a_view_shows_the_frames_of_slowfast(
    frames: int, rate: float, views: int, view: int, starts: str, expected: list[int]
) -> None:
    assert Sampling(16, 4, starts=starts).of_view(frames, rate, view, views).tolist() == expected


def test_a_span_is_counted_at_the_target_frame_rate_and_is_one_frame_at_least() -> None:
    assert Sampling(16, 4).span(30) == 64
    assert Sampling(32, 3).span(25) == 80
    assert Sampling(16, 4, target_fps=15).span(30) == 128
    assert Sampling(2, 1).span(5) == 1
    assert span_indices(3, 1, 2, frames=10).tolist() == [3, 3]


def test_learning_starts_anywhere_between_the_first_and_the_last_possible_frame() -> None:
    class Fixed(Random):
        def __init__(self, share: float) -> None:
            self.share = share

        def uniform(self, a: float, b: float) -> float:
            return a + self.share * (b - a)

    sampling = Sampling(16, 4)
    assert sampling.at_random(300, 30, Fixed(0)).tolist() == AT_30
    assert sampling.at_random(300, 30, Fixed(1)).tolist() == [236 + place for place in AT_30]
    # 236 * 0.25 = 59; the start need not be whole: 236 * 0.375 = 88.5, and 88.5 + 4.2 = 92.7, ...
    assert sampling.at_random(300, 30, Fixed(0.25))[:3].tolist() == [59, 63, 67]
    assert sampling.at_random(300, 30, Fixed(0.375))[:4].tolist() == [88, 92, 96, 101]
    assert sampling.at_random(40, 30, Fixed(0.9)).tolist() == VIEWS[8][-1]
    random = Random(0)
    firsts = [int(sampling.at_random(100, 30, random)[0]) for _ in range(500)]
    assert (min(firsts), max(firsts)) == (0, 35)


def test_segments_are_those_of_slowfast_and_their_middle_is_tested() -> None:
    # 99 / 8 = 12.375: edges 0, 12.4, 24.8, 37.1, 49.5, 61.9, 74.3, 86.6, 99, rounded half to even
    edges = [0, 12, 25, 37, 50, 62, 74, 87, 99]
    assert segment_indices(100, 8).tolist() == [6, 18, 31, 43, 56, 68, 80, 93]
    assert Sampling(8, kind="segments").of_view(100, 12.0, 0, 1).tolist() == [6, 18, 31, 43, 56, 68, 80, 93]
    # 4 / 8 = 0.5: edges 0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4 become 0, 0, 1, 2, 2, 2, 3, 4, 4
    assert segment_indices(5, 8).tolist() == [0, 0, 1, 2, 2, 2, 3, 4]
    assert segment_indices(1, 4).tolist() == [0] * 4
    random = Random(0)
    drawn = np.array([Sampling(8, kind="segments").at_random(100, 30, random) for _ in range(400)])
    assert drawn.min(0).tolist() == edges[:-1]
    assert drawn.max(0).tolist() == edges[1:]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        # Room of 74 columns, or rows: both ends and the middle.
        ((224, 298), [(0, 0), (0, 37), (0, 74)]),
        ((298, 224), [(0, 0), (37, 0), (74, 0)]),
        # An odd room is divided with the larger part before the middle.
        ((224, 299), [(0, 0), (0, 38), (0, 75)]),
        ((224, 224), [(0, 0)] * 3),
    ],
)
def test_three_crops_lie_along_the_longer_side(size: tuple[int, int], expected: list[tuple[int, int]]) -> None:
    assert [crop_corner(*size, 224, 224, view, 3) for view in range(3)] == expected


@pytest.mark.parametrize(("size", "corner"), [((256, 340), (16, 58)), ((256, 341), (16, 59)), ((341, 256), (59, 16))])
def test_one_crop_is_the_centre(size: tuple[int, int], corner: tuple[int, int]) -> None:
    assert crop_corner(*size, 224, 224) == corner


def test_the_frames_of_a_span_are_those_of_torch_s_linspace_in_float32() -> None:
    random = Random(0)
    for _ in range(400):
        count = random.choice((2, 8, 16, 32))
        span = count * random.choice((1, 2, 4)) * random.choice((1.0, 25 / 30, 29.97 / 30, 2.0))
        start = float(random.randrange(400))
        wanted = torch.linspace(start, start + span - 1, count).clamp(0, 299).long()
        assert span_indices(start, span, count, 300).tolist() == wanted.tolist()
    assert span_indices(3.0, 5.0, 1, 300).tolist() == [3]
