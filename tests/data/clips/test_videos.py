"""Video files are read as a player shows them, and refused in one sentence."""

from __future__ import annotations

import builtins
import struct
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hvit.data.clips import videos
from hvit.data.clips.decoding import probe, read_frames
from hvit.data.clips.videos import ClipFacts
from hvit.errors import UserError
from tests.data.clips.frames import MakeVideo, Numbered, numbers, read, refusal


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.avi", "clip.mov"])
def test_any_frames_in_any_order_are_read(tmp_path: Path, make_video: MakeVideo, numbered: Numbered, name: str) -> None:
    path = make_video(tmp_path / name, numbered(50), rate=20)
    facts = probe(path)
    assert (facts.frames, facts.rate, facts.height, facts.width) == (50, 20, 32, 48)
    assert probe(path, whole=True) == facts
    clip = read(path, 41, 3, 3, 49, 0)
    assert (clip.shape, clip.dtype) == ((5, 32, 48, 3), np.uint8)
    assert numbers(clip) == [41, 3, 3, 49, 0]
    assert all(numbers(read(path, index)) == [index] for index in range(50))


def test_only_what_is_needed_is_decoded(
    tmp_path: Path, make_video: MakeVideo, numbered: Numbered, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video(tmp_path / "clip.mp4", numbered(60), keys=10)
    with pytest.importorskip("av").open(str(path)) as container:
        frames = container.decode(container.streams.video[0])
        keys = [number for number, frame in enumerate(frames) if frame.key_frame]
    decoded: list[float] = []
    usual = videos._shown_frames

    def watched(container: Any, stream: Any) -> Any:
        for moment, frame in usual(container, stream):
            decoded.append(moment * 25)
            yield moment, frame

    facts = probe(path)
    monkeypatch.setattr(videos, "_shown_frames", watched)
    assert numbers(read_frames(path, np.array([38, 42]), facts)) == [38, 42]
    # From the key frame a little before the first to the one frame that shows how long the last is shown.
    first = max(key for key in keys if key <= 38 - 4)
    assert first > 20
    assert [round(frame) for frame in decoded] == list(range(first, 44))


def test_a_video_of_variable_frame_rate_plays_at_its_true_speed(
    tmp_path: Path, make_video: MakeVideo, numbered: Numbered
) -> None:
    """Five frames a second for a second, then two a second for two: what is on the screen when, not how many passed."""
    times = [0, 200, 400, 600, 800, 1000, 1500, 2000, 2500, 3000]
    path = make_video(tmp_path / "clip.mkv", numbered(10), times=times)
    facts = probe(path)
    whole = read_frames(path, np.arange(facts.frames), facts)
    for index, number in enumerate(numbers(whole)):
        moment = 1000 * (index + 0.5) / facts.rate
        assert number == sum(time <= moment for time in times) - 1
    assert len(set(numbers(whole))) < facts.frames
    assert facts.frames / facts.rate == pytest.approx(3.1, abs=0.15)


def test_a_first_frame_that_comes_late_on_the_clock_is_still_the_first(
    tmp_path: Path, make_video: MakeVideo, numbered: Numbered
) -> None:
    path = make_video(tmp_path / "clip.mkv", numbered(30), times=[5000 + 40 * number for number in range(30)])
    facts = probe(path)
    assert (facts.frames, facts.start) == (30, 5.0)
    assert numbers(read(path, 0, 17, 29)) == [0, 17, 29]


def place_by_matrix(pixels: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """Every pixel (x, y) moved to (a x + c y, b x + d y), and all of them back into the corner."""
    a, b, c, d = matrix
    rows, columns = np.indices(pixels.shape[:2])
    x, y = a * columns + c * rows, b * columns + d * rows
    x, y = x - x.min(), y - y.min()
    placed = np.zeros((y.max() + 1, x.max() + 1, 3), pixels.dtype)
    placed[y, x] = pixels
    return placed


SIGNS = list(product((-1, 1), repeat=2))


ORIENTATIONS = [(a, 0, 0, d) for a, d in SIGNS] + [(0, b, c, 0) for b, c in SIGNS]


@pytest.mark.parametrize("matrix", ORIENTATIONS)
def test_clips_are_turned_and_mirrored_as_their_files_say(
    tmp_path: Path, make_video: MakeVideo, matrix: tuple[int, int, int, int]
) -> None:
    """The matrix of a track (ISO 14496-12) takes (x, y) to (a x + c y, b x + d y): (0, 1, -1, 0) turns clockwise."""
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:16, :24], pixels[:16, 24:], pixels[16:, :24] = 250, 170, 90
    path = make_video(tmp_path / "clip.mp4", np.stack([pixels] * 3))
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 44
    for offset, value in zip((0, 4, 12, 16), matrix, strict=True):
        content[place + offset : place + offset + 4] = struct.pack(">i", value * 65536)
    path.write_bytes(content)
    expected = place_by_matrix(pixels, matrix)
    assert (probe(path).height, probe(path).width) == expected.shape[:2]
    clip = read(path, 1)
    assert np.abs(clip[0].astype(int) - expected).mean() < 3
    assert read(path, 1, short_side=16).shape == (1, *(side // 2 for side in expected.shape[:2]), 3)


@pytest.mark.parametrize(
    ("shape", "size"),
    [((4, 3), (32, 64)), ((16, 15), (32, 51)), ((1, 2), (64, 48)), ((1, 1), (32, 48)), ((201, 200), (32, 48)),
     ((100, 1), (32, 48)), ((1, 100), (32, 48))],
)  # fmt: skip
@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_pixels_that_are_no_squares_are_shown_as_a_player_does(
    tmp_path: Path, make_video: MakeVideo, name: str, shape: tuple[int, int], size: tuple[int, int]
) -> None:
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:, 24:] = 200
    path = make_video(tmp_path / name, np.stack([pixels] * 3), shape=Fraction(*shape))
    facts = probe(path)
    assert (facts.height, facts.width) == size
    clip = read(path, 1)
    assert clip.shape == (1, *size, 3)
    middle = size[1] // 2
    assert clip[0, :, : middle - 3].max() < 12
    assert clip[0, :, middle + 3 :].min() > 188


def test_a_lying_clip_of_wide_pixels_becomes_high(tmp_path: Path, make_video: MakeVideo, numbered: Numbered) -> None:
    path = make_video(tmp_path / "clip.mp4", numbered(3), shape=Fraction(4, 3))
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 44
    content[place : place + 20] = struct.pack(">5i", 0, 65536, 0, -65536, 0)
    path.write_bytes(content)
    assert read(path, 1).shape == (1, 64, 32, 3)


SHARED_VIDEOS = {
    # frames, frames per second, height, width; as the data's README says
    "dog.mp4": (150, 30, 256, 256),
    "goat.mp4": (150, 30, 256, 256),
    "apply_eye_makeup.avi": (164, 25, 240, 320),
    "basketball.mp4": (300, 29.97, 240, 426),
    "nasa_13013.mp4": (325, 25, 180, 320),
    "h265_tiny.mp4": (10, 10, 128, 128),
    "h264_10bit.mp4": (30, 30, 200, 200),
    "av1.mkv": (125, 25, 360, 640),
}


@pytest.mark.parametrize("name", SHARED_VIDEOS)
def test_every_codec_gives_the_same_frames_as_decoding_the_whole_file(shared_data: Path, name: str) -> None:
    av = pytest.importorskip("av")
    path = shared_data / "videos" / name
    facts = probe(path, whole=True)
    assert (facts.frames, facts.rate, facts.height, facts.width) == pytest.approx(SHARED_VIDEOS[name], abs=0.01)
    with av.open(str(path)) as container:
        whole = [frame.to_ndarray(format="rgb24") for frame in container.decode(container.streams.video[0])]
    chosen = np.array([facts.frames - 1, 0, facts.frames // 3, facts.frames * 2 // 3])
    assert len(whole) == facts.frames
    assert np.array_equal(read_frames(path, chosen[:1], facts)[0], whole[-1])
    assert np.array_equal(read_frames(path, chosen, facts), np.stack([whole[index] for index in chosen]))


READABLE = {"single_frame.mp4": 1, "five_frames.mp4": 5}


REFUSED = {
    "truncated.mp4": "damaged, cut off or no video of a known kind",
    "truncated_after_moov.mp4": "damaged or cut off after 24 frames (0.96 of 2.40 seconds)",
    "zero_byte.mp4": "the file is empty",
    "text_renamed.mp4": "damaged, cut off or no video of a known kind",
    "audio_only.mp4": "it has no video stream",
}


def test_every_bad_video_is_read_rightly_or_refused_in_one_sentence(shared_data: Path) -> None:
    pytest.importorskip("av")
    names = {path.name for path in (shared_data / "bad_inputs").glob("*.mp4")}
    assert names == {*READABLE, *REFUSED}
    for name, frames in READABLE.items():
        path = shared_data / "bad_inputs" / name
        facts = probe(path, whole=True)
        assert (facts.frames, facts.height, facts.width) == (frames, 120, 160)
        assert read_frames(path, np.array([0, frames - 1]), facts).shape == (2, 120, 160, 3)
    for name, reason in REFUSED.items():
        message = refusal(lambda name=name: probe(shared_data / "bad_inputs" / name, whole=True))
        assert name in message
        assert reason in message


def test_the_part_before_the_damage_can_still_be_read_and_what_lies_behind_it_is_refused(shared_data: Path) -> None:
    pytest.importorskip("av")
    path = shared_data / "bad_inputs" / "truncated_after_moov.mp4"
    facts = probe(path)
    assert facts.frames == 60
    assert read_frames(path, np.arange(0, 23), facts).shape == (23, 120, 160, 3)
    message = refusal(lambda: read_frames(path, np.array([3, 50]), facts))
    assert "damaged or cut off 0.96 seconds after its start" in message


def test_a_clip_that_ends_silently_before_its_time_is_refused(
    tmp_path: Path, make_video: MakeVideo, numbered: Numbered
) -> None:
    path = make_video(tmp_path / "clip.mp4", numbered(30))
    facts = ClipFacts(100, 25, 0, 32, 48)
    assert "it ends 1.20 seconds after its start" in refusal(lambda: read_frames(path, np.array([0, 99]), facts))
    # Headers may round up: a little beyond the end, the last frame stands still.
    assert numbers(read_frames(path, np.array([33]), facts)) == [29]


def test_a_file_that_takes_too_long_is_given_up(
    tmp_path: Path, make_video: MakeVideo, numbered: Numbered, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video(tmp_path / "clip.mp4", numbered(30), keys=30)
    facts = probe(path)
    moments = iter(range(0, 1000, 10))
    monkeypatch.setattr(videos.time, "monotonic", lambda: float(next(moments)))
    assert "reading it takes longer than 60 seconds" in refusal(lambda: read_frames(path, np.array([29]), facts))
    # A check looks at as much as there is time for.
    assert probe(path, whole=True) == facts


@pytest.mark.parametrize(
    "content", ["#EXTM3U\n#EXTINF:1,\n{0}\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile '{0}'\n"]
)
def test_playlists_are_refused_because_they_open_other_files(
    tmp_path: Path, make_video: MakeVideo, numbered: Numbered, content: str
) -> None:
    other = make_video(tmp_path / "other.mp4", numbered(3))
    (tmp_path / "list.mp4").write_text(content.format(other))
    assert "no video of a known kind" in refusal(lambda: probe(tmp_path / "list.mp4"))


def test_frames_of_gigantic_size_are_refused_before_they_are_decoded(
    tmp_path: Path, make_video: MakeVideo, numbered: Numbered, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video(tmp_path / "clip.mp4", numbered(3))
    monkeypatch.setattr(videos, "MAXIMUM_FRAME_PIXELS", 32 * 48 - 1)
    monkeypatch.setattr(videos, "_shown_frames", lambda *_: pytest.fail("decoded"))
    assert "claim to have more than 1,535 pixels" in refusal(lambda: probe(path))


def test_without_the_decoder_videos_ask_for_it_and_the_rest_goes_on(
    tmp_path: Path, numbered: Numbered, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = builtins.__import__

    def without_av(name: str, *rest: Any, **options: Any) -> Any:
        if name == "av":
            raise ImportError(name)
        return usual(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without_av)
    (tmp_path / "clip.mp4").write_bytes(b"something")
    with pytest.raises(UserError, match=r"pip install 'hvit\[video\]'"):
        probe(tmp_path / "clip.mp4")
    frames = tmp_path / "frames"
    frames.mkdir()
    Image.fromarray(numbered(1)[0]).save(frames / "0.png")
    np.save(tmp_path / "clip.npy", numbered(2))
    assert numbers(read(frames, 0)) == [0]
    assert numbers(read(tmp_path / "clip.npy", 1)) == [1]
