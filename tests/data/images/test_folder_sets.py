"""Images of a folder are read one at a time; what fails is replaced in training and named in testing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hvit.data.images.folder_sets import FolderSet
from hvit.errors import UserError
from tests.data.images.made import open_folder


def test_a_file_that_fails_during_training_is_replaced_by_the_next_readable_one(
    two_classes: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train = open_folder(two_classes).train
    assert isinstance(train, FolderSet)
    last = len(train) - 1
    for index in (last, 0):
        train.file(index).write_bytes(b"")  # as if the disk had failed after the check
    for _ in range(2):
        image, target = train.read(last, draw=7)
        assert (image.tobytes(), target) == (train.read(1, draw=0)[0].tobytes(), 0)
    lines = capfd.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["warning", "warning"]
    assert train.file(last).name in lines[0]


def test_a_held_out_picture_that_fails_is_an_error_that_names_it(two_classes: Path) -> None:
    held_out = open_folder(two_classes).held_out
    assert isinstance(held_out, FolderSet)
    held_out.file(1).write_bytes(b"")
    assert held_out.read(0, draw=0)[1] == 0
    with pytest.raises(UserError, match=r"cannot read .*: the file is empty\. It is a held-out image") as caught:
        held_out.read(1, draw=1)
    assert str(held_out.file(1)) in str(caught.value)


def test_a_folder_that_vanishes_during_training_is_an_error(two_classes: Path) -> None:
    train = open_folder(two_classes).train
    shutil.rmtree(two_classes)
    with pytest.raises(UserError, match="can be read any more"):
        train.read(0, draw=0)
