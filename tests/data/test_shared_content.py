"""Held-out files with the content of a training file are named."""

from __future__ import annotations

from pathlib import Path

from hvit.data.shared_content import shared_content_notes


def test_same_content_is_named_whatever_the_names_are(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a", "b", "c", "d")]
    for file, content in zip(files, (b"one", b"two", b"one", b"longer"), strict=True):
        file.write_bytes(content)
    (note,) = shared_content_notes(files[:2], files[2:])
    assert note.startswith("1 held-out image has the same content as training images")
    assert note.endswith(f"{tmp_path.name}/c is {tmp_path.parent.name}/{tmp_path.name}/a.")
    assert shared_content_notes(files[:2], files[3:]) == ()


def test_folders_and_missing_files_are_passed_over(tmp_path: Path) -> None:
    assert shared_content_notes([tmp_path, tmp_path / "gone"], [tmp_path, tmp_path / "gone"]) == ()
