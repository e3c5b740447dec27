"""Files are whole or not there, whoever writes them at the same time, and nothing but a file is ever read as one."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from hvit import files
from hvit.errors import UserError
from hvit.files import read_object, read_whole, remove_unfinished, replacing, write_text


def test_two_threads_can_write_one_file_at_the_same_time(tmp_path: Path) -> None:
    path, both = tmp_path / "scores.json", threading.Barrier(2)

    def write(letter: str) -> None:
        with replacing(path) as file:
            file.write(letter.encode() * 1000)
            both.wait(timeout=30)
            file.write(letter.encode() * 1000)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in ("a" * 2000, "b" * 2000)
    assert list(tmp_path.iterdir()) == [path]


def test_an_unfinished_file_has_a_name_that_nobody_can_foresee_and_follows_no_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = set()
    for _ in range(2):
        with replacing(tmp_path / "a.json") as file:
            names |= {path.name for path in tmp_path.iterdir() if path.name != "a.json"}
            file.write(b"x")
    assert len(names) == 2
    monkeypatch.setattr(files.secrets, "token_hex", lambda count: "known")
    outside = tmp_path / "outside"
    outside.write_text("precious")
    (tmp_path / f".known{files.UNFINISHED}").symlink_to(outside)
    with pytest.raises(UserError, match="cannot be written"), replacing(tmp_path / "a.json") as file:
        file.write(b"y")
    assert outside.read_text() == "precious"
    assert (tmp_path / "a.json").read_bytes() == b"x"


def test_a_name_as_long_as_names_can_be_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 250 + ".json")
    write_text(path, "{}")
    assert path.read_text() == "{}"


@pytest.mark.parametrize("kind", ["a folder", "a pipe", "a device or a socket"])
def test_what_is_no_file_is_not_replaced_by_one(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.json"
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    else:
        path = Path("/dev/null")
    with pytest.raises(UserError, match=f"cannot be written: it is {kind}"):
        write_text(path, "{}")
    assert not path.is_file()


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_leaves_the_older_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "a.json"
    write_text(path, "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def write() -> None:
        with replacing(path) as file:
            file.write(b"new")
            if call == "write":
                full()

    if call == "fsync":
        monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_limit_on_the_size_of_files_is_one_sentence(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    write_text(tmp_path / "a.json", "old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(UserError, match=r"a\.json cannot be written: File too large"):
            write_text(tmp_path / "a.json", "x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_the_folder_is_flushed_after_the_file_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[bool] = []
    usual = os.fsync

    def watch(descriptor: int) -> None:
        flushed.append((tmp_path / "a.json").exists())
        usual(descriptor)

    monkeypatch.setattr(files.os, "fsync", watch)
    write_text(tmp_path / "a.json", "{}")
    assert flushed == [False, True]


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    outside, run = tmp_path / "outside", tmp_path / "run"
    for folder in (outside, run / "pictures"):
        folder.mkdir(parents=True)
        (folder / ".0123456789abcdef.unfinished").touch()
    (run / ".weights.safetensors.123.unfinished").touch()  # as earlier versions named them
    (run / "plan.json").touch()
    (run / "link").symlink_to(outside)
    remove_unfinished(run)
    assert sorted(path.name for path in run.rglob("*")) == ["link", "pictures", "plan.json"]
    assert len(list(outside.iterdir())) == 1


@pytest.mark.parametrize("kind", ["folder", "pipe", "dangling link", "device", "too long", "missing"])
def test_what_is_no_file_of_the_right_size_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "plan.json"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "dangling link":
        path.symlink_to(tmp_path / "nowhere")
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "too long":
        path.write_bytes(b"x" * 101)
    with pytest.raises(UserError, match=r"plan\.json (is damaged|cannot be read)"):
        read_whole(path, 100)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"7", b"{", b'{"a": "\xff"}', b"[" * 100_000, b'{"a": ' * 50_000, b"9" * 5000]
)
def test_what_is_no_json_object_is_damaged(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        read_object(path)
