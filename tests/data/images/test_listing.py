"""Images are found in the folders and files that were named."""

from __future__ import annotations

from pathlib import Path

import pytest

from hvit.data.images.listing import list_images
from hvit.errors import UserError


def test_folders_are_listed_in_order_without_hidden_files_and_twice_named_ones(tmp_path: Path) -> None:
    for name in ("b/2.PNG", "a.jpg", "b/1.png", ".hidden.png", "b/notes.txt", ".cache/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "circle").symlink_to(tmp_path)
    (tmp_path / "b" / "self").symlink_to(tmp_path / "b" / "self")
    listed = list_images([tmp_path, tmp_path / "a.jpg", tmp_path / "b" / "notes.txt"])
    assert [path.relative_to(tmp_path).as_posix() for path in listed] == ["a.jpg", "b/1.png", "b/2.PNG", "b/notes.txt"]


def test_missing_paths_and_folders_without_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.png: there is no such file"):
        list_images([tmp_path / "none.png"])
    with pytest.raises(UserError, match="holds no image"):
        list_images([tmp_path])
