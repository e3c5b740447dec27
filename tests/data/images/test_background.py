"""Files of large sets that were not checked before training are looked at while it goes on, and change nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hvit.data.images import background, folders
from hvit.data.images.background import checked_later, looked_at_meanwhile
from hvit.data.images.folders import FolderData, open_folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve images of two classes, of which two are broken and a third will be gone."""
    for number in range(12):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), 20 * number, np.uint8)).save(path)
    for name in ("a/04.png", "b/07.png"):
        (tmp_path / "photos" / name).write_bytes(b"no image")
    return tmp_path / "photos"


def test_other_files_than_those_of_the_check_before_are_looked_at() -> None:
    assert checked_later(range(10)) == [1, 3, 5, 7, 9]
    assert checked_later(range(1)) == []
    assert checked_later(range(40_000))[:3] == [2, 6, 10]


def test_those_that_cannot_be_read_are_named_in_one_sentence(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(folders, "LOOKED_AT", 1)
    splits = open_folder(FolderData(root=str(photos), check="sample"), 0, 3)
    assert "Those of 6 others are looked at while training goes on." in splits.notes[-1]
    files = [photos / "a/04.png", photos / "a/06.png", photos / "a/gone.png", photos / "b/07.png"]
    before = splits.train.read(0, 0)[0].tobytes()  # pyright: ignore
    with looked_at_meanwhile(files) as thread:
        thread.join()
        assert splits.train.read(0, 0)[0].tobytes() == before  # pyright: ignore
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "3 images of 4 that were looked at while training goes on cannot be read: " in said
    assert all(name in said for name in ("04.png", "gone.png", "07.png"))
    assert set(splits.later) <= set(photos.rglob("*.png"))


def test_nothing_is_said_of_readable_files_and_the_end_of_training_ends_it(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    with looked_at_meanwhile([photos / "a/00.png"] * 3, said.append) as thread:
        thread.join()
    with looked_at_meanwhile([], said.append) as thread:
        assert not thread.is_alive()
    monkeypatch.setattr(background, "_PAUSE", 60.0)
    with looked_at_meanwhile([photos / "a/04.png"] * 1000, said.append):
        pass
    assert len(said) == 1
    assert "1 image of 1 that were looked at" in said[0]


def test_sets_that_are_checked_whole_are_not_looked_at_again(photos: Path) -> None:
    assert open_folder(FolderData(root=str(photos)), 0, 3).later == ()
    assert open_folder(FolderData(root=str(photos), check="none"), 0, 3).later == ()
