"""Class folders are found where people put them, under names as their systems spell them."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hvit.data import regular_files
from hvit.data.images.folder_sets import FolderSet
from hvit.data.images.reading import read_image
from hvit.data.layout import split_name
from hvit.data.open import ClipData, FolderData, list_images, open_data
from hvit.data.sets import Splits
from hvit.errors import UserError


def make_images(folder: Path, count: int = 3) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        level = (7 * number + sum(map(ord, folder.name))) % 256
        Image.new("L", (6, 5), level).save(folder / f"{number}.png")


def make_clips(folder: Path, count: int = 3) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        np.save(folder / f"{number}.npy", np.full((6, 8, 8), number, np.uint8))


def opened(kind: str, root: Path, **fields: Any) -> Splits:
    if kind == "clips":
        return open_data(ClipData(root=str(root), cache="none", **fields), 0, 3, 4)
    return open_data(FolderData(root=str(root), **fields), 0)


def refusal(root: Path, **fields: Any) -> str:
    with pytest.raises(UserError) as caught:
        opened("images", root, **fields)
    message = str(caught.value)
    assert message.isprintable()
    return message


MAKE = {"images": make_images, "clips": make_clips}


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("wrapper", ["images", "a/b", "photos (1)"])
@pytest.mark.parametrize("labels", ["folders", "auto"])
def test_a_folder_that_only_holds_the_class_folders_is_looked_through(
    tmp_path: Path, kind: str, wrapper: str, labels: str
) -> None:
    for name in ("cat", "dog"):
        MAKE[kind](tmp_path / wrapper / name, 4)
    (tmp_path / "readme.txt").write_text("some words")
    (tmp_path / "__MACOSX" / "images").mkdir(parents=True)
    splits = opened(kind, tmp_path, labels=labels)
    assert splits.classes == ("cat", "dog")
    assert (len(splits.train), len(splits.held_out)) == (6, 2)
    assert f"The classes are the folders in {tmp_path / wrapper}." in splits.notes


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize(
    ("train", "held_out"),
    [("train", "val"), ("Train", "VALID"), ("data/TRAIN", "data/Test"), ("a/b/train", "a/b/validation"),
     ("train/images", "val/images")],
)  # fmt: skip
def test_train_and_held_out_folders_are_found_in_any_case_and_depth(
    tmp_path: Path, kind: str, train: str, held_out: str
) -> None:
    for name in ("cat", "dog"):
        MAKE[kind](tmp_path / train / name, 3)
        MAKE[kind](tmp_path / held_out / name, 2)
    splits = opened(kind, tmp_path)
    assert (splits.classes, len(splits.train), len(splits.held_out)) == (("cat", "dog"), 6, 4)


def test_an_unlabelled_folder_is_not_looked_through(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        make_images(tmp_path / "images" / name, 4)
    splits = opened("images", tmp_path, labels="none")
    assert splits.classes == ("unlabelled",)
    assert isinstance(splits.train, FolderSet)
    assert next(splits.train.stored())[0].startswith("images/")


def test_what_is_no_wrapper_is_refused_as_before(tmp_path: Path) -> None:
    make_images(tmp_path / "one" / "cat")
    assert "only one class folder (cat)" in refusal(tmp_path / "one")
    make_images(tmp_path / "deep" / "a" / "b" / "c" / "cat")
    make_images(tmp_path / "deep" / "a" / "b" / "c" / "dog")
    assert "only one class folder" in refusal(tmp_path / "deep")
    for name in ("train", "Train", "val"):
        make_images(tmp_path / "two" / name / "cat")
    assert "has two train folders" in refusal(tmp_path / "two")


NAME = "café"
COMPOSED, APART = unicodedata.normalize("NFC", NAME), unicodedata.normalize("NFD", NAME)


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize(("train", "held_out"), [(COMPOSED, APART), (APART, COMPOSED)])
def test_names_spelt_in_two_ways_are_one_class_on_both_sides(
    tmp_path: Path, kind: str, train: str, held_out: str
) -> None:
    """By their bytes the two spellings lie on different sides of "cafz" in the alphabet."""
    for side, spelt in (("train", train), ("val", held_out)):
        for number, name in enumerate((spelt, "cafz", "zebra"), 1):
            MAKE[kind](tmp_path / side / name, number)
    splits = opened(kind, tmp_path)
    assert set(splits.classes) == {train, "cafz", "zebra"}
    for images in (splits.train, splits.held_out):
        counts = dict(zip(splits.classes, np.bincount(images.labels).tolist(), strict=True))
        assert counts == {train: 1, "cafz": 2, "zebra": 3}


@pytest.mark.parametrize("kind", MAKE)
def test_names_spelt_in_two_ways_in_one_folder_are_one_class_and_it_is_said(tmp_path: Path, kind: str) -> None:
    for number, name in enumerate((COMPOSED, APART, "tea"), 2):
        MAKE[kind](tmp_path / name, number)
    splits = opened(kind, tmp_path)
    assert len(splits.classes) == 2
    assert len(splits.train) + len(splits.held_out) == 9
    assert "the same text spelt in two ways" in " ".join(splits.notes)


def test_the_split_of_a_run_hangs_on_names_as_the_first_runs_wrote_them(tmp_path: Path) -> None:
    assert split_name(tmp_path / "a" / "b\n\u202e.png", tmp_path) == "a/b\\n\u202e.png"
    assert split_name(tmp_path / os.fsdecode(b"\xff.png"), tmp_path) == "\\udcff.png"


@pytest.mark.parametrize("kind", MAKE)
def test_strongly_imbalanced_classes_are_counted_in_the_plan(tmp_path: Path, kind: str) -> None:
    for name, count in (("few", 3), ("some", 8), ("many", 20)):
        MAKE[kind](tmp_path / name, count)
    (note,) = [note for note in opened(kind, tmp_path).notes if "strongly imbalanced" in note]
    assert f"the smallest have few 2 training {kind}, the largest many 16" in note
    MAKE[kind](tmp_path / "few", 6)
    assert "strongly imbalanced" not in " ".join(opened(kind, tmp_path).notes)


@pytest.mark.parametrize("kind", MAKE)
def test_the_only_sample_of_a_class_is_trained_on(tmp_path: Path, kind: str) -> None:
    for name, count in (("few", 1), ("many", 4)):
        MAKE[kind](tmp_path / name, count)
    splits = opened(kind, tmp_path)
    assert splits.train.labels.tolist().count(0) == 1
    assert splits.held_out.labels.tolist() == [1]
    assert f"1 class has only one {kind[:-1]}, which is trained on and not held out: few." in splits.notes


LONG = "x" * 200 + "/"


@pytest.mark.parametrize("path", [LONG * 50, "x" * 10_000, "x" * 300, "nul\0byte"])
def test_paths_that_no_system_opens_are_refused_in_a_sentence(tmp_path: Path, path: str) -> None:
    for root in (path, str(tmp_path / path)):
        for config, frames in ((FolderData(root=root), None), (ClipData(root=root), 4), (ClipData(train_list=root), 4)):
            with pytest.raises(UserError, match=r"cannot read|does not exist"):
                open_data(config, 0, 3, frames)
        for call in (lambda root=root: read_image(root), lambda root=root: list_images([root])):
            with pytest.raises(UserError, match="cannot read"):
                call()


def test_folders_that_may_not_be_entered_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root enters every folder, so the system's answer is played."""
    for name in ("cat", "dog"):
        make_images(tmp_path / name, 4)
    usual = os.scandir

    def closed(path: Any) -> Any:
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied")
        return usual(path)

    monkeypatch.setattr(regular_files.os, "scandir", closed)
    assert "dog: this user has no permission to read it" in refusal(tmp_path)
    monkeypatch.undo()
    usual_stat = Path.stat

    def hidden(self: Path, **options: Any) -> Any:
        if self.name == "inside":
            raise PermissionError(13, "Permission denied")
        return usual_stat(self, **options)

    monkeypatch.setattr(Path, "stat", hidden)
    assert "inside: this user has no permission to read it" in refusal(tmp_path / "inside")


def test_files_that_may_not_be_read_are_left_out_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cat", "dog"):
        make_images(tmp_path / name, 4)
    usual = os.open

    def closed(path: Any, *rest: Any, **more: Any) -> int:
        if str(path).endswith("dog/2.png"):
            raise PermissionError(13, "Permission denied")
        return usual(path, *rest, **more)

    monkeypatch.setattr(regular_files.os, "open", closed)
    note = next(note for note in opened("images", tmp_path).notes if "cannot be read" in note)
    assert note.startswith("1 image of 8 cannot be read")
    assert "dog/2.png: this user has no permission to read it" in note


def test_pipes_devices_and_links_to_nowhere_are_left_out_and_named(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        make_images(tmp_path / name, 4)
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    (tmp_path / "cat" / "device.png").symlink_to("/dev/zero")
    (tmp_path / "cat" / "nowhere.png").symlink_to(tmp_path / "none")
    (tmp_path / "cat" / "circle.png").symlink_to(tmp_path / "cat" / "circle.png")
    for check in ("decode", "header"):
        note = next(note for note in opened("images", tmp_path, check=check).notes if "cannot be read" in note)
        assert note.startswith("4 images of 12 cannot be read")
        assert "pipe.png: it is not a regular file" in note
        assert "device.png: it is not a regular file" in note
        assert "nowhere.png: there is no such file" in note
        assert "circle.png: it is a link that leads in a circle" in note
    train = opened("images", tmp_path, check="none").train
    assert all(train.read(index, 0)[0].size == (6, 5) for index in range(len(train)))


def test_names_with_line_breaks_and_without_encoding_are_shown_in_one_line(tmp_path: Path) -> None:
    for name in (b"two\nlines", b"caf\xe9", b"\xe2\x80\xaeright to left"):
        make_images(tmp_path / os.fsdecode(name), 4)
        (tmp_path / os.fsdecode(name) / "bad\n\x1b[31m.png").touch()
    splits = opened("images", tmp_path)
    assert all(text.isprintable() for text in (*splits.classes, *splits.notes))
    assert len(splits.classes) == 3


@pytest.mark.parametrize("kind", MAKE)
def test_a_test_folder_next_to_a_validation_folder_is_a_third_part(tmp_path: Path, kind: str) -> None:
    for part, count in (("train", 4), ("val", 2), ("test", 3)):
        for name in ("dog", "cat"):
            MAKE[kind](tmp_path / part / name, count)
    splits = opened(kind, tmp_path)
    assert splits.test is not None
    assert (len(splits.train), len(splits.held_out), len(splits.test)) == (8, 4, 6)
    assert splits.reported is splits.test
    assert splits.test.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert not any("not used" in note.lower() for note in splits.notes)


@pytest.mark.parametrize("kind", MAKE)
def test_a_test_folder_that_does_not_fit_is_named_and_not_used(tmp_path: Path, kind: str) -> None:
    for part in ("train", "val"):
        for name in ("dog", "cat"):
            MAKE[kind](tmp_path / part / name)
    MAKE[kind](tmp_path / "test")  # without class folders, as competitions have it
    splits = opened(kind, tmp_path)
    assert splits.test is None
    assert splits.reported is splits.held_out
    assert f"{tmp_path / 'test'} is not used: its class folders are not those of {tmp_path / 'train'}." in splits.notes
    unlabelled = opened(kind, tmp_path, labels="none")
    assert unlabelled.test is None
    assert any("test is not used: its labels would not be." in note for note in unlabelled.notes)


@pytest.mark.parametrize("kind", MAKE)
def test_a_test_folder_alone_is_held_out(tmp_path: Path, kind: str) -> None:
    for part in ("train", "test"):
        for name in ("dog", "cat"):
            MAKE[kind](tmp_path / part / name)
    splits = opened(kind, tmp_path)
    assert splits.test is None
    assert len(splits.held_out) == 6
