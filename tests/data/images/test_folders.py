"""A folder of images is understood, checked before training, split and subset as it says."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hvit.data.images import folders
from hvit.data.images.folders import FolderData
from hvit.data.open import open_data
from hvit.errors import UserError
from tests.data.images.made import files, make_pictures, open_folder, refusal


def test_train_and_val_folders_are_used_as_they_are(tmp_path: Path) -> None:
    for split, count in {"train": 3, "valid": 2}.items():
        make_pictures(tmp_path / split / "cat" / "indoors" / "sofa", count)
        make_pictures(tmp_path / split / "dog", count, first=100)
    splits = open_folder(tmp_path)
    assert splits.classes == ("cat", "dog")
    assert (splits.train.labels.tolist(), splits.held_out.labels.tolist()) == ([0, 0, 0, 1, 1, 1], [0, 0, 1, 1])
    image, target = splits.train.read(4, draw=0)
    assert (image.getpixel((0, 0)), target) == ((101, 101, 101), 1)
    (note,) = splits.notes
    assert note.startswith("4 held-out images have the same content as training images")


def test_class_folders_alone_are_split_class_by_class(two_classes: Path) -> None:
    splits = open_folder(two_classes)
    assert np.bincount(splits.train.labels).tolist() == [8, 4]
    assert np.bincount(splits.held_out.labels).tolist() == [2, 1]
    assert not set(files(splits.train)) & set(files(splits.held_out))
    assert "20% of each class" in " ".join(splits.notes)


def test_the_split_stays_the_same_when_the_seed_or_the_place_changes_or_pictures_come(
    two_classes: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    held_out = files(open_folder(two_classes).held_out)
    assert files(open_folder(two_classes, seed=1).held_out) == held_out
    moved = tmp_path_factory.mktemp("moved") / "pictures"
    shutil.copytree(two_classes, moved)
    assert files(open_folder(moved).held_out) == held_out
    make_pictures(moved / "dog", 10, first=200)
    more = files(open_folder(moved).train)
    assert sum(name in more for name in held_out) <= 1
    assert any(files(open_folder(two_classes, split_seed=other).held_out) != held_out for other in (1, 2, 3))


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    for name in ("train", "plane"):
        make_pictures(tmp_path / name, 3)
    assert open_folder(tmp_path).classes == ("plane", "train")


def test_only_a_train_folder_is_split_and_what_lies_beside_it_is_named(tmp_path: Path) -> None:
    for name in ("train/cat", "train/dog", "drafts/cat"):
        make_pictures(tmp_path / name, 4)
    splits = open_folder(tmp_path)
    assert (len(splits.train), len(splits.held_out)) == (6, 2)
    assert "Not used, next to train: drafts." in splits.notes


@pytest.mark.parametrize("root", ["", None])
def test_a_forgotten_root_is_asked_for(root: str) -> None:
    with pytest.raises(UserError, match=r"--data\.root DIR"):
        open_data(FolderData(root=root), 0, 3)


def test_wrong_layouts_are_refused_with_a_sentence_that_helps(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "none")
    (tmp_path / "file").touch()
    assert "is not a folder" in refusal(tmp_path / "file")
    make_pictures(tmp_path / "flat", 3)
    assert "has 3 images but no sub-folders" in refusal(tmp_path / "flat")
    (tmp_path / "bare").mkdir()
    assert "has no sub-folders" in refusal(tmp_path / "bare")
    make_pictures(tmp_path / "one" / "cat", 3)
    assert "only one class folder (cat)" in refusal(tmp_path / "one")
    make_pictures(tmp_path / "half" / "val" / "cat", 3)
    assert "has a val folder but no train folder" in refusal(tmp_path / "half")


@pytest.mark.parametrize(("where", "lacking"), [("val", "train"), ("train", "val")])
def test_a_class_on_one_side_only_is_refused_by_name(tmp_path: Path, where: str, lacking: str) -> None:
    for name in ("train/cat", "train/dog", "val/cat", "val/dog", f"{where}/newt"):
        make_pictures(tmp_path / name, 2)
    message = refusal(tmp_path)
    assert f"/{lacking} lacks 1 class that" in message
    assert "newt" in message


def test_classes_without_enough_readable_pictures_are_refused(tmp_path: Path) -> None:
    make_pictures(tmp_path / "cat", 4)
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "notes.txt").touch()
    assert "dog holds no image" in refusal(tmp_path)
    (tmp_path / "dog" / "empty.png").touch()
    assert "none of the 1 images in class folder" in refusal(tmp_path)
    make_pictures(tmp_path / "dog", 1)
    (tmp_path / "cat").rename(tmp_path / "many")
    make_pictures(tmp_path / "cat", 1)
    shutil.rmtree(tmp_path / "many")
    assert "cat has only one readable image" in refusal(tmp_path)


def test_the_only_image_of_a_class_is_trained_on_and_the_plan_says_so(two_classes: Path) -> None:
    make_pictures(two_classes / "newt", 1)
    splits = open_folder(two_classes)
    assert splits.classes == ("cat", "dog", "newt")
    assert np.bincount(splits.train.labels).tolist()[2] == 1
    assert 2 not in splits.held_out.labels
    assert "1 class has only one image, which is trained on and not held out: newt." in splits.notes


def test_hidden_files_and_other_kinds_are_left_out_and_counted(two_classes: Path) -> None:
    for name in (
        "cat/.hidden.png",
        "cat/a.cr2",
        "cat/b.cr2",
        "dog/notes",
        "dog/film.mp4",
        "outside.png",
        "._odd.png",
    ):
        (two_classes / name).touch()
    (two_classes / ".cache").mkdir()
    splits = open_folder(two_classes)
    assert len(splits.train) + len(splits.held_out) == 15
    assert [note for note in splits.notes if "Skipped" in note] == [
        "Skipped, as no images or in no class's folder: "
        "2 .cr2; 1 .mp4; 1 without suffix; 1 image outside any class folder."
    ]


@pytest.fixture
def with_bad_files(two_classes: Path) -> Path:
    for number in range(12):
        (two_classes / "dog" / f"bad{number:02}.jpg").write_text("no picture")
    return two_classes


def test_unreadable_files_are_counted_named_and_left_out_before_training(with_bad_files: Path) -> None:
    splits = open_folder(with_bad_files)
    assert len(splits.train) + len(splits.held_out) == 15
    note = next(note for note in splits.notes if "cannot be read" in note)
    assert note.startswith("12 images of 27 cannot be read and will be skipped: ")
    assert note.endswith(" and 2 more.")
    assert "bad09.jpg: it is not a JPEG" in note
    assert "bad10.jpg" not in note


def test_unreadable_files_stop_the_run_where_it_is_asked_for(with_bad_files: Path) -> None:
    message = refusal(with_bad_files, unreadable="stop")
    assert "12 images of 27 cannot be read" in message
    assert "and 2 more" in message


def test_every_bad_file_of_the_shared_data_is_found_before_training(shared_data: Path, two_classes: Path) -> None:
    for file in (shared_data / "bad_inputs").iterdir():
        shutil.copy(file, two_classes / "cat")
    splits = open_folder(two_classes)
    note = next(note for note in splits.notes if "cannot be read" in note)
    for name in ("truncated.jpg", "zero_byte.png", "text_renamed.jpg", "corrupt_crc.png", "bomb_30000x30000.png"):
        assert name in note
    assert note.startswith("5 images of 31 ")
    for images in (splits.train, splits.held_out):
        for index in range(len(images)):
            assert images.read(index, draw=0)[0].mode == "RGB"


def test_a_header_check_finds_what_the_header_shows_and_says_so(
    with_bad_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (with_bad_files / "cat" / "000.png").read_bytes()
    (with_bad_files / "cat" / "cut.png").write_bytes(whole[: whole.index(b"IDAT") + 6])
    monkeypatch.setattr(folders, "MOST_DECODED", 20)
    by_header = " ".join(open_folder(with_bad_files).notes)
    assert "Only the headers of the 28 images were checked" in by_header
    assert "12 images of 28" in by_header
    assert "13 images of 28" in " ".join(open_folder(with_bad_files, check="decode").notes)
    assert "28 images were not checked" in " ".join(open_folder(with_bad_files, check="none").notes)


@pytest.mark.skipif(os.name != "posix", reason="names are text on this system")
def test_messages_about_names_that_are_no_valid_text_can_be_printed(tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"caf\xe9")
    for number, name in enumerate((b"\xe9", b"\xea")):
        make_pictures(root / os.fsdecode(name), 3, first=10 * number)
    bad = root / os.fsdecode(b"\xe9") / os.fsdecode(b"bad\xff.png")
    bad.touch()
    splits = open_folder(root)
    assert splits.classes == ("\\udce9", "\\udcea")
    for message in (
        *splits.notes,
        refusal(root, unreadable="stop"),
        refusal(root / "none"),
        refusal(root, num_per_class=5),
        refusal(bad),
        refusal(bad.parent),
        refusal(root, check="none", num_per_class=50),
    ):
        message.encode("utf-8")
    for name in ("TRAIN", "Val"):
        shutil.copytree(root / os.fsdecode(b"\xea"), root / name / os.fsdecode(b"one\xff"))
        shutil.copytree(root / os.fsdecode(b"\xea"), root / name / os.fsdecode(b"two\xff"))
    shutil.copytree(root / os.fsdecode(b"\xea"), root / "TRAIN" / os.fsdecode(b"three\xff"))
    assert "lacks 1 class" in refusal(root).encode("utf-8").decode()


def test_train_subsets_are_balanced_nested_and_leave_the_held_out_pictures_alone(two_classes: Path) -> None:
    whole = open_folder(two_classes)
    before: set[str] = set()
    for count in (1, 2, 3, 4):
        splits = open_folder(two_classes, num_per_class=count)
        assert np.bincount(splits.train.labels).tolist() == [count, count]
        assert before < set(files(splits.train)) <= set(files(whole.train))
        assert files(splits.held_out) == files(whole.held_out)
        before = set(files(splits.train))
    assert np.bincount(open_folder(two_classes, fraction=0.5).train.labels).tolist() == [4, 2]
    assert set(files(open_folder(two_classes, num_per_class=1, seed=1).train)) != before
    assert "subset of 2 of 12 images" in " ".join(open_folder(two_classes, num_per_class=1).notes)


def test_a_subset_of_more_than_there_is_is_refused_with_the_numbers(two_classes: Path) -> None:
    assert "num_per_class is 5, but class 'dog' has only 4" in refusal(two_classes, num_per_class=5)


@pytest.mark.parametrize(
    "fields",
    [
        {"num_per_class": 0},
        {"fraction": 0.0},
        {"fraction": 1.5},
        {"fraction": 0.5, "num_per_class": 3},
        {"val_fraction": 0.0},
        {"val_fraction": 1.0},
        {"check": "x"},
        {"unreadable": "raise"},
        {"labels": "some"},
        {"kind": "cifar10"},
    ],
)
def test_impossible_settings_are_refused_at_once(fields: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(fields))):
        FolderData(**fields)


def test_grey_models_get_grey_pictures_and_grey_statistics(two_classes: Path) -> None:
    splits = open_data(FolderData(root=str(two_classes)), 0, in_channels=1)
    assert splits.train.read(0, draw=0)[0].mode == "L"
    assert splits.mean == (pytest.approx(0.459, abs=1e-3),)
    with pytest.raises(UserError, match="it has 3 channels, and the model takes 2"):
        open_data(FolderData(root=str(two_classes)), 0, in_channels=2)


def test_a_pile_without_sub_folders_is_read_whole(tmp_path: Path) -> None:
    make_pictures(tmp_path, 6)
    make_pictures(tmp_path / "holidays" / "sea", 4, first=20)
    (tmp_path / "holidays" / "notes.txt").write_text("no picture")
    for labels in ("none", "auto"):
        splits = open_folder(tmp_path, labels=labels)
        assert splits.classes == ("unlabelled",)
        assert (len(splits.train), len(splits.held_out)) == (8, 2)
        assert len({*files(splits.train), *files(splits.held_out)}) == 10
        assert "no labels" in " ".join(splits.notes)
        assert ".txt" in " ".join(splits.notes)
    assert "10 images but" not in refusal(tmp_path)


def test_labels_are_taken_from_class_folders_where_there_are_such(two_classes: Path) -> None:
    assert open_folder(two_classes, labels="auto").classes == open_folder(two_classes).classes
    assert open_folder(two_classes, labels="none").classes == ("unlabelled",)
    assert len(open_folder(two_classes, labels="none").train) == len(open_folder(two_classes).train)
    make_pictures(two_classes, 1, first=50)
    assert open_folder(two_classes, labels="auto").classes == ("unlabelled",)


def test_a_pile_that_is_held_out_apart_stays_apart(tmp_path: Path) -> None:
    make_pictures(tmp_path / "train" / "a", 3)
    make_pictures(tmp_path / "train" / "b", 3)
    make_pictures(tmp_path / "val" / "c", 2)
    splits = open_folder(tmp_path, labels="auto")
    assert (len(splits.train), len(splits.held_out), splits.classes) == (6, 2, ("unlabelled",))


def test_piles_that_cannot_be_learned_from_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no image" in refusal(tmp_path / "empty", labels="none")
    make_pictures(tmp_path / "one", 1)
    assert f"{tmp_path / 'one'} has only one readable image" in refusal(tmp_path / "one", labels="auto")


def test_opening_reports_its_progress_and_prints_nothing_itself(
    two_classes: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[str, int, int]] = []
    open_data(FolderData(root=str(two_classes)), 0, progress=lambda *state: seen.append(state))
    assert seen[0] == ("listing images", 0, 0)
    assert seen[-1] == ("checking images", 15, 15)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_the_photographs_of_the_shared_data_open(shared_data: Path) -> None:
    splits = open_folder(shared_data / "photos10", check="header", num_per_class=10)
    assert (len(splits.train), len(splits.held_out), len(splits.classes)) == (100, 300, 10)
    assert splits.train.read(0, draw=0)[0].size == (224, 224)
