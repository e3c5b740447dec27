"""Clips are understood in every layout, checked once, split and subset as they say, and never dropped silently."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hvit.data.batches import evaluation_batches
from hvit.data.clips import collections
from hvit.data.clips import index as clip_index
from hvit.data.clips import sets as clip_sets
from hvit.data.clips.collections import ClipData
from hvit.data.clips.sets import ClipSet
from hvit.data.clips.videos import ClipFacts
from hvit.data.open import FolderData, open_data
from hvit.data.preprocess import Preprocess
from hvit.data.sampling import Sampling
from hvit.data.sets import Splits
from hvit.errors import UserError
from hvit.recipes import get_recipe
from hvit.verbs import train


def make_clips(folder: Path, count: int, first: int = 0, frames: int = 20) -> None:
    """Small clips as arrays, all different: clip number n begins at grey level n, and gets lighter by one a frame."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        levels = (number + np.arange(frames)).astype(np.uint8)
        np.save(folder / f"clip{number:03}.npy", np.broadcast_to(levels[:, None, None], (frames, 6, 8)))


def make_frames(folder: Path, frames: int = 5) -> None:
    folder.mkdir(parents=True)
    for number in range(frames):
        Image.new("RGB", (8, 6), (number, number, number)).save(folder / f"{number}.jpg")


def open_clips(root: Path, seed: int = 0, num_frames: int = 4, **fields: Any) -> Splits:
    return open_data(ClipData(root=str(root), **fields), seed, 3, num_frames)


def names(images: object) -> list[str]:
    assert isinstance(images, ClipSet)
    return [Path(str(images.source(index))).stem for index in range(len(images))]


def refusal(root: Path, **fields: Any) -> str:
    with pytest.raises(UserError) as caught:
        open_clips(root, **fields)
    message = str(caught.value)
    assert "\n" not in message
    return message


def first_level(images: object, index: int, draw: int = 0) -> int:
    assert isinstance(images, ClipSet)
    return int(images.read(index, draw)[0][0, 0, 0, 0])


@pytest.fixture
def two_classes(tmp_path: Path) -> Path:
    make_clips(tmp_path / "jump", 10)
    make_clips(tmp_path / "wave", 5, first=100)
    return tmp_path


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
    assert splits.notes == ()


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


def test_a_model_and_data_of_another_kind_are_refused(two_classes: Path) -> None:
    with pytest.raises(UserError, match="are clips, and the model takes images"):
        open_data(ClipData(root=str(two_classes)), 0, 3)
    with pytest.raises(UserError, match=r"takes clips of 16 frames, and the data \(folder\) are images"):
        open_data(FolderData(root=str(two_classes)), 0, 3, 16)


@pytest.fixture
def kinetics(tmp_path: Path) -> Path:
    make_clips(tmp_path / "clips", 3)
    make_clips(tmp_path / "some clips 7", 3, first=100)
    return tmp_path


def test_lines_of_path_and_label_are_read_as_slowfast_does_with_spaces_in_paths(kinetics: Path) -> None:
    (kinetics / "train.csv").write_text(
        "clips/clip000.npy 0\nclips/clip001.npy 12 2\n\nsome clips 7/clip100.npy 2\nsome clips 7/clip101.npy 300 0\n"
    )
    (kinetics / "val.csv").write_text("clips/clip002.npy 0\r\nsome clips 7/clip102.npy 2\r\n")
    lists = {"train_list": str(kinetics / "train.csv"), "held_out_list": str(kinetics / "val.csv")}
    splits = open_clips(kinetics, **lists)
    assert names(splits.train) == ["clip000", "clip001", "clip100", "clip101"]
    assert (splits.train.labels.tolist(), splits.held_out.labels.tolist()) == ([0, 2, 2, 0], [0, 2])
    assert splits.classes == ("0", "1", "2")
    (kinetics / "names.txt").write_text("jump\nrun\nwave\n")
    assert open_clips(kinetics, class_names=str(kinetics / "names.txt"), **lists).classes == ("jump", "run", "wave")
    # Without a root the paths start where the list lies.
    assert names(open_data(ClipData(**lists), 0, 3, 4).held_out) == ["clip002", "clip102"]


def test_another_separator_and_folders_whose_names_end_in_numbers(kinetics: Path) -> None:
    make_frames(kinetics / "frames 12")
    make_frames(kinetics / "frames")
    (kinetics / "a.csv").write_text("clips/clip000.npy,1\nsome clips 7/clip100.npy,50,0\n")
    splits = open_clips(
        kinetics, train_list=str(kinetics / "a.csv"), held_out_list=str(kinetics / "a.csv"), separator=","
    )
    assert splits.train.labels.tolist() == [1, 0]
    (kinetics / "b.csv").write_text("frames 12 1\nframes 5 0\n")
    splits = open_clips(kinetics, train_list=str(kinetics / "b.csv"), held_out_list=str(kinetics / "b.csv"))
    assert (names(splits.train), splits.train.labels.tolist()) == (["frames 12", "frames"], [1, 0])


def test_lists_of_paths_alone_are_unlabelled_and_a_share_is_held_out(kinetics: Path) -> None:
    lines = [
        f"{folder}/clip{number:03}.npy\n"
        for folder, first in (("clips", 0), ("some clips 7", 100))
        for number in range(first, first + 3)
    ]
    (kinetics / "all.csv").write_text("".join(lines))
    splits = open_clips(kinetics, train_list=str(kinetics / "all.csv"))
    assert splits.classes == ("unlabelled",)
    assert (len(splits.train), len(splits.held_out)) == (5, 1)
    (kinetics / "all.csv").write_text("".join(lines[:3]) + lines[3].replace("\n", " 4\n"))
    assert "3 of the 4 clips" in refusal(kinetics, train_list=str(kinetics / "all.csv"))
    assert open_clips(kinetics, train_list=str(kinetics / "all.csv"), labels="none").classes == ("unlabelled",)


def test_lists_that_cannot_be_understood_are_refused(kinetics: Path) -> None:
    path = kinetics / "list.csv"
    assert "cannot read the list" in refusal(kinetics, train_list=str(path))
    path.write_text("\n")
    assert "lists no clip" in refusal(kinetics, train_list=str(path))
    for label in ("-1", "4000000000", "9" * 30):
        path.write_text(f"clips/clip000.npy 0\nclips/clip001.npy {label}\n")
        sentence = f"line 2: a label is a class number from 0 to 999,999, not {label}"
        assert sentence in refusal(kinetics, train_list=str(path))
    path.write_text("clips/clip000.npy 0\nclips/clip001.npy " + "9" * 5000 + "\n")
    assert "have no label" in refusal(kinetics, train_list=str(path)), "a number of 5,000 digits is part of a name"
    path.write_bytes(b"clips/clip000.npy 0\nclips/\0clip001.npy 1\n")
    assert "is no text, for it holds null characters" in refusal(kinetics, train_list=str(path))
    path.write_text("clips/clip000.npy 0\nclips/clip001.npy 5\n")
    (kinetics / "names.json").write_text('{"jump": 0, "wave": 1}')
    assert "label 5 is not among the 2 names" in refusal(
        kinetics, train_list=str(path), class_names=str(kinetics / "names.json")
    )
    for numbers in ('{"jump": 1, "wave": 2}', '{"jump": 0, "wave": Infinity}', '{"jump": 0, "wave": [1]}'):
        (kinetics / "names.json").write_text(numbers)
        assert "does not name classes 0, 1, 2" in refusal(
            kinetics, train_list=str(path), class_names=str(kinetics / "names.json")
        )


@pytest.fixture
def ssv2(tmp_path: Path) -> Path:
    labels = {"Holding something": "1", "Dropping something next to something": "0"}
    (tmp_path / "something-something-v2-labels.json").write_text(json.dumps(labels))
    templates = ["Holding [something]", "Dropping [something] next to [something]"]
    for split, first in {"train": 0, "validation": 100}.items():
        entries = [
            {"id": str(first + number), "label": "holding a pen", "template": templates[number % 2], "placeholders": []}
            for number in range(4)
        ]
        (tmp_path / f"{split}.json").write_text(json.dumps(entries))
        for number in range(first, first + 4):
            make_frames(tmp_path / "videos" / str(number), frames=6)
    return tmp_path


def test_something_something_is_read_from_its_json(ssv2: Path) -> None:
    shutil.rmtree(ssv2 / "videos" / "1")
    np.save(ssv2 / "videos" / "1.npy", np.zeros((7, 6, 8), np.uint8))
    lists = {"train_list": str(ssv2 / "train.json"), "held_out_list": str(ssv2 / "validation.json")}
    splits = open_clips(ssv2 / "videos", sampling="segments", num_frames=3, **lists)
    assert splits.classes == ("Dropping something next to something", "Holding something")
    assert (names(splits.train), splits.train.labels.tolist()) == (["0", "1", "2", "3"], [1, 0, 1, 0])
    # Of 6 frames 3 segments have edges 0, 1.67, 3.33, 5, rounded 0, 2, 3, 5, and middles 1, 2, 4.
    clip, _ = splits.held_out.read(0, 0)
    assert clip[:, 0, 0, 0].tolist() == [1, 2, 4]


def test_the_frames_of_something_something_may_lie_where_a_list_says(ssv2: Path) -> None:
    (ssv2 / "videos").rename(ssv2 / "elsewhere")
    (ssv2 / "videos").mkdir()
    lists = {}
    for field, split, first in (("train_frames", "train", 0), ("held_out_frames", "validation", 100)):
        lines = ["original_vido_id video_id frame_id path labels"]
        lines += [f'{n} {n} {k} ../elsewhere/{n}/{k}.jpg ""' for n in range(first, first + 4) for k in range(6)]
        (ssv2 / f"{split}.csv").write_text("\n".join(lines) + "\n")
        lists[field] = str(ssv2 / f"{split}.csv")
    lists |= {"train_list": str(ssv2 / "train.json"), "held_out_list": str(ssv2 / "validation.json")}
    splits = open_clips(ssv2 / "videos", sampling="segments", **lists)
    assert splits.train.read(0, 0)[0].shape == (4, 6, 8, 3)
    (ssv2 / "train.csv").write_text(lines[0] + "\n0 0 0 a/0.jpg x\n0 0 1 b/1.jpg x\n")
    assert "line 3: the frames of clip 0 lie in several folders" in refusal(ssv2 / "videos", **lists)
    (ssv2 / "train.csv").write_text("path label\n")
    assert "no list of frames" in refusal(ssv2 / "videos", **lists)


def test_templates_without_a_class_are_refused_by_name(ssv2: Path) -> None:
    (ssv2 / "something-something-v2-labels.json").write_text('["Holding something"]')
    assert "1 template that class_names does not name: Dropping something next" in refusal(
        ssv2 / "videos", train_list=str(ssv2 / "train.json")
    )
    (ssv2 / "train.json").write_text('[{"id": 1, "template": "\\u001b[2J\\ud800"}]')
    assert r"does not name: \x1b2J\ud800" in refusal(ssv2 / "videos", train_list=str(ssv2 / "train.json"))
    (ssv2 / "train.json").write_text('[{"id": "\\u0000", "template": "Holding something"}]')
    assert "can be read" in refusal(ssv2 / "videos", train_list=str(ssv2 / "train.json"))
    (ssv2 / "train.json").write_text('[{"id": 1}]')
    assert "is no list of Something-Something" in refusal(ssv2 / "videos", train_list=str(ssv2 / "train.json"))
    (ssv2 / "train.json").write_text("[")
    assert "is no JSON" in refusal(ssv2 / "videos", train_list=str(ssv2 / "train.json"))


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


def test_missing_files_of_a_list_are_named(kinetics: Path) -> None:
    (kinetics / "a.csv").write_text("clips/clip000.npy 0\nclips/clip001.npy 1\nclips/gone.mp4 0\n")
    pytest.importorskip("av")
    splits = open_clips(kinetics, train_list=str(kinetics / "a.csv"), held_out_list=str(kinetics / "a.csv"))
    assert "gone.mp4: there is no such file" in splits.notes[0]
    assert len(splits.train) == len(splits.held_out) == 2


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


def test_what_was_found_out_is_remembered_until_a_file_changes(
    two_classes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    usual = clip_index.probe

    def watched(source: Path, *rest: Any) -> ClipFacts:
        looked.append(source.stem)
        return usual(source, *rest)

    monkeypatch.setattr(clip_index, "probe", watched)
    (two_classes / "wave" / "bad.npy").write_text("bad")

    def look(**fields: Any) -> int:
        looked.clear()
        open_clips(two_classes, **fields)
        return len(looked)

    assert look(check="header") == 16
    assert look(check="header") == 0
    assert look() == 16  # the headers do not say whether all decodes
    assert look() == look(check="header") == 0
    make_clips(two_classes / "jump", 1, frames=33)
    os.utime(two_classes / "jump" / "clip001.npy", ns=(1, 1))
    splits = open_clips(two_classes)
    assert sorted(looked) == ["clip000", "clip001"]
    assert "bad.npy" in splits.notes[0]
    place = (names(splits.train) + names(splits.held_out)).index("clip000")
    changed = splits.train if place < len(splits.train) else splits.held_out
    assert isinstance(changed, ClipSet)
    assert changed.facts(place % len(splits.train)).frames == 33
    assert look(frame_rate=12) == 16
    cache = two_classes / collections.CACHE
    assert json.loads(cache.read_text())["clips"]["jump/clip000.npy"][3][0] == 33
    for damaged in ("", "[]", '{"kind": "hvit clips 1"}', cache.read_text().replace("[33", '["x", 33')):
        cache.write_text(damaged)
        assert look(frame_rate=12) == 16


def test_the_memory_moves_with_the_clips_or_lies_where_it_should(
    two_classes: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_clips(two_classes)
    moved = two_classes.rename(tmp_path_factory.mktemp("new") / "clips")
    monkeypatch.setattr(clip_index, "probe", lambda *_: pytest.fail("looked again"))
    assert len(open_clips(moved).train) == 12
    monkeypatch.undo()
    (moved / collections.CACHE).unlink()
    other = tmp_path_factory.mktemp("cache") / "deep" / "index.json"
    open_clips(moved, cache=str(other))
    assert other.is_file()
    other.unlink()
    open_clips(moved, cache="none")
    assert not (moved / collections.CACHE).exists()


def test_data_that_nobody_may_write_beside_are_opened_without_a_memory(two_classes: Path) -> None:
    (two_classes / "file").touch()
    assert len(open_clips(two_classes, cache=str(two_classes / "file" / "index.json")).train) == 12
    assert (two_classes / "file").read_bytes() == b""


def test_a_clip_that_fails_in_training_is_replaced_by_the_next_readable_one_with_a_warning(
    two_classes: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train = open_clips(two_classes).train
    assert isinstance(train, ClipSet)
    last = len(train) - 1
    replacement = first_level(train, 1, draw=7)
    for index in (last, 0):
        Path(str(train.source(index))).write_bytes(b"")  # as if the disk had failed after the check
    for _ in range(2):
        assert (first_level(train, last, draw=7), train.read(last, 7)[1]) == (replacement, 0)
    lines = capfd.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["warning", "warning"]
    assert "the file is empty" in lines[0]
    shutil.rmtree(two_classes)
    with pytest.raises(UserError, match="can be read any more"):
        train.read(0, draw=0)


def test_a_held_out_clip_that_fails_is_an_error_that_names_it(two_classes: Path) -> None:
    held_out = open_clips(two_classes).held_out
    assert isinstance(held_out, ClipSet)
    Path(str(held_out.source(1))).unlink()
    held_out.read(0, draw=0)
    for read in (lambda: held_out.read(1, draw=1), lambda: held_out.read_view(1, 3, 5)):
        with pytest.raises(UserError, match=r"no such file.* It is a held-out clip") as caught:
            read()
        assert names(held_out)[1] in str(caught.value)


def test_draws_choose_the_frames_of_training_and_views_those_of_testing() -> None:
    clip = np.arange(100, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2)
    arguments = [clip, clip], np.array([0, 1]), Sampling(4, 2)
    train, test = ClipSet(*arguments, learns=True, seed=3), ClipSet(*arguments)
    levels = [first_level(train, 0, draw) for draw in range(300)]
    # A span is 8 frames long, and the last start 92.
    assert (min(levels), max(levels)) == (0, 91)
    assert levels == [first_level(train, 0, draw) for draw in range(300)]
    assert levels != [first_level(ClipSet(*arguments, learns=True), 0, draw) for draw in range(300)]
    seen = train.read(1, 5)[0][:, 0, 0, 0].astype(int)
    assert (seen[0], seen[-1] - seen[0]) == (levels[5], 7)
    assert [first_level(test, 0, draw) for draw in (0, 9)] == [46, 46]
    assert [int(test.read_view(1, view, 5)[0][0, 0, 0, 0]) for view in range(5)] == [0, 23, 46, 69, 92]
    assert test.read_view(1, 0, 5)[1] == 1


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


def test_what_was_found_out_before_an_interrupt_is_kept(two_classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = clip_index.probe
    monkeypatch.setattr(clip_index.os, "cpu_count", lambda: 1)
    make_clips(two_classes / "wave", 40, first=50)

    def interrupted(source: Path, *rest: Any) -> ClipFacts:
        if source.stem == "clip089":
            raise KeyboardInterrupt
        return usual(source, *rest)

    monkeypatch.setattr(clip_index, "probe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        open_clips(two_classes)
    remembered = json.loads((two_classes / collections.CACHE).read_text())["clips"]
    assert "jump/clip000.npy" in remembered
    assert "wave/clip089.npy" not in remembered


def test_clips_that_were_not_checked_are_looked_at_once_when_they_are_read(
    two_classes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = open_clips(two_classes, check="none").train
    one = train.read(3, 0)[0]
    assert np.array_equal(one, open_clips(two_classes).train.read(3, 0)[0])
    monkeypatch.setattr(clip_sets, "probe", lambda *_: pytest.fail("looked again"))
    assert np.array_equal(train.read(3, 0)[0], one)


def test_a_plan_writes_nothing_not_even_an_index(two_classes: Path) -> None:
    before = sorted(two_classes.rglob("*"))
    lines = train.plan(replace(get_recipe("hiera_micro_mae_clips"), data=ClipData(root=str(two_classes))))
    assert "clips" in lines["data"]
    assert sorted(two_classes.rglob("*")) == before
    open_clips(two_classes)
    assert (two_classes / collections.CACHE).exists()


@pytest.mark.parametrize(
    "content",
    [
        b"no json", b"[]", b"{}", b'{"clips": []}', b"[" * 100_000, b"\xff\xfe", b"1" * 5000, b"null",
        b'{"kind": 1, "clips": {"a": 1}}',
    ],
)  # fmt: skip
def test_a_damaged_index_is_made_anew_and_it_is_said(two_classes: Path, content: bytes) -> None:
    open_clips(two_classes)
    good = (two_classes / collections.CACHE).read_bytes()
    (two_classes / collections.CACHE).write_bytes(content)
    assert (
        f"{two_classes / collections.CACHE} is damaged, so all clips were looked at again."
        in open_clips(two_classes).notes
    )
    assert (two_classes / collections.CACHE).read_bytes() == good
    assert "damaged" not in " ".join(open_clips(two_classes).notes)


@pytest.mark.parametrize(
    "entry",
    [
        [1], "text", None, {}, [1, 2, True, [1, 2, 3]], [1.5, 2, True, "x"], [1, 2, 1, "x"], [1, 2, True, None],
        [1, 2, True, ["8", 30, 0, 4, 4]], [1, 2, True, [0, 30, 0, 4, 4]], [1, 2, True, [8, 1e999, 0, 4, 4]],
        [1, 2, True, [8, 0, 0, 4, 4]], [1, 2, True, [10**12, 30, 0, 4, 4]], [1, 2, True, [8, True, 0, 4, 4]],
    ],
)  # fmt: skip
def test_an_index_with_wrong_entries_is_damaged(two_classes: Path, entry: Any) -> None:
    open_clips(two_classes)
    content = json.loads((two_classes / collections.CACHE).read_text())
    content["clips"]["jump/clip000.npy"] = entry
    (two_classes / collections.CACHE).write_text(json.dumps(content))
    assert "is damaged" in " ".join(open_clips(two_classes).notes)


def test_a_pipe_in_the_place_of_an_index_or_list_keeps_nobody_waiting(two_classes: Path) -> None:
    os.mkfifo(two_classes / collections.CACHE)
    assert len(open_clips(two_classes).train) == 12
    os.mkfifo(two_classes / "list.txt")
    assert "it is not a regular file" in refusal(two_classes, train_list=str(two_classes / "list.txt"))
