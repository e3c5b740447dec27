"""A server on this machine that speaks the part of the hub's HTTP interface by which models are published and read.

Repositories, branches and commits are kept in memory. The real client of `huggingface_hub` talks to it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import huggingface_hub
import pytest
from huggingface_hub import constants

TOKEN = "hf_for_tests_only"
_LARGE = ".safetensors"
Files = dict[str, bytes]


@dataclass
class Repository:
    """A model: its branches lead to commits, and each commit has all its files."""

    private: bool = False
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Files] = field(default_factory=dict)

    def commit(self, branch: str, files: Files) -> str:
        text = json.dumps([len(self.commits), branch, sorted(files)])
        name = hashlib.sha1(text.encode()).hexdigest()
        self.commits[name] = files
        self.branches[branch] = name
        return name

    def files_at(self, revision: str) -> tuple[str, Files] | None:
        commit = self.branches.get(revision, revision)
        return (commit, self.commits[commit]) if commit in self.commits else None


class HubServer(ThreadingHTTPServer):
    """asked: method and path of every request. uploads: contents of large files by their SHA-256."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.repositories: dict[str, Repository] = {}
        self.uploads: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.refuses: dict[str, int] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def add(self, name: str, files: Files, private: bool = False) -> str:
        """Makes a repository with files; returns its commit."""
        self.repositories[name] = Repository(private)
        return self.repositories[name].commit("main", files)

    def newest(self, name: str, branch: str = "main") -> Files:
        repository = self.repositories[name]
        return repository.commits[repository.branches[branch]]


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path, body = unquote(self.path.split("?")[0]), self._body()
        self.server.asked.append(f"{self.command} {path}")
        for part, status in self.server.refuses.items():
            if part in path:
                self._json({"error": "refused by a test"}, status)
                return
        parts = path.strip("/").split("/")
        if self.command in ("POST", "PUT") and not path.startswith("/store/") and not self._is_logged_in():
            self._json({"error": "Invalid username or password."}, 401)
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif path == "/api/validate-yaml":
            bad = b"license: not-a-licence" in body
            self._json({"errors": [{"message": '"license" must be one of the list'}] * bad}, 400 if bad else 200)
        elif path.startswith("/store/"):
            assert hashlib.sha256(body).hexdigest() == parts[1]
            self.server.uploads[parts[1]] = body
            self._json({}, 200)
        elif path.endswith(".git/info/lfs/objects/batch"):
            objects = [self._place(one) for one in json.loads(body)["objects"]]
            self._json({"transfer": "basic", "objects": objects}, 200)
        elif parts[:2] == ["api", "models"]:
            self._models("/".join(parts[2:4]), parts[4:], body)
        elif len(parts) > 4 and parts[2] == "resolve":
            self._resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self._json({"error": "no such address"}, 404)

    def _is_logged_in(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _found(self, name: str) -> Repository | None:
        repository = self.server.repositories.get(name)
        if repository is None or (repository.private and not self._is_logged_in()):
            self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            return None
        return repository

    def _create(self, asked: dict) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        if asked["organization"] != "anna":
            self._json({"error": "You don't have the rights to create a model under this namespace"}, 403)
        elif name in self.server.repositories:
            self._json({"error": "You already created this model repo"}, 409)
        else:
            self.server.add(name, {".gitattributes": b"*.safetensors filter=lfs"}, asked.get("visibility") == "private")
            self._json({"url": f"{self.server.address}/{name}"}, 200)

    def _place(self, one: dict) -> dict:
        """Where a large file is put; nowhere, if it is there already."""
        href = f"{self.server.address}/store/{one['oid']}"
        return one if one["oid"] in self.server.uploads else {**one, "actions": {"upload": {"href": href}}}

    def _models(self, name: str, rest: list[str], body: bytes) -> None:
        repository = self._found(name)
        if repository is None:
            return
        if self.command == "POST" and rest[0] == "branch":
            repository.branches.setdefault("/".join(rest[1:]), repository.branches["main"])
            self._json({}, 200)
            return
        found = repository.files_at("/".join(rest[1:]) if rest else "main")
        if found is None:
            self._json({"error": "Invalid rev id"}, 404, {"X-Error-Code": "RevisionNotFound"})
            return
        commit, files = found
        if self.command == "GET":
            siblings = [{"rfilename": one} for one in files]
            self._json(
                {"_id": "1", "id": name, "sha": commit, "private": repository.private, "siblings": siblings}, 200
            )
        elif rest[0] == "preupload":
            asked = json.loads(body)["files"]
            answers = [
                {"path": one["path"], "uploadMode": "lfs" if one["path"].endswith(_LARGE) else "regular",
                 "shouldIgnore": False}
                for one in asked
            ]  # fmt: skip
            self._json({"files": answers}, 200)
        else:
            self._commit(name, "/".join(rest[1:]), dict(files), body)

    def _commit(self, name: str, branch: str, files: Files, body: bytes) -> None:
        repository = self.server.repositories[name]
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header" and value.get("parentCommit") not in (None, repository.branches[branch]):
                self._json({"error": "A commit has happened since. Please refresh and try again."}, 412)
                return
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.uploads[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        commit = repository.commit(branch, files)
        self._json({"commitUrl": f"{self.server.address}/{name}/commit/{commit}", "commitOid": commit}, 200)

    def _resolve(self, name: str, revision: str, file: str) -> None:
        repository = self._found(name)
        if repository is None:
            return
        found = repository.files_at(revision)
        if found is None:
            self._json({"error": "Invalid rev id"}, 404, {"X-Error-Code": "RevisionNotFound"})
        elif file not in found[1]:
            self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        else:
            content = found[1][file]
            tag = hashlib.sha256(content).hexdigest() if file.endswith(_LARGE) else hashlib.sha1(content).hexdigest()
            self._send(200, {"X-Repo-Commit": found[0], "ETag": f'"{tag}"'}, content)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _json(self, value: object, status: int, headers: dict[str, str] | None = None) -> None:
        self._send(status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(value).encode())

    def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def hub_on_this_machine(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub that the client of this process asks, logged in, with an empty cache and without the Xet protocol."""
    server = HubServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    for name, value in {
        "ENDPOINT": server.address,
        "HUGGINGFACE_CO_URL_TEMPLATE": server.address + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_PROGRESS_BARS": True,
        "HF_HUB_DISABLE_XET": True,
        "HF_TOKEN_PATH": str(cache / "no token"),
        "HF_STORED_TOKENS_PATH": str(cache / "no tokens"),
    }.items():
        monkeypatch.setattr(constants, name, value)
    huggingface_hub.close_session()
    try:
        yield server
    finally:
        huggingface_hub.close_session()
        server.shutdown()
        thread.join()
        server.server_close()
