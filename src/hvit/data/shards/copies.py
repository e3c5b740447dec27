"""Local copies of remote files: fetched whole, checked, shared by all processes of a machine, and removed again."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from filelock import FileLock

from hvit.data.images.listing import show
from hvit.data.regular_files import open_regular, system_reason
from hvit.errors import UserError
from hvit.files import as_path

T = TypeVar("T")
TRIES = 4
"""How often a remote file is asked for before a run stops."""
_FIRST_PAUSE = 1.0  # seconds before the second try; twice as long before each further one
_CONNECT, _SILENCE = 30.0, 120.0  # seconds until a server answers, and between two pieces of an answer
_FETCHERS = 2  # threads that fetch ahead
_CHUNK = 1 << 20
_URL = re.compile(r"^([a-z][a-z0-9+.-]+):/+(?=[^/])")
_GONE = "fetching"  # ending of a file that is not whole yet


class UnreachableError(UserError):
    """A file of shards cannot be read at all, which no other sample makes up for."""


def is_remote(place: str) -> bool:
    """Whether a place is a URL of another machine."""
    return "://" in place and not place.startswith("file://")


def remote_place(path: Path) -> str | None:
    """The URL that a path was made of, in which paths keep one of two slashes; None for a path on this machine."""
    text = str(path)
    return _URL.sub(r"\1://", text) if _URL.match(text) else None


def local_path(place: str) -> Path:
    """The path of a place that is not remote."""
    return as_path(place.removeprefix("file://"))


def shown_place(place: str) -> str:
    """A place in a sentence: without the password of a URL, and without its query, which may hold a signature."""
    if not is_remote(place):
        return show(place)
    try:
        parts = urlsplit(place)
        return show(urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")))
    except ValueError:
        return show(place.partition("?")[0])


def filesystem(place: str) -> tuple[Any, str]:
    """The file system of fsspec for a URL, and the path in it. Raises UserError where fsspec or its part is missing."""
    try:
        import fsspec
    except ImportError as error:
        raise UnreachableError(f"{shown_place(place)} needs fsspec: pip install 'hvit[shards]'") from error
    options: dict[str, Any] = {}
    try:
        if _is_web(place):
            from aiohttp import ClientTimeout

            options["client_kwargs"] = {"timeout": ClientTimeout(sock_connect=_CONNECT, sock_read=_SILENCE)}
        return fsspec.url_to_fs(place, **options)
    except (ImportError, ValueError) as error:
        need = " ".join(str(error).split())[:200]
        raise UnreachableError(f"{shown_place(place)} cannot be opened: {need}") from error


@dataclass
class Copies:
    """Where copies of remote files lie. It can be sent to other processes, which then share the copies.

    folder: "" for a folder of this user among the temporary files. most: bytes of all copies.
    """

    folder: str = ""
    most: int = 32 * 10**9
    _ahead: dict[int, _Ahead] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ahead": {}}

    def path(self, place: str, size: int = 0, digest: str = "", fetch: Callable[[Path], None] | None = None) -> Path:
        """The path of a file, which is fetched first where it is remote and there is no copy yet.

        size, digest: what is known of the file: its bytes, its SHA-256. fetch: writes the file, instead of a download.
        Raises UnreachableError where it cannot be fetched or is not what it should be.
        """
        if fetch is None and not is_remote(place):
            return local_path(place)
        copy = self._copy(place, size, digest)
        if self._is_there(copy):
            return copy
        with _one_sentence(place), FileLock(f"{copy}.lock"):
            if not self._is_there(copy):
                self._make_room(copy, size)
                unfinished = copy.with_suffix(f".{_GONE}")
                try:
                    (fetch or (lambda path: download(place, path, self.most)))(unfinished)
                    _check(unfinished, place, size, digest)
                    unfinished.replace(copy)
                finally:
                    unfinished.unlink(missing_ok=True)
                self._make_room(copy, 0)
        return copy

    def ahead(self, key: str, work: Callable[[], object]) -> None:
        """Lets a thread do some work, such as fetching a file that is needed soon; once for a key, until it is done.

        What goes wrong there is not told: it goes wrong again for the one who needs the file.
        """
        pid = os.getpid()
        if pid not in self._ahead:  # threads do not survive in a forked process
            self._ahead = {pid: _Ahead()}
        self._ahead[pid].add(key, work)

    def note(self, of: str) -> Path:
        """The path of a small file that is kept among the copies. of: what it is about."""
        return self._folder() / f"{hashlib.sha256(of.encode('utf-8', 'surrogateescape')).hexdigest()[:40]}.json"

    @contextmanager
    def once(self, place: str) -> Iterator[Path]:
        """A copy of a remote file for as long as the block lasts. Raises UnreachableError as `path`."""
        copy = self._folder() / f"{secrets.token_hex(16)}.{_GONE}"
        try:
            download(place, copy, self.most)
            yield copy
        finally:
            copy.unlink(missing_ok=True)

    def _folder(self) -> Path:
        folder = as_path(self.folder) if self.folder else _own_folder()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UnreachableError(
                f"the folder {show(folder)} for copies of shards cannot be made: {system_reason(error)}; name another "
                "one (--data.shard-cache DIR)"
            ) from error
        return folder

    def _copy(self, place: str, size: int, digest: str) -> Path:
        named = hashlib.sha256(f"{place}\0{size}\0{digest}".encode("utf-8", "surrogateescape")).hexdigest()
        return self._folder() / f"{named[:40]}.copy"

    def _is_there(self, copy: Path) -> bool:
        try:
            if time.time() - copy.stat().st_mtime > 60:
                os.utime(copy)  # the ones that were used longest ago go first
        except OSError:
            return False
        return True

    def _make_room(self, kept: Path, size: int) -> None:
        """Removes copies, the ones used longest ago first, until this one has room. Open ones can be read on."""
        if size > self.most:
            raise UserError(
                f"it has {size:,} bytes, and copies may have {self.most:,} in all: allow more (--data.shard-cache-size)"
            )
        found = []
        for copy in kept.parent.glob("*.copy"):
            with suppress(OSError):
                state = copy.stat()
                found.append((state.st_mtime, state.st_size, copy))
        total = sum(each for _, each, _ in found) + size
        for _, each, copy in sorted(found):
            if total <= self.most:
                return
            if copy != kept:
                with suppress(OSError):  # another process was faster, or the system lets nobody remove an open file
                    copy.unlink()
                    total -= each


class _Ahead:
    """Threads that work on what is needed soon."""

    def __init__(self) -> None:
        self.queue: SimpleQueue[tuple[str, Callable[[], object]]] = SimpleQueue()
        self.keys: set[str] = set()
        for _ in range(_FETCHERS):
            threading.Thread(target=self._work, daemon=True).start()

    def add(self, key: str, work: Callable[[], object]) -> None:
        if key not in self.keys:
            self.keys.add(key)
            self.queue.put((key, work))

    def _work(self) -> None:
        while True:
            key, work = self.queue.get()
            with suppress(Exception):
                work()
            self.keys.discard(key)


def download(place: str, path: Path, most: int) -> None:
    """Fetches a remote file, with some tries. most: bytes it may have. Raises UnreachableError where that fails."""

    def fetch() -> None:
        system, inside = filesystem(place)
        with system.open(inside, "rb", **_streaming(place)) as source:
            total = 0
            with _writing(path) as target:
                while chunk := source.read(_CHUNK):
                    total += len(chunk)
                    if total > most:
                        raise UserError(
                            f"it has more than the {most:,} bytes that copies may have: allow more "
                            "(--data.shard-cache-size)"
                        )
                    target(chunk)

    with _one_sentence(place):
        retried(place, fetch)


def retried(place: str, ask: Callable[[], T]) -> T:
    """The answer of a file system of fsspec, which is asked several times. Raises UnreachableError in the end."""
    for number in range(1, TRIES + 1):
        try:
            return ask()
        except (UserError, _LocalError):
            raise
        except Exception as error:  # every file system raises errors of its own
            if isinstance(error, FileNotFoundError | PermissionError) or number == TRIES:
                tried = "" if number == 1 else f" (tried {number} times)"
                raise UnreachableError(f"cannot read {shown_place(place)}: {_reason(error)}{tried}") from error
            time.sleep(_FIRST_PAUSE * 2 ** (number - 1))
    raise AssertionError


class _LocalError(Exception):
    """The copy cannot be written, which another try does not change."""


@contextmanager
def _writing(path: Path) -> Iterator[Callable[[bytes], object]]:
    """Writes a new file; what goes wrong with it is told apart from what goes wrong with its source."""
    try:
        file = path.open("wb")
    except OSError as error:
        raise _LocalError(system_reason(error)) from error

    def write(chunk: bytes) -> None:
        try:
            file.write(chunk)
        except OSError as error:
            raise _LocalError(system_reason(error)) from error

    with file:
        yield write
        try:
            file.flush()
        except OSError as error:
            raise _LocalError(system_reason(error)) from error


def _streaming(place: str) -> dict[str, Any]:
    """Of a web server the file comes as one stream, without a question before; it may know no other way."""
    return {"block_size": 0, "size": 1} if _is_web(place) else {}


def is_there(place: str) -> bool:
    """Whether a remote file exists. Raises UnreachableError where nobody answers."""
    system, inside = filesystem(place)
    options = {"strict": True} if _is_web(place) else {}
    return retried(place, lambda: bool(system.exists(inside, **options)))


def _is_web(place: str) -> bool:
    return place.startswith(("http://", "https://"))


def _reason(error: Exception) -> str:
    status = getattr(error, "status", None)
    if isinstance(error, FileNotFoundError) or status == 404:
        return "there is no such file"
    if isinstance(error, PermissionError) or status in (401, 403):
        return "this user has no permission to read it"
    if status is not None:
        return f"the server answers {status}"
    if isinstance(error, TimeoutError):
        return "the server does not answer in time"
    text = " ".join(str(error).split())[:200].partition("?")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _check(path: Path, place: str, size: int, digest: str) -> None:
    """Raises UnreachableError where a copy is not what its index says."""
    have = path.stat().st_size
    if size and have != size:
        raise UnreachableError(f"{shown_place(place)} has {have:,} bytes, and its index says {size:,}: {_CHANGED}")
    if digest and hash_of(path) != digest:
        raise UnreachableError(f"{shown_place(place)} has another SHA-256 than its index says: {_CHANGED}")


_CHANGED = "it has changed since, or was damaged on its way; write it again, or remove the index"


def hash_of(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal digits."""
    total = hashlib.sha256()
    with open_regular(path) as file:
        while chunk := file.read(_CHUNK):
            total.update(chunk)
    return total.hexdigest()


def _own_folder() -> Path:
    """A folder of this user alone among the temporary files."""
    user = getattr(os, "getuid", lambda: 0)()
    folder = Path(tempfile.gettempdir()) / f"hvit-shards-{user}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    state = folder.lstat()
    if not stat.S_ISDIR(state.st_mode) or (hasattr(os, "getuid") and state.st_uid != user):
        raise UnreachableError(
            f"{show(folder)} belongs to somebody else: name a folder for copies of shards (--data.shard-cache DIR)"
        )
    return folder


@contextmanager
def _one_sentence(place: str) -> Iterator[None]:
    """Whatever keeps a file from being copied becomes one sentence that names it."""
    try:
        yield
    except UnreachableError:
        raise
    except _LocalError as error:
        raise UnreachableError(f"{shown_place(place)} cannot be copied: {error}") from error
    except (UserError, OSError) as error:
        reason = system_reason(error) if isinstance(error, OSError) else str(error)
        raise UnreachableError(f"{shown_place(place)} cannot be copied: {reason}") from error
