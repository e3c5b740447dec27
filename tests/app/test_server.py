"""Claims about the app's server: who may ask what, how much, and that every failure is one sentence."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from hvit.app.server import address_of, is_loopback, listen, make_app
from hvit.app.state import Images, Limits
from hvit.errors import UserError
from tests.app.conftest import photo

ROOT = Path(__file__).resolve().parents[2]


def client_of(images: Images, host: str = "127.0.0.1:8765") -> TestClient:
    return TestClient(make_app(images, ["lab.example"]), base_url=f"http://{host}")


@pytest.fixture
def client(make_images: Callable[..., Images]) -> TestClient:
    return client_of(make_images())


def test_an_image_goes_in_and_classes_hidden_blocks_and_an_explanation_come_out(client: TestClient) -> None:
    said = client.post("/images", content=photo(), headers={"x-file-name": "my%20cat.png"}).json()
    assert said["name"] == "my cat.png"
    assert sum(said["answers"]) == pytest.approx(1, abs=1e-4)
    where = f"/images/{said['id']}"
    assert client.get(f"{where}/blocks").json()["side"] == 4
    hidden = client.post(f"{where}/hidden", content=json.dumps({"cells": [[0, 0], [3, 3]]})).json()
    assert hidden["answers"] != said["answers"]
    card = client.get(f"{where}/classes/3")
    assert card.headers["content-type"] == "text/html; charset=utf-8"
    assert 'role="treeitem"' in card.text


def test_every_answer_forbids_what_comes_from_elsewhere(client: TestClient) -> None:
    for address in ("/", "/page.js", "/app.css", "/nothing", "/images/x/blocks"):
        headers = client.get(address).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "http" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


def test_the_page_is_made_of_the_explanation_pages_own_files_and_names_no_place(client: TestClient) -> None:
    folder = ROOT / "src/hvit/explain/page"
    for name in ("page.css", "page.js"):
        assert client.get(f"/{name}").text == (folder / name).read_text(encoding="utf-8")
    page = client.get("/").text
    assert "//" not in page
    assert str(Path.home()) not in page
    assert "&lt;b&gt;bold" in page
    assert "<b>bold" not in page


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8765", 200), ("localhost", 200), ("[::1]:80", 200), ("192.168.3.4:1", 200), ("lab.example:9", 200),
        ("evil.example", 421), ("127.0.0.1.evil.example", 421), ("localhost.evil.example:8765", 421), ("", 421),
        ("[", 421), ("evil.example@localhost:x", 200),
    ],
)  # fmt: skip
def test_names_of_others_that_lead_here_are_refused(client: TestClient, host: str, status: int) -> None:
    answer = client.get("/", headers={"host": host})
    assert answer.status_code == status
    if status == 421:
        assert "use the address it printed" in answer.json()["problem"]


def test_pages_of_others_may_send_nothing(client: TestClient) -> None:
    for origin, status in (("http://127.0.0.1:8765", 200), ("http://evil.example", 403), ("null", 403)):
        assert client.post("/images", content=photo(), headers={"origin": origin}).status_code == status


def test_a_file_that_is_too_large_is_refused_before_it_is_read(make_images: Callable[..., Images]) -> None:
    client = client_of(make_images(Limits(most_bytes=1000)))

    def parts() -> Iterator[bytes]:
        for _ in range(11):
            yield b"x" * 100

    for content in (b"x" * 1001, parts()):
        answer = client.post("/images", content=content)
        assert answer.status_code == 413
        assert answer.json() == {"problem": "an image file may have 1\N{NO-BREAK SPACE}kB at most"}


@pytest.mark.parametrize(
    ("method", "address", "content", "status", "says"),
    [
        ("POST", "/images", b"no image", 400, "cannot read image: it is not a JPEG"),
        ("GET", "/images/nobody/blocks", b"", 404, "no longer kept"),
        ("GET", "/images/nobody/classes/1", b"", 404, "no longer kept"),
        ("GET", "/images/{id}/classes/12", b"", 400, "class index 12 is out of range"),
        ("POST", "/images/{id}/hidden", b"[", 400, "blocks are given as"),
        ("POST", "/images/{id}/hidden", b'{"cells": [[1, "2"]]}', 400, "blocks are given as"),
        ("POST", "/images/{id}/hidden", b'{"cells": [[true, 1]]}', 400, "blocks are given as"),
        ("POST", "/images/{id}/hidden", b'{"cells": 7}', 400, "blocks are given as"),
        ("POST", "/images/{id}/hidden", b'{"cells": [[9, 1]]}', 400, "rows and columns 0 to 3"),
        ("POST", "/images/{id}/hidden", b"[" * 60_000, 400, "blocks are given as"),
        ("POST", "/images/{id}/hidden", b" " * 70_000, 413, "at most"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_sentence(
    client: TestClient, method: str, address: str, content: bytes, status: int, says: str
) -> None:
    identity = client.post("/images", content=photo()).json()["id"]
    answer = client.request(method, address.format(id=identity), content=content)
    assert (answer.status_code, says in answer.json()["problem"]) == (status, True)


def test_a_failure_of_the_machine_is_a_sentence_and_a_line_in_the_terminal(
    make_images: Callable[..., Images], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images = make_images()

    def fail(*_: Any) -> None:
        raise RuntimeError("out of memory\nat /some/place")

    monkeypatch.setattr(images, "add", fail)
    answer = client_of(images).post("/images", content=photo())
    assert answer.status_code == 500
    assert "out of memory" not in answer.text
    assert capsys.readouterr().err == "hvit app: RuntimeError: out of memory\n"


def test_a_port_that_is_taken_is_a_sentence_and_a_free_one_is_found() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert address_of(taken) == f"http://127.0.0.1:{port}/"
        assert is_loopback(taken)
        with pytest.raises(UserError, match=f"cannot listen on 127.0.0.1 at port {port}: .*choose another --port"):
            listen("127.0.0.1", port)
    with pytest.raises(UserError, match="is no address of this machine"):
        listen("no such host", 0)
    with listen("0.0.0.0", 0) as everywhere:
        assert not is_loopback(everywhere)
        assert address_of(everywhere).startswith("http://127.0.0.1:")


SERVER = """
import sys
from hvit.app.server import listen, serve
from hvit.cli.main import VERBS, main

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})

def verb(rest):
    listening = listen("127.0.0.1", 0)
    print(listening.getsockname()[1], flush=True)
    serve(app, listening, float(rest[0]))

VERBS["serve"] = verb
main(["serve", sys.argv[1]])
"""


@pytest.mark.long
def test_a_connection_that_asks_nothing_is_closed_and_an_interrupt_ends_with_a_sentence() -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", SERVER, "0.05"]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=environment) as process:
        assert process.stdout
        port = int(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), 60) as asking:
            asking.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")  # and never ends
            assert asking.recv(100) == b""
        with socket.create_connection(("127.0.0.1", port), 60) as asking:
            asking.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert asking.recv(100).startswith(b"HTTP/1.1 200")
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "hvit: interrupted\n")
