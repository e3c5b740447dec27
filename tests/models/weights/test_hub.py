"""Downloads of published weights, by the real client of the hub from a local server that speaks its HTTP interface."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from hvit.errors import UserError
from hvit.models.create import create_model
from hvit.models.probe import ProbeConfig
from hvit.models.weights import timm as timm_weights
from hvit.models.weights.timm import Pin, download_timm, to_timm
from hvit.recipes import get_recipe
from hvit.runs.starting import choose_start

REPOSITORY, COMMIT = "timm/nest_small_jx.goog_in1k", "a" * 40
NEWEST = "b" * 40


class Hub(ThreadingHTTPServer):
    """The hub's answers for one file of one repository, at two commits: its address at a commit leads to its content.

    named: the hash that the hub gives for the content. asked: the method and path of every request.
    """

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.content = content
        self.named = hashlib.sha256(content).hexdigest()
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def store(self) -> str:
        """Where the content is: for the client another host than the hub."""
        return f"http://localhost:{self.server_port}/content"


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_HEAD(self) -> None:
        self._answer(with_content=False)

    def do_GET(self) -> None:
        self._answer(with_content=True)

    def _answer(self, with_content: bool) -> None:
        hub = self.server
        hub.asked.append(f"{self.command} {self.path}")
        commits = {"main": NEWEST, COMMIT: COMMIT, NEWEST: NEWEST}
        places = {f"/{REPOSITORY}/resolve/{name}/model.safetensors": commit for name, commit in commits.items()}
        if self.path in places:
            headers = {
                "X-Repo-Commit": places[self.path], "X-Linked-ETag": f'"{hub.named}"',
                "X-Linked-Size": str(len(hub.content)), "Location": hub.store,
            }  # fmt: skip
            self._send(302, headers, b"", with_content)
        elif self.path == "/content":
            self._send(200, {"ETag": f'"{hub.named}"'}, hub.content, with_content)
        else:
            self._send(404, {"X-Error-Code": "EntryNotFound"}, b"not found", with_content)

    def _send(self, status: int, headers: dict[str, str], content: bytes, with_content: bool) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_content:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_file(dict(to_timm(create_model("nest_micro_32"))), path)
    return path.read_bytes()


@pytest.fixture
def hub(weights: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub on this machine, which the client of this process asks, with an empty cache."""
    server = Hub(weights)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    huggingface_hub.close_session()
    yield server
    huggingface_hub.close_session()
    server.shutdown()
    thread.join()
    server.server_close()


def pin(monkeypatch: pytest.MonkeyPatch, sha256: str | None) -> None:
    monkeypatch.setitem(timm_weights.PINNED, "nest_small_jx.goog_in1k", Pin(COMMIT, sha256))


def test_the_pinned_commit_is_downloaded_checked_and_kept(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    pin(monkeypatch, hub.named)
    path = download_timm("nest_small_224")
    assert Path(path).read_bytes() == hub.content
    assert all(f"/resolve/{COMMIT}/" in one for one in hub.asked if "/resolve/" in one)
    assert any(one.startswith("GET") for one in hub.asked)
    # From now on nothing is asked, and no server needs to be there.
    hub.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert download_timm("nest_small_224") == path
    assert hub.asked == []


def test_without_a_pin_one_commit_is_asked_for_and_its_named_hash_is_checked(hub: Hub) -> None:
    path = Path(download_timm("nest_small_224"))
    assert NEWEST in path.parts
    hub.asked.clear()
    assert download_timm("nest_small_224") == str(path)
    assert not any("/resolve/" in one for one in hub.asked), "it is in the cache"
    blob = path.resolve()
    blob.chmod(0o644)
    blob.write_bytes(hub.content + b"changed")
    with pytest.raises(UserError, match=r"is not the file that timm/nest_small_jx\.goog_in1k has: its SHA-256 is"):
        download_timm("nest_small_224")


def test_another_hash_than_the_pinned_one_is_refused_before_the_download(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin(monkeypatch, "0" * 64)
    with pytest.raises(UserError, match=f"names .*{hub.named}.* should be {'0' * 64}; nothing was downloaded"):
        download_timm("nest_small_224")
    assert not any(one.startswith("GET") for one in hub.asked)


def test_content_that_is_not_what_the_hub_names_is_refused(hub: Hub) -> None:
    hub.named = "1" * 64
    with pytest.raises(UserError, match=f"should be {'1' * 64}; delete it, and it is downloaded anew"):
        download_timm("nest_small_224")


def test_offline_and_missing_files_are_refused_in_one_sentence(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"nest_base_224 cannot be downloaded .* give its path as weights") as error:
        download_timm("nest_base_224")
    assert "\n" not in str(error.value)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.asked.clear()
    with pytest.raises(UserError, match="cannot be downloaded"):
        download_timm("nest_small_224")
    assert hub.asked == []


def test_photos_start_from_what_the_hub_offers(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(timm_weights.DOWNLOADS, "nest_tiny_224", "nest_small_jx.goog_in1k")  # the file that is there
    probe = get_recipe("photos").model
    assert isinstance(probe, ProbeConfig)
    found = choose_start(probe, "auto")
    assert found is not None
    assert (found.weights, found.reason) == (
        "timm", "published weights, downloaded; licence of the weights: apache-2.0"
    )  # fmt: skip
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    found = choose_start(probe, "auto")
    assert found is not None
    assert found.reason.startswith("published weights, in the hub's cache; ")


def test_the_variable_of_the_hub_names_another_server(hub: Hub, tmp_path: Path) -> None:
    program = "from hvit.models.weights.timm import download_timm; print(download_timm('nest_small_224'))"
    environment = os.environ | {
        "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "NO_PROXY": "127.0.0.1,localhost",
        "HF_HUB_OFFLINE": "0",
    }  # fmt: skip
    environment.pop("HF_HUB_CACHE", None)
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    path = Path(done.stdout.strip())
    assert path.is_relative_to(tmp_path / "home")
    assert path.read_bytes() == hub.content
