"""Lists of Kinetics and Something-Something are read as their authors' code does, and refused where they are wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from hvit.data.clips.settings import ClipData
from hvit.data.open import open_data
from tests.data.clips.made import make_frames, names, open_clips, refusal


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


def test_missing_files_of_a_list_are_named(kinetics: Path) -> None:
    (kinetics / "a.csv").write_text("clips/clip000.npy 0\nclips/clip001.npy 1\nclips/gone.mp4 0\n")
    pytest.importorskip("av")
    splits = open_clips(kinetics, train_list=str(kinetics / "a.csv"), held_out_list=str(kinetics / "a.csv"))
    assert "gone.mp4: there is no such file" in splits.notes[0]
    assert len(splits.train) == len(splits.held_out) == 2
