"""Video files by PyAV (the libraries of FFmpeg): what a file holds, and what is on its screen at some times.

Only what is needed is decoded: from the key frame before the first wanted time to the last wanted one, in one thread.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np

from hvit.data.regular_files import Refusal
from hvit.errors import UserError

MAXIMUM_FRAME_PIXELS = 40_000_000
"""The largest video frame that is decoded, width times height: a little more than 8K video."""
MAXIMUM_FRAME_BYTES = 50_000_000
"""The same in bytes, as the decoder keeps up to 17 of them: 8K video of 8 bits, 4K of any kind."""
LONGEST_CHECK = 8.0
"""Seconds for which a file is decoded at most when it is checked as a whole."""
LONGEST_READ = 60.0
"""Seconds after which a file that is still being read is given up."""
VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".avi", ".mkv", ".webm"),
    *(".mpg", ".mpeg", ".mts", ".m2ts", ".wmv", ".flv", ".ogv"),
)
# Playlists and captures are not among them: a file of these kinds makes the library open other files and addresses.
_CONTAINERS = "mov,mp4,avi,matroska,webm,mpeg,mpegts,asf,flv,ogg"
_FRAMES_BEFORE_A_SEEK = 4
_FASTEST, _LONGEST = 10_000, 1_000_000  # frames a second, seconds
_ALMOST_SQUARE, _LONGEST_PIXEL = 1.01, 8
TOO_LARGE = "its frames claim to have more than {:,} pixels, the most that is decoded"
TOO_SLOW = "reading it takes longer than {:g} seconds (long videos need more key frames, or to be cut)"


@dataclass(frozen=True)
class ClipFacts:
    """What is known of a clip before its frames are read.

    frames: how many, at a constant rate. rate: frames per second. start: seconds on the clip's own clock at which its
    first frame is shown. height, width: of a frame in pixels, upright and with square
    pixels.
    """

    frames: int
    rate: float
    start: float
    height: int
    width: int


class _Named(Protocol):
    name: str


class _SideData(Protocol):
    type: _Named

    def __bytes__(self) -> bytes: ...


class _Frame(Protocol):
    """What is used of PyAV's frame; times are in units of the stream's."""

    height: int
    width: int
    pts: int | None
    duration: int
    side_data: Iterable[_SideData]


class _Packet(Protocol):
    """What is used of PyAV's packet."""

    dts: int | None
    pts: int | None
    duration: int | None

    def decode(self) -> Iterable[_Frame]: ...


class _Stream(Protocol):
    """What is used of PyAV's video stream."""

    average_rate: Fraction | None
    guessed_rate: Fraction | None
    sample_aspect_ratio: Fraction | None
    duration: int | None
    time_base: Fraction


class _Container(Protocol):
    """What is used of PyAV's opened file."""

    format: _Named

    def demux(self, stream: _Stream) -> Iterable[_Packet]: ...

    def seek(self, offset: int, *, stream: _Stream) -> None: ...


class _Pixels(Protocol):
    def to_ndarray(self) -> np.ndarray: ...


class _Reformatter(Protocol):
    """What is used of what PyAV scales and converts frames with."""

    def reformat(self, frame: _Frame, *, width: int, height: int, format: str, interpolation: str = ...) -> _Pixels: ...


def load_av() -> ModuleType:
    """PyAV. Raises UserError if it is not installed."""
    try:
        import av
    except ImportError as error:
        raise UserError(
            "video files are read by PyAV, which is not installed: pip install 'hvit[video]' (folders of frames and "
            ".npy arrays need nothing)."
        ) from error
    return av


def probe_video(path: Path, whole: bool) -> ClipFacts:
    """What a file says of its first moving picture. Its first frame is decoded, or all for 8 seconds.

    Raises Refusal or an error of PyAV if it cannot be read.
    """
    deadline = time.monotonic() + LONGEST_CHECK
    decoded, start, end, first, in_time = 0, 0.0, 0.0, None, True
    with _opened(path) as (container, stream):
        rate, shape = float(stream.average_rate or stream.guessed_rate or 0), stream.sample_aspect_ratio
        seconds = float(stream.duration * stream.time_base) if stream.duration else 0.0
        try:
            for moment, frame in _shown_frames(container, stream):
                if first is None:
                    start, first = moment, frame
                decoded, end = decoded + 1, _end(moment, frame, stream)
                in_time = time.monotonic() < deadline
                if not whole or not in_time:
                    break
        except load_av().FFmpegError as error:
            if first is None:
                raise
            raise Refusal(_cut_off(decoded, end - start, seconds)) from error
    if first is None:
        raise Refusal("not one frame of it can be decoded")
    if not (0 < rate <= _FASTEST and 0 < seconds <= _LONGEST):
        rate, seconds = _measure(path)
    if not (0 < rate <= _FASTEST and 0 < seconds <= _LONGEST):
        raise Refusal(f"it claims to last {seconds:.3g} seconds with {rate:.3g} frames a second")
    if whole and in_time and end - start < seconds - _slack(seconds):
        raise Refusal(_cut_off(decoded, end - start, seconds))
    height, width = _shown_size(first, shape)
    return ClipFacts(max(1, round(seconds * rate)), rate, start, height, width)


def read_video(path: Path, times: list[float], facts: ClipFacts, height: int, width: int) -> np.ndarray:
    """What is on the screen at some times, upright and in colour: (number of times, height, width, 3) uint8.

    times: in seconds on the file's own clock, ascending. facts: what `probe_video` says. Raises Refusal or an error of
    PyAV if it cannot be read.
    """
    seek = times[0] - _FRAMES_BEFORE_A_SEEK / facts.rate
    clip = _decode(path, times, facts, height, width, seek) if seek > facts.start else None
    if clip is None:
        clip = _decode(path, times, facts, height, width, None)
    assert clip is not None
    return clip


@contextmanager
def _opened(path: Path) -> Iterator[tuple[_Container, _Stream]]:
    """The opened file and its first video stream that moves."""
    av = load_av()
    options = {"protocol_whitelist": "file", "format_whitelist": _CONTAINERS}
    # An absolute name, because one such as "data:x.mp4" would be read as an address.
    name = os.fspath(path.absolute())
    with av.open(name, container_options=options, timeout=LONGEST_READ, metadata_errors="replace") as container:
        cover = av.stream.Disposition.attached_pic
        stream = next((stream for stream in container.streams.video if not stream.disposition & cover), None)
        if stream is None:
            raise Refusal("it has no video stream")
        if stream.codec_context is None:
            raise Refusal("its codec is unknown")
        if stream.codec_context.width * stream.codec_context.height > MAXIMUM_FRAME_PIXELS:
            raise Refusal(TOO_LARGE.format(MAXIMUM_FRAME_PIXELS))
        kind = stream.codec_context.format
        size = stream.codec_context.width * stream.codec_context.height
        if kind is not None and size * kind.padded_bits_per_pixel // 8 > MAXIMUM_FRAME_BYTES:
            raise Refusal(
                f"its frames take more than {MAXIMUM_FRAME_BYTES // 10**6} MB each, the most that is decoded: make "
                "them smaller, or save them with 8 bits"
            )
        stream.codec_context.thread_count = 1
        yield container, stream


def _shown_frames(container: _Container, stream: _Stream) -> Iterator[tuple[float, _Frame]]:
    """The frames from here on in the order they are shown, each with the second at which it appears."""
    # AVI stores no times. Those that are made up for its frames are out of order, those of its packets are not.
    stamps: deque[int] | None = deque() if container.format.name == "avi" else None
    step = float(1 / (stream.average_rate or 25))
    moment: float | None = None
    for packet in container.demux(stream):
        if stamps is not None and packet.dts is not None:
            stamps.append(packet.dts)
        for frame in packet.decode():
            stamp = frame.pts if stamps is None else stamps.popleft() if stamps else None
            if stamp is None:
                moment = 0.0 if moment is None else moment + step
            else:
                said = float(stamp * stream.time_base)
                moment = said if moment is None else max(moment, said)
            yield moment, frame


def _end(moment: float, frame: _Frame, stream: _Stream) -> float:
    """When a frame leaves the screen, in seconds."""
    return moment + (float(frame.duration * stream.time_base) if frame.duration else 0.0)


def _slack(seconds: float) -> float:
    """How much earlier than a file says it may end: headers are rounded, or include sound that goes on."""
    return max(0.5, 0.1 * seconds)


def _cut_off(decoded: int, seconds: float, promised: float) -> str:
    return f"it is damaged or cut off after {decoded} frames ({seconds:.2f} of {promised:.2f} seconds)"


def _measure(path: Path) -> tuple[float, float]:
    """Frames per second and seconds of a file whose header does not state it, from the times of all its frames."""
    with _opened(path) as (container, stream):
        usual = float(1 / (stream.average_rate or 25))
        stamps, end = set(), 0.0
        for packet in container.demux(stream):
            if packet.pts is not None:
                stamps.add(packet.pts)
                shown_for = float(packet.duration * stream.time_base) if packet.duration else usual
                end = max(end, float(packet.pts * stream.time_base) + shown_for)
        if not stamps:
            return 1 / usual, usual
        seconds = end - float(min(stamps) * stream.time_base)
        return len(stamps) / seconds, seconds


def _decode(
    path: Path, times: list[float], facts: ClipFacts, height: int, width: int, seek: float | None
) -> np.ndarray | None:
    """Decodes from the key frame before `seek` on, or from the start; None if the seek did not lead there."""
    deadline = time.monotonic() + LONGEST_READ
    reformatter = load_av().video.reformatter.VideoReformatter()
    clip = np.empty((len(times), height, width, 3), np.uint8)
    done, shown, end = 0, None, facts.start
    with _opened(path) as (container, stream):
        try:
            if seek is not None:
                container.seek(int(seek / stream.time_base), stream=stream)
            for moment, frame in _shown_frames(container, stream):
                if shown is not None:
                    # What was on the screen until now is what every wanted time before now shows.
                    stop = bisect_left(times, moment, done)
                    if stop > done:
                        clip[done:stop] = _upright(shown, reformatter, height, width)
                    if stop == len(times):
                        return clip
                    done = stop
                elif seek is not None and moment > times[0]:
                    return None
                shown, end = frame, _end(moment, frame, stream)
                if time.monotonic() > deadline:
                    raise Refusal(TOO_SLOW.format(LONGEST_READ))
        except load_av().FFmpegError as error:
            if seek is not None:
                return None
            if shown is None:
                raise
            raise Refusal(
                f"it is damaged or cut off {end - facts.start:.2f} seconds after its start, before the frames that are "
                "needed"
            ) from error
        if shown is None and seek is not None:
            return None
        if shown is None or times[-1] > end + _slack(facts.frames / facts.rate):
            raise Refusal(f"it ends {end - facts.start:.2f} seconds after its start, before it says it would")
        clip[done:] = _upright(shown, reformatter, height, width)
    return clip


def _upright(frame: _Frame, reformatter: _Reformatter, height: int, width: int) -> np.ndarray:
    """The frame in colour, turned and mirrored as its file says, in the given size: (height, width, 3) uint8."""
    lies, mirrors = _orientation(frame)
    if lies:
        height, width = width, height
    # Only for scaling: the choice also changes how colours are converted.
    scaling = {} if (frame.height, frame.width) == (height, width) else {"interpolation": "BICUBIC"}
    pixels = reformatter.reformat(frame, width=width, height=height, format="rgb24", **scaling).to_ndarray()
    if lies:
        pixels = pixels.transpose(1, 0, 2)
    return pixels[:: -1 if mirrors[0] else 1, :: -1 if mirrors[1] else 1]


def _orientation(frame: _Frame) -> tuple[bool, tuple[bool, bool]]:
    """Whether rows become columns, and whether the order of the rows and of the columns is then reversed.

    The matrix of a file takes the place (x, y) of a pixel to (a x + c y, b x + d y), x to the right and y down: the
    eight orientations are those with two zeros (ISO 14496-12, 8.3.2; libavutil/display.h).
    """
    matrix = next((data for data in frame.side_data if data.type.name == "DISPLAYMATRIX"), None)
    numbers = np.frombuffer(bytes(matrix), "=i4").astype(float) if matrix is not None else np.zeros(0)
    if len(numbers) != 9:
        return False, (False, False)
    a, b, c, d = numbers[[0, 1, 3, 4]]
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, (bool(b < 0), bool(c < 0))
    return False, (bool(d < 0), bool(a < 0))


def _shown_size(frame: _Frame, shape: Fraction | None) -> tuple[int, int]:
    """Height and width of a frame upright and with square pixels. shape: width of a pixel as a multiple of its height.

    The side that is too short is made longer. Shapes within 1 % of a square, or beyond 1 to 8, count as squares.
    """
    height, width, ratio = frame.height, frame.width, float(shape or 1)
    if _ALMOST_SQUARE < ratio <= _LONGEST_PIXEL:
        width = round(width * ratio)
    elif _ALMOST_SQUARE < 1 / max(ratio, 1e-9) <= _LONGEST_PIXEL:
        height = round(height / ratio)
    if height * width > MAXIMUM_FRAME_PIXELS:
        raise Refusal(TOO_LARGE.format(MAXIMUM_FRAME_PIXELS))
    return (width, height) if _orientation(frame)[0] else (height, width)
