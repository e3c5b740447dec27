"""Which frames of a clip are seen, and which part of them: pure functions, whatever decodes the frames.

The rules are those of SlowFast (github.com/facebookresearch/SlowFast), by which the published scores of MViT, MViTv2
and Hiera were measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import Literal

import numpy as np

from hvit.errors import UserError
from hvit.fields import check_fields


@dataclass(frozen=True)
class Sampling:
    """How frames are chosen from a clip.

    num_frames: how many the model sees. stride: frames from one to the next, at the target frame rate. kind: "span" for
    neighbouring frames, "segments" for frames from all over the clip. target_fps: frames per second that the stride
    counts in; a clip of another rate is sampled as if it had been converted. starts: how the views of one clip lie in
    it, see `view_start`.
    """

    num_frames: int
    stride: int = 4
    kind: Literal["span", "segments"] = "span"
    target_fps: float = 30.0
    starts: Literal["offset", "share"] = "offset"

    def __post_init__(self) -> None:
        check_fields(self)
        if not (1 <= self.num_frames <= 2**20 and 1 <= self.stride <= 2**20 and 1e-3 <= self.target_fps <= 1e6):
            raise UserError(
                f"frames are sampled by num_frames and stride from 1 and a target_fps above 0; got {self.num_frames}, "
                f"{self.stride} and {self.target_fps}"
            )

    def at_random(self, frames: int, rate: float, random: Random) -> np.ndarray:
        """The frames for learning from a clip of so many frames and frames per second: (num_frames,) int64."""
        if self.kind == "segments":
            return segment_indices(frames, self.num_frames, random)
        span = self.span(rate)
        return span_indices(random.uniform(0, max(frames - span, 0)), span, self.num_frames, frames)

    def of_view(self, frames: int, rate: float, view: int, views: int) -> np.ndarray:
        """The frames of one of several views of a clip in testing: (num_frames,) int64."""
        if self.kind == "segments":
            return segment_indices(frames, self.num_frames)
        span = self.span(rate)
        return span_indices(view_start(frames, span, view, views, self.starts), span, self.num_frames, frames)

    def span(self, rate: float) -> float:
        """How many frames of a clip with this frame rate one view reaches over; not always a whole number."""
        return max(1.0, self.num_frames * self.stride * rate / self.target_fps)


def view_start(frames: int, span: float, view: int, views: int, starts: Literal["offset", "share"]) -> float:
    """Where the view number `view` of `views` begins, in frames; 0 where the clip is shorter than the span.

    starts: "offset" (USE_OFFSET_SAMPLING, as MViT and Hiera are tested): the first view begins the clip, the last one
    ends it up to rounding, and a single one lies in the middle. "share": the room is divided by the number of views, so
    that a single view begins the clip, and the last one ends before it does.
    """
    room = max(frames - span, 0)
    if starts == "share":
        return room * view / views
    return math.floor(room / 2) if views == 1 else view * math.floor(room / (views - 1))


def span_indices(start: float, span: float, num_frames: int, frames: int) -> np.ndarray:
    """`num_frames` frames evenly over the span, rounded down: (num_frames,) int64.

    A clip that ends before the span does stands still on its last frame.
    """
    # torch.linspace in float32, by which the published scores were measured: from both ends to the middle.
    first, last = np.float32(start), np.float32(start + span - 1)
    step = (last - first) / np.float32(max(num_frames - 1, 1))
    places = np.arange(num_frames, dtype=np.float32)
    places = np.where(places < max(num_frames // 2, 1), first + step * places, last - step * (num_frames - 1 - places))
    return np.clip(places, 0, frames - 1).astype(np.int64)


def segment_indices(frames: int, num_frames: int, random: Random | None = None) -> np.ndarray:
    """One frame of each of `num_frames` equal segments of the clip: any of them, or without `random` the middle one.

    Returns (num_frames,) int64. Source: sampling for Something-Something v2 in SlowFast, after TSN (arXiv 1608.00859).
    """
    edges = np.round(np.arange(num_frames + 1) * ((frames - 1) / num_frames)).astype(np.int64)
    if random is None:
        return (edges[:-1] + edges[1:]) // 2
    return np.array([random.randint(*edge) for edge in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)])


def crop_corner(
    height: int, width: int, crop_height: int, crop_width: int, view: int = 0, views: int = 1
) -> tuple[int, int]:
    """Top and left of the part of a frame that a spatial view shows.

    One view shows the centre. Three show the left, centre and right of a wide frame, the top, middle and bottom of a
    high one.
    """
    room_y, room_x = height - crop_height, width - crop_width
    top, left = math.ceil(room_y / 2), math.ceil(room_x / 2)
    if views == 1 or view == 1:
        return top, left
    if room_y > room_x:
        return (0 if view == 0 else room_y), left
    return top, (0 if view == 0 else room_x)
