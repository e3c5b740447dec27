"""Fixtures for all tests."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.pop("COLUMNS", None)  # what pytest-xdist says its processes have; a test that needs a width sets it
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is loaded, as the command line does

import numpy as np
import pytest
import torch
from PIL import Image

from hvit.cli.main import main
from hvit.machine import import_silent
from hvit.snapshots import explanations
from tests.hub_server import HubServer, hub_on_this_machine
from tests.processes import Command, places, wait_until

# A shell that starts the tests in the background lets them ignore these signals, and their subprocesses, too.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
import_silent("hvit")  # before any test imports OpenVINO, which would report it to its makers
# Of the processes that share the tests each has one core; alone there are two threads.
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)

_BROWSER_FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"


@pytest.fixture(scope="session", autouse=True)
def _few_pictures() -> Iterator[None]:
    """Runs draw one explanation each, not six: drawing them takes most of the time of a run of two steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explanations, "SAMPLES_DRAWN", 1)
        patch.setattr(explanations, "MOSAICS_DRAWN", 1)
        yield


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A real headless browser."""
    automation = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip("there is no Chromium on this machine")
    with automation.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=_BROWSER_FLAGS.split())
        yield chromium
        chromium.close()


@pytest.fixture
def hub_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub on this machine, and a client that asks no other."""
    with hub_on_this_machine(tmp_path / "hub_cache", monkeypatch) as server:
        yield server


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The optional folder of real photos and CIFAR-10 next to the checkout; tests that need it skip without it."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the optional folder ../shared/data is not here")
    return folder


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The folder of small files that are part of the repository."""
    return Path(__file__).resolve().parent / "data"


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two classes of four clips each, as arrays of twelve frames: brighter and darker ones."""
    root = tmp_path_factory.mktemp("clips")
    random = np.random.default_rng(0)
    for light, name in ((30, "dark"), (150, "light")):
        (root / name).mkdir()
        for number in range(4):
            np.save(root / name / f"{number}.npy", random.integers(light, light + 80, (12, 40, 52, 3), dtype=np.uint8))
    return root


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two classes of six pictures each, red ones and blue ones."""
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for channel, name in ((0, "red"), (2, "blue")):
        (root / name).mkdir()
        for number in range(6):
            pixels = random.integers(0, 80, (40, 48, 3), dtype=np.uint8)
            pixels[..., channel] += 120
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


@pytest.fixture
def hvit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Runs a verb in this process, in an empty folder; returns (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        try:
            main([str(argument) for argument in arguments])
            status = 0
        except SystemExit as stop:
            status = int(stop.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """Starts `hvit ARGUMENTS` in a process of its own, which ends with the test at the latest."""
    started: list[Command] = []

    def work(*arguments: str | Path, **environment: str) -> Command:
        started.append(Command(tmp_path, *arguments, **environment))
        return started[-1]

    yield work
    for command in started:
        command.end()


@pytest.fixture
def train_and_kill(start: Callable[..., Command]) -> Callable[..., None]:
    """Trains in a process of its own and kills it, with its data workers, when it has left its first checkpoint."""

    def work(folder: Path, *arguments: str) -> None:
        command = start("train", *arguments, "--out", folder)
        wait_until(lambda: list(folder.glob("checkpoints/step_*.checkpoint")) or not command.process.is_alive())
        command.send(signal.SIGKILL)
        assert command.wait() != 0, command.errors.read_text()
        assert not (folder / "report.html").exists()

    return work


@pytest.fixture
def train_in_two_processes(start: Callable[..., Command]) -> Callable[..., str]:
    """Trains in two processes; returns what they print on stdout."""

    def work(folder: Path, *arguments: str) -> str:
        both = [start("train", *arguments, "--out", folder, **place) for place in places(2)]
        for one in both:
            assert one.wait() == 0, one.errors.read_text()[-2000:]
        return "".join(one.out.read_text() for one in both)

    return work


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch computes with one thread, as the processes do that are compared with this one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in this process leave neither pictures nor reports, at which the test does not look."""
    monkeypatch.setattr("hvit.verbs.train._finish", lambda *_: None)
    monkeypatch.setattr("hvit.verbs.train.draw_training_images", lambda *_: None)
