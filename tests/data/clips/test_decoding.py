"""Frames come from any kind of clip, at the right times and upright, or the file is refused in one sentence."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hvit.data.clips.decoding import fitted, probe, read_frames
from hvit.data.clips.videos import ClipFacts
from hvit.errors import UserError
from tests.data.clips.frames import MakeVideo, Numbered, numbers, read, refusal


def test_large_frames_are_scaled_down_as_they_are_read_and_small_ones_left(
    tmp_path: Path, make_video: MakeVideo, numbered: Numbered
) -> None:
    path = make_video(tmp_path / "clip.mp4", numbered(4, 60, 100))
    assert read(path, 2, short_side=30).shape == (1, 30, 50, 3)
    assert numbers(read(path, 2, short_side=30)) == [2]
    assert read(path, 2, short_side=60).shape == read(path, 2, short_side=99).shape == (1, 60, 100, 3)
    assert [fitted(480, 640, 240), fitted(641, 480, 240), fitted(480, 640, 0)] == [(240, 320), (320, 240), (480, 640)]


def test_a_folder_of_frames_is_a_clip_in_the_order_of_their_numbers(tmp_path: Path, numbered: Numbered) -> None:
    for number, pixels in enumerate(numbered(12)):
        Image.fromarray(pixels).save(tmp_path / f"frame{number}.png")
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".hidden.png").touch()
    assert probe(tmp_path, frame_rate=12) == ClipFacts(12, 12, 0, 32, 48)
    assert numbers(read(tmp_path, 11, 2, 10, 2)) == [11, 2, 10, 2]
    assert read(tmp_path, 1, short_side=16).shape == (1, 16, 24, 3)


def test_frames_of_other_sizes_take_the_size_of_the_first(tmp_path: Path) -> None:
    for number, size in enumerate([(20, 10), (10, 20)]):
        Image.new("RGB", size, "white").save(tmp_path / f"{number}.png")
    assert read(tmp_path, 0, 1).shape == (2, 10, 20, 3)


@pytest.mark.parametrize("kind", ["array", "folder"])
def test_a_clip_that_has_become_shorter_is_refused(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "clip.npy"
    if kind == "array":
        np.save(source, np.zeros((2, 8, 10, 3), np.uint8))
    else:
        source.mkdir()
        for number in range(2):
            Image.new("RGB", (10, 8)).save(source / f"{number}.png")
    remembered = ClipFacts(5, 30, 0, 8, 10)
    assert len(read_frames(source, np.array([1, 0]), remembered)) == 2
    for wanted in ([0, 4], [4], [2, 2]):
        with pytest.raises(UserError, match="it has 2 frames, and had 5 when it was first looked at"):
            read_frames(source, np.array(wanted), remembered)


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_arrays_are_clips_on_disk_and_in_memory(tmp_path: Path, channels: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, (9, 12, 16, *channels), dtype=np.uint8)
    np.save(tmp_path / "clip.npy", array)
    expected = array.reshape(9, 12, 16, -1)[[8, 0, 0]]
    for source in (tmp_path / "clip.npy", array):
        facts = probe(source, frame_rate=10)
        assert facts == ClipFacts(9, 10, 0, 12, 16)
        assert np.array_equal(read_frames(source, np.array([8, 0, 0]), facts), expected)
        assert read_frames(source, np.array([1]), facts, short_side=6).shape == (1, 6, 8, expected.shape[3])


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 6, 4), (0, 5, 6, 3), (4, 5, 6, 3, 1)])
def test_arrays_that_are_no_clips_are_refused(shape: tuple[int, ...]) -> None:
    assert "must be (frames, height, width)" in refusal(lambda: probe(np.zeros(shape, np.uint8)))
    assert "float64" in refusal(lambda: probe(np.zeros((4, 5, 6, 3))))


def test_pickles_in_npy_files_are_never_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "clip.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert "pickle" in refusal(lambda: probe(tmp_path / "clip.npy"))


@pytest.mark.parametrize("name", ["text_renamed.jpg", "rgba.png", "animated.gif", "bomb_30000x30000.png", "cmyk.jpg"])
def test_pictures_are_no_videos_whatever_they_are_called(shared_data: Path, tmp_path: Path, name: str) -> None:
    pytest.importorskip("av")
    shutil.copy(shared_data / "bad_inputs" / name, tmp_path / "clip.mp4")
    assert "no video of a known kind" in refusal(lambda: probe(tmp_path / "clip.mp4"))


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    assert "there is no such file" in refusal(lambda: probe(tmp_path / "none.mp4"))
    assert "folder without images" in refusal(lambda: probe(tmp_path))
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.mp4")
        assert "not a regular file" in refusal(lambda: probe(tmp_path / "pipe.mp4"))


@pytest.mark.skipif(os.name != "posix", reason="names are text on this system")
def test_names_that_look_like_addresses_or_are_no_text_are_read(
    tmp_path: Path, make_video: MakeVideo, numbered: Numbered, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_video(tmp_path / "clip.mp4", numbered(3))
    monkeypatch.chdir(tmp_path)
    for name in ("data:x.mp4", "100%03d café 犬.mp4", os.fsdecode(b"caf\xe9.mp4")):
        shutil.copy(made, name)
        assert numbers(read(Path(name), 2)) == [2]
