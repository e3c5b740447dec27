"""Copies of remote files: fetched whole, checked, tried again, shared, and removed when there is no room."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hvit.data.shards import copies as module
from hvit.data.shards.copies import Copies, UnreachableError, hash_of, is_remote, local_path, remote_place, shown_place
from hvit.errors import UserError

pytest.importorskip("fsspec")


class Server(SimpleHTTPRequestHandler):
    """A folder over HTTP that can fail. failures: answers with an error that come first."""

    failures: list[int] = []  # noqa: RUF012  (shared by all requests)
    requests: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.requests.append(self.path)
        if self.failures:
            self.send_error(self.failures.pop(0))
            return
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the URL under which a web server of this process serves it."""
    pytest.importorskip("aiohttp")
    folder = tmp_path / "served"
    folder.mkdir()
    Server.failures.clear()
    Server.requests.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between two tries, which take no time."""
    found: list[float] = []
    monkeypatch.setattr(module.time, "sleep", found.append)
    return found


def copies_in(tmp_path: Path, most: int = 10**6) -> Copies:
    return Copies(str(tmp_path / "copies"), most)


def test_a_file_is_fetched_once_and_left_as_it_is(served: tuple[Path, str], tmp_path: Path) -> None:
    folder, url = served
    (folder / "a.tar").write_bytes(b"content" * 1000)
    copies = copies_in(tmp_path)
    first, second = copies.path(f"{url}/a.tar"), copies.path(f"{url}/a.tar")
    assert first == second
    assert first.read_bytes() == b"content" * 1000
    assert Server.requests.count("/a.tar") == 1
    assert sorted(one.suffix for one in first.parent.iterdir()) in (([".copy"]), [".copy", ".lock"])


def test_a_local_file_is_its_own_copy(tmp_path: Path) -> None:
    assert copies_in(tmp_path).path("file:///data/a.tar") == Path("/data/a.tar")
    assert not is_remote("file:///data/a.tar")
    assert is_remote("s3://bucket/a.tar")
    assert local_path("a.tar") == Path("a.tar")


def test_a_server_that_fails_is_asked_again(served: tuple[Path, str], tmp_path: Path, pauses: list[float]) -> None:
    folder, url = served
    (folder / "a.tar").write_bytes(b"content")
    Server.failures[:] = [500, 503]
    assert copies_in(tmp_path).path(f"{url}/a.tar").read_bytes() == b"content"
    assert pauses == [1.0, 2.0]


def test_a_server_that_always_fails_is_one_sentence(
    served: tuple[Path, str], tmp_path: Path, pauses: list[float]
) -> None:
    _, url = served
    Server.failures[:] = [500] * 10
    with pytest.raises(
        UnreachableError, match=r"cannot read http://127.*/a.tar: the server answers 500 \(tried 4 times\)"
    ):
        copies_in(tmp_path).path(f"{url}/a.tar")
    assert len(pauses) == 3
    assert list((tmp_path / "copies").glob("*.fetching")) == []


def test_what_is_not_there_is_not_asked_for_again(
    served: tuple[Path, str], tmp_path: Path, pauses: list[float]
) -> None:
    with pytest.raises(UnreachableError, match=r"there is no such file$"):
        copies_in(tmp_path).path(f"{served[1]}/a.tar")
    assert pauses == []


def test_nobody_answers(tmp_path: Path, pauses: list[float]) -> None:
    pytest.importorskip("aiohttp")
    with pytest.raises(UnreachableError, match=r"cannot read http://127.0.0.1:9/a.tar: .*\(tried 4 times\)"):
        copies_in(tmp_path).path("http://127.0.0.1:9/a.tar")


@pytest.mark.parametrize(
    ("size", "digest", "sentence"), [(6, "", "7 bytes, and its index says 6"), (7, "00", "SHA-256")]
)
def test_a_file_that_is_not_what_its_index_says_is_refused(
    served: tuple[Path, str], tmp_path: Path, size: int, digest: str, sentence: str
) -> None:
    folder, url = served
    (folder / "a.tar").write_bytes(b"content")
    with pytest.raises(UnreachableError, match=sentence):
        copies_in(tmp_path).path(f"{url}/a.tar", size, digest)
    assert list((tmp_path / "copies").glob("*.copy")) == []
    assert copies_in(tmp_path).path(f"{url}/a.tar", 7, hash_of(folder / "a.tar")).exists()


def test_the_copies_used_longest_ago_make_room(served: tuple[Path, str], tmp_path: Path) -> None:
    folder, url = served
    copies = copies_in(tmp_path, most=2500)
    for number, name in enumerate("abc"):
        (folder / name).write_bytes(name.encode() * 1000)
        path = copies.path(f"{url}/{name}", 1000)
        os.utime(path, (number, number))
    assert sorted(path.read_bytes()[:1] for path in (tmp_path / "copies").glob("*.copy")) == [b"b", b"c"]


def test_a_file_larger_than_all_room_is_refused(served: tuple[Path, str], tmp_path: Path) -> None:
    folder, url = served
    (folder / "a").write_bytes(b"a" * 1000)
    for size in (0, 1000):
        with pytest.raises(UnreachableError, match=r"a cannot be copied: it has .*--data.shard-cache-size"):
            copies_in(tmp_path, most=500).path(f"{url}/a", size)
    assert list((tmp_path / "copies").glob("*.copy")) == []


def test_a_full_disk_is_one_sentence(
    served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no full disk to write to")
    folder, url = served
    (folder / "a").write_bytes(b"a" * 100_000)
    monkeypatch.setattr(module.Copies, "_copy", lambda self, *rest: self._folder() / "x.copy")
    (tmp_path / "copies").mkdir()
    (tmp_path / "copies" / "x.fetching").symlink_to("/dev/full")
    with pytest.raises(UnreachableError, match="a cannot be copied: the system says: No space left on device"):
        copies_in(tmp_path).path(f"{url}/a")
    assert pauses == []


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "copies").write_text("a file")
    with pytest.raises(UnreachableError, match=r"cannot be made.*--data.shard-cache"):
        copies_in(tmp_path).path("http://127.0.0.1:9/a.tar")


def test_the_usual_folder_is_of_this_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path))
    note = Copies().note("x")
    assert note.parent.parent == tmp_path
    assert note.parent.stat().st_mode & 0o077 == 0
    note.parent.rmdir()
    note.parent.symlink_to(tmp_path)
    with pytest.raises(UnreachableError, match="belongs to somebody else"):
        Copies().note("x")


def test_work_ahead_is_done_once_and_its_failure_is_silent(tmp_path: Path) -> None:
    copies, done = copies_in(tmp_path), []
    gate = threading.Event()

    def work() -> None:
        gate.wait(10)
        done.append(1)
        raise OSError("nobody hears this")

    for _ in range(3):
        copies.ahead("a", work)
    gate.set()
    for _ in range(1000):
        if done:
            break
        time.sleep(0.01)
    assert done == [1]


def test_a_sentence_holds_no_password_and_no_signature() -> None:
    assert shown_place("https://me:secret@host/a.tar?sig=secret#x") == "https://host/a.tar"


def test_an_unknown_kind_of_url_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match=r"nosuch://bucket/a.tar cannot be opened: .*nosuch"):
        copies_in(tmp_path).path("nosuch://bucket/a.tar")


def test_any_file_system_of_fsspec_is_read(tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe_file("/bucket/a.tar", b"content")
    try:
        assert copies_in(tmp_path).path("memory://bucket/a.tar").read_bytes() == b"content"
    finally:
        memory.rm("/bucket", recursive=True)


def test_a_url_survives_as_a_path(tmp_path: Path) -> None:
    for url in ("https://host/a/b.tar", "s3://bucket/shards", "http://127.0.0.1:8/{0..3}.tar"):
        assert remote_place(Path(url)) == url
    for path in (tmp_path, Path("a:b/c.tar"), Path("C:/a.tar"), Path("a/https:/b")):
        assert remote_place(path) is None


def test_a_data_set_is_trained_on_over_http(served: tuple[Path, str], tmp_path: Path, pauses: list[float]) -> None:
    pytest.importorskip("webdataset")
    from hvit.data.images.folders import FolderData
    from hvit.data.open import open_data
    from hvit.data.shards.source import open_source
    from hvit.data.shards.write import Job, write_shards
    from hvit.data.tables.settings import LabelOptions
    from tests.data.shards.made import number_of, picture

    folder, url = served
    for number in range(12):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    write_shards(open_source(str(tmp_path / "photos"), "", LabelOptions(table="-"), "auto"), folder / "out", Job(20480))
    names = sorted(path.name for path in (folder / "out").glob("*.tar"))
    Server.failures[:] = [503]
    for shards in (f"{url}/out", f"{url}/out/{{{','.join(names)}}}"):
        splits = open_data(FolderData(shards=shards, shard_cache=str(tmp_path / "copies")), 0)
        found = [
            number_of(images.read(index, 0)[0])  # pyright: ignore
            for images in (splits.train, splits.held_out)
            for index in range(len(images))
        ]
        assert sorted(found) == list(range(12))
        assert splits.classes == ("a", "b")
    assert all(Server.requests.count(f"/out/{name}") == 1 for name in names)
    for path in (tmp_path / "copies").glob("*.copy"):
        path.unlink()
    Server.failures[:] = [500] * 20
    with pytest.raises(UserError, match=r"\.tar: the server answers 500 \(tried 4 times\)"):
        splits.train.read(0, 0)
