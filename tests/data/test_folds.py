"""Folds hold out every sample once, keep groups together and classes even, and say when that cannot be."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from hvit.data.folds import groups_of, make_folds
from hvit.data.open import ClipData, FolderData, open_data
from hvit.errors import UserError

CLASSES = ("a", "b", "c")


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_groups_stay_together_and_classes_are_even(folds: int) -> None:
    random = np.random.default_rng(folds)
    groups = [f"patient {number}" for number in random.integers(0, 40, 600)]
    labels = random.choice(3, 600, p=(0.6, 0.3, 0.1))
    found = make_folds(labels, groups, folds, 0, CLASSES)
    for group in set(groups):
        assert len(set(found[[one == group for one in groups]])) == 1
    for label in range(3):
        counts = np.bincount(found[labels == label], minlength=folds)
        assert counts.max() - counts.min() < 0.35 * counts.mean(), counts
    order = random.permutation(600)
    again = make_folds(labels[order], [groups[index] for index in order], folds, 0, CLASSES)
    assert (again == found[order]).all(), "whatever the order of the samples"
    assert (make_folds(labels, groups, folds, 1, CLASSES) != found).any(), "another seed, other folds"


def test_without_groups_every_class_is_divided_to_within_one_sample() -> None:
    labels = np.repeat([0, 1, 2], [50, 23, 7])
    found = make_folds(labels, [str(number) for number in range(80)], 5, 0, CLASSES)
    for label in range(3):
        counts = np.bincount(found[labels == label], minlength=5)
        assert counts.max() - counts.min() <= 1


def test_what_cannot_be_divided_is_refused() -> None:
    labels = np.array([0, 0, 1, 1])
    with pytest.raises(UserError, match="3 folds need 3 groups or more; there are 2: x; y"):
        make_folds(labels, ["x", "y", "x", "y"], 3, 0, ("a", "b"))
    with pytest.raises(UserError, match=r"all samples of class b are of one group \(y\)"):
        make_folds(labels, ["x", "z", "y", "y"], 2, 0, ("a", "b"))


def test_groups_are_found_by_an_expression_or_in_a_file(tmp_path: Path) -> None:
    names = ["train/jack/jack_s1.mp4", "val/jack/jack_s1_m.mp4", "train/bend/bend_s1.mp4"]
    assert groups_of(r"([a-z0-9]+_s\d+)[^/]*$", names) == ["jack_s1", "jack_s1", "bend_s1"]
    assert groups_of(r"s\d+", names) == ["s1", "s1", "s1"]
    assert groups_of("", names) == names
    file = tmp_path / "groups.csv"
    file.write_text("".join(f'"{name}",{number // 2}\n' for number, name in enumerate(names)))
    assert groups_of(str(file), names) == ["0", "0", "1"]
    with pytest.raises(UserError, match=r"has no group for 1 of 1 samples: new.mp4"):
        groups_of(str(file), ["new.mp4"])
    with pytest.raises(UserError, match=r"group 'patient' matches nothing in 3 of 3 names: train/jack"):
        groups_of("patient", names)
    with pytest.raises(UserError, match="is neither a file nor a regular expression"):
        groups_of("(", names)
    for text, words in (("a,b,c\n", "line 1 of .* has 3 columns"), ("a,1\na,2\n", "names a sample twice: a")):
        file.write_text(text)
        with pytest.raises(UserError, match=words):
            groups_of(str(file), ["a"])


def test_every_image_is_held_out_once_those_of_a_val_folder_too_and_a_test_folder_never(
    photo_folder: Path, tmp_path: Path
) -> None:
    for part in ("train", "val", "test"):
        shutil.copytree(photo_folder, tmp_path / part)
    seen: list[str] = []
    for fold in (1, 2, 3):
        splits = open_data(FolderData(root=str(tmp_path), folds=3, fold=fold), 0)
        held_out = [splits.held_out.name(index) for index in range(len(splits.held_out))]
        train = [splits.train.name(index) for index in range(len(splits.train))]
        assert sorted(held_out + train) == sorted(
            f"{part}/{name}/{number}.png"
            for part in ("train", "val")
            for name in ("red", "blue")
            for number in range(6)
        )
        assert splits.test is not None
        assert len(splits.test) == 12
        assert "3 folds of 8 to 8 samples." in splits.notes
        seen += held_out
    assert len(seen) == len(set(seen)) == 24


def test_clips_are_divided_with_their_groups(clip_folder: Path) -> None:
    held_out = []
    for fold in (1, 2):
        data = ClipData(root=str(clip_folder), cache="none", folds=2, fold=fold, group=r"(\w+/[01]|\w+/[23])")
        splits = open_data(data, 0, num_frames=4)
        held_out.append({splits.held_out.name(index) for index in range(len(splits.held_out))})
        assert len(splits.train) == len(splits.held_out) == 4
    assert not held_out[0] & held_out[1]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"folds": 1}, "folds must be 2 or more"),
        ({"folds": 3, "fold": 4}, r"fold must be from 1 to folds \(3\)"),
        ({"fold": 1}, "fold 1 is one of several in cross-validation: give --data.folds as well"),
        ({"group": "x"}, "give --data.folds as well"),
    ],
)
def test_impossible_fields_are_refused(fields: dict[str, object], words: str) -> None:
    for kind in (FolderData, ClipData):
        with pytest.raises(UserError, match=words):
            kind(root="x", **fields)  # pyright: ignore[reportArgumentType]
