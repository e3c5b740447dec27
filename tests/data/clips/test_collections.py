"""Clips are understood in every layout, checked once, split and subset as they say, and never dropped silently."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hvit.data.batches import evaluation_batches
from hvit.data.clips import collections
from hvit.data.clips.sets import ClipSet
from hvit.data.clips.settings import ClipData
from hvit.data.open import open_data
from hvit.data.preprocess import Preprocess
from hvit.errors import UserError
from tests.data.clips.made import make_clips, make_frames, names, open_clips, refusal


def test_train_and_val_folders_are_used_as_they_are(tmp_path: Path) -> None:
    for split, count in {"train": 3, "valid": 2}.items():
        make_clips(tmp_path / split / "jump" / "outdoors", count)
        make_clips(tmp_path / split / "wave", count, first=100)
    splits = open_clips(tmp_path)
    assert splits.classes == ("jump", "wave")
    assert (splits.train.labels.tolist(), splits.held_out.labels.tolist()) == ([0, 0, 0, 1, 1, 1], [0, 0, 1, 1])
    clip, target = splits.held_out.read(3, draw=0)
    assert (clip.shape, clip.dtype, target) == ((4, 6, 8, 1), np.uint8, 1)
    assert (splits.mean, splits.std) == ((0.45,) * 3, (0.225,) * 3)
    (note,) = splits.notes
    assert note.startswith("4 held-out clips have the same content as training clips")


def test_class_folders_alone_are_split_class_by_class_and_stay_so(
    two_classes: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    splits = open_clips(two_classes)
    assert np.bincount(splits.train.labels).tolist() == [8, 4]
    assert np.bincount(splits.held_out.labels).tolist() == [2, 1]
    held_out = names(splits.held_out)
    assert not set(names(splits.train)) & set(held_out)
    assert "20% of each class" in " ".join(splits.notes)
    moved = tmp_path_factory.mktemp("moved") / "clips"
    shutil.copytree(two_classes, moved)
    assert names(open_clips(moved, seed=1).held_out) == held_out
    assert any(names(open_clips(two_classes, split_seed=other).held_out) != held_out for other in (1, 2, 3))


def test_videos_arrays_and_folders_of_frames_are_clips_side_by_side(
    tmp_path: Path, make_video: Callable[..., Path], numbered: Callable[..., np.ndarray]
) -> None:
    make_video(tmp_path / "jump" / "b.mp4", numbered(9))
    make_clips(tmp_path / "jump", 1)
    make_frames(tmp_path / "jump" / "a_frames")
    make_frames(tmp_path / "wave" / "deep" / "one")
    make_frames(tmp_path / "wave" / "deep" / "two")
    (tmp_path / "wave" / "notes.txt").touch()
    (tmp_path / "jump" / "poster.jpg").touch()
    (tmp_path / "stray.npy").touch()
    splits = open_clips(tmp_path)
    assert sorted(names(splits.train) + names(splits.held_out)) == ["a_frames", "b", "clip000", "one", "two"]
    assert "Skipped, as no clips or in no class's folder" in splits.notes[0]
    assert all(kind in splits.notes[0] for kind in ("1 .jpg", "1 .txt", "1 clip outside any class folder"))


def test_unlabelled_clips_are_one_unlabelled_data_set(tmp_path: Path, two_classes: Path) -> None:
    unlabelled = tmp_path / "unlabelled"
    make_clips(unlabelled, 8)
    make_frames(unlabelled / "more" / "frames")
    for labels in ("none", "auto"):
        splits = open_clips(unlabelled, labels=labels)
        assert splits.classes == ("unlabelled",)
        assert (len(splits.train), len(splits.held_out)) == (7, 2)
        assert "have no labels" in splits.notes[0]
        assert "20% of the clips is held out" in splits.notes[1]
    assert "unlabelled has 1 class folder and 8 clips in none" in refusal(unlabelled)
    shutil.rmtree(unlabelled)
    assert open_clips(two_classes, labels="auto").classes == ("jump", "wave")
    assert len(open_clips(two_classes, labels="none").train) == 12


def test_a_flat_unlabelled_train_and_val_are_not_mixed(tmp_path: Path) -> None:
    make_clips(tmp_path / "train", 3)
    make_clips(tmp_path / "val", 2, first=50)
    splits = open_clips(tmp_path, labels="auto")
    assert (names(splits.train), names(splits.held_out)) == (["clip000", "clip001", "clip002"], ["clip050", "clip051"])


def test_wrong_layouts_are_refused_with_a_sentence_that_helps(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--data\.root DIR"):
        open_data(ClipData(), 0, 3, 4)
    assert "does not exist" in refusal(tmp_path / "none")
    (tmp_path / "file").touch()
    assert "is not a folder" in refusal(tmp_path / "file")
    (tmp_path / "bare").mkdir()
    assert "bare has 0 class folders and 0 clips" in refusal(tmp_path / "bare")
    assert "holds no clip" in refusal(tmp_path / "bare", labels="none")
    make_frames(tmp_path / "pictures" / "cat")
    make_frames(tmp_path / "pictures" / "dog")
    assert "cat holds images and no clips" in refusal(tmp_path / "pictures")
    make_clips(tmp_path / "half" / "cat", 2)
    (tmp_path / "half" / "dog").mkdir()
    assert "dog holds no clip" in refusal(tmp_path / "half")
    for place in ("train/cat", "train/dog", "val/cat", "val/newt"):
        make_clips(tmp_path / "other" / place, 1)
    assert "lacks 1 class that" in refusal(tmp_path / "other")
    make_clips(tmp_path / "few" / "cat", 1)
    make_clips(tmp_path / "few" / "dog", 1)
    assert "class cat has only one readable clip" in refusal(tmp_path / "few")


@pytest.fixture
def with_bad_files(two_classes: Path) -> Path:
    pytest.importorskip("av")
    for number in range(12):
        (two_classes / "wave" / f"bad{number:02}.mp4").write_text("no video")
    return two_classes


def test_unreadable_clips_are_counted_named_and_left_out_before_training(with_bad_files: Path) -> None:
    splits = open_clips(with_bad_files)
    assert len(splits.train) + len(splits.held_out) == 15
    note = next(note for note in splits.notes if "cannot be read" in note)
    assert note.startswith("12 of 27 clips cannot be read and will be skipped: ")
    assert "bad09.mp4: it is damaged, cut off or no video of a known kind" in note
    assert note.endswith(" and 2 more.")
    message = refusal(with_bad_files, unreadable="stop")
    assert message.startswith("12 of 27 clips cannot be read: ")


def test_a_class_without_a_readable_clip_is_refused(with_bad_files: Path) -> None:
    for file in (with_bad_files / "wave").glob("*.npy"):
        file.unlink()
    assert "none of the 12 clips of class wave" in refusal(with_bad_files)


def test_checks_look_at_as_much_as_they_say(
    shared_data: Path, two_classes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("av")
    shutil.copy(shared_data / "bad_inputs" / "truncated_after_moov.mp4", two_classes / "jump")
    (two_classes / "jump" / "empty.npy").touch()
    whole, header, none = (
        " ".join(open_clips(two_classes, check=check, cache="none").notes) for check in ("auto", "header", "none")
    )
    assert "2 of 17 clips cannot be read" in whole
    assert "cut off after 24 frames" in whole
    assert "Only the headers of the 17 clips were checked" in header
    assert "1 of 17 clips cannot be read" in header
    assert "The 17 clips were not checked" in none
    monkeypatch.setattr(collections, "MOST_DECODED", 16)
    assert "Only the headers" in " ".join(open_clips(two_classes, cache="none").notes)


def test_evaluation_never_hides_an_unreadable_clip(two_classes: Path) -> None:
    splits = open_clips(two_classes, temporal_views=2)
    assert isinstance(splits.held_out, ClipSet)
    Path(str(splits.held_out.source(2))).write_bytes(b"")
    preprocess = Preprocess((4, 6, 8), splits.mean, splits.std, 1.0)
    made = evaluation_batches(splits.held_out, preprocess=preprocess, batch_size=4)
    with pytest.raises(UserError, match="held-out clip"):
        list(made)


def test_train_subsets_are_balanced_and_leave_the_held_out_clips_alone(two_classes: Path) -> None:
    whole, some = open_clips(two_classes), open_clips(two_classes, num_per_class=2)
    assert np.bincount(some.train.labels).tolist() == [2, 2]
    assert set(names(some.train)) < set(names(whole.train))
    assert names(some.held_out) == names(whole.held_out)
    assert "subset of 4 of 12" in some.notes[-1]


@pytest.mark.parametrize(
    "fields",
    [
        {"val_fraction": 0.0},
        {"stride": 0},
        {"temporal_views": 0},
        {"spatial_views": 2},
        {"target_fps": 0.0},
        {"frame_rate": float("nan")},
        {"short_side": -1},
        {"separator": ""},
        {"sampling": "all"},
        {"temporal_views": 2, "sampling": "segments"},
        {"train_frames": "a.csv", "train_list": "a.txt"},
        {"held_out_list": "a.csv"},
        {"check": "x"},
        {"num_per_class": 0},
    ],
)
def test_impossible_settings_are_refused_at_once(fields: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(fields))):
        ClipData(**fields)


def test_the_clips_of_the_shared_data_open_and_every_view_of_them_is_read(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    root = shared_data / "clips"
    before = {file: file.stat().st_mtime_ns for file in root.iterdir()}
    splits = open_clips(root, num_frames=16, temporal_views=5, spatial_views=3, cache=str(tmp_path / "index.json"))
    assert (len(splits.train), len(splits.held_out)) == (48, 16)
    assert splits.classes == ("bend", "jack", "wave1", "wave2")
    assert (splits.notes, splits.held_out.views) == ((), (5, 3))
    for images in (splits.train, splits.held_out):
        for index in range(0, len(images), 5):
            clip, target = images.read(index, index)
            assert (clip.shape, target) == ((16, 64, 64, 3), images.labels[index])
    assert {file: file.stat().st_mtime_ns for file in root.iterdir()} == before


def test_every_bad_clip_of_the_shared_data_is_found_before_training(shared_data: Path, two_classes: Path) -> None:
    pytest.importorskip("av")
    for file in (shared_data / "bad_inputs").glob("*.mp4"):
        shutil.copy(file, two_classes / "jump")
    splits = open_clips(two_classes, num_frames=16)
    note = next(note for note in splits.notes if "cannot be read" in note)
    assert note.startswith("5 of 22 clips ")
    for name in ("truncated", "truncated_after_moov", "zero_byte", "text_renamed", "audio_only"):
        assert f"{name}.mp4: " in note
    for images in (splits.train, splits.held_out):
        assert {images.read(index, 0)[0].shape[0] for index in range(len(images))} == {16}
