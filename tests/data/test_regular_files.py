"""Only regular files with content are opened; anything else is said at once, and nothing is waited for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hvit.data.regular_files import NotRegularError, entries_of, is_folder, open_regular, state_of, system_reason
from hvit.errors import UserError


def test_a_file_is_opened_and_what_is_none_is_named_without_waiting(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    with open_regular(tmp_path / "file") as file:
        assert file.read() == b"content"
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    for path, words in (
        (tmp_path, "a folder"),
        (tmp_path / "empty", "empty"),
        (tmp_path / "pipe", "not a regular file"),
        (Path("/dev/null"), "not a regular file"),
        (tmp_path / "a\0b", "name is none of a file"),
    ):
        with pytest.raises(NotRegularError, match=words) as caught:
            open_regular(path)
        assert system_reason(caught.value) == str(caught.value)
    with pytest.raises(FileNotFoundError) as missing:
        open_regular(tmp_path / "nothing")
    assert system_reason(missing.value) == "there is no such file"


def test_nothing_there_is_no_folder_and_a_circle_of_links_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert state_of(tmp_path / "a") is None
    assert not is_folder(tmp_path / "nothing")
    assert is_folder(tmp_path)
    with pytest.raises(UserError, match="File name too long"):
        is_folder(tmp_path / ("x" * 10_000))
    with pytest.raises(OSError) as caught:
        open_regular(tmp_path / "a")
    assert system_reason(caught.value) == "it is a link that leads in a circle"


def test_entries_come_in_alphabetical_order_and_what_cannot_be_listed_is_refused(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        (tmp_path / name).touch()
    assert [entry.name for entry in entries_of(tmp_path)] == ["a", "b", "c"]
    with pytest.raises(UserError, match="cannot list"):
        entries_of(tmp_path / "nothing")
