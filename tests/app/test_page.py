"""Claims about the app's page, in a real browser: images, classes, hidden blocks, explanations, and safe names."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import uvicorn

import hvit
from hvit.app.server import address_of, listen, make_app
from hvit.app.state import Images, Limits
from hvit.tasks.confidence import Confidence
from tests.app.conftest import photo


@dataclass
class Shown:
    """The page in a browser, and what it reported."""

    page: Any
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def drop(self, *files: tuple[str, bytes]) -> None:
        contents = [{"name": name, "mimeType": "image/png", "buffer": content} for name, content in files]
        self.page.locator("#files").set_input_files(contents)

    def rows(self) -> list[str]:
        return self.page.locator(".row .name").all_inner_texts()


@pytest.fixture
def show(browser: Any) -> Iterator[Callable[..., Shown]]:
    """Serves the app of some images, and opens it in a window of a width."""
    started: list[tuple[Any, threading.Thread, Any]] = []

    def open_page(images: Images, width: int = 1280) -> Shown:
        listening = listen("127.0.0.1", 0)
        server = uvicorn.Server(uvicorn.Config(make_app(images), log_config=None, lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        context = browser.new_context(viewport={"width": width, "height": 800}, reduced_motion="reduce")
        started.append((server, thread, context))
        shown = Shown(context.new_page())
        shown.page.on("console", lambda message: shown.problems.append(message.text))
        shown.page.on("pageerror", lambda error: shown.problems.append(str(error)))
        shown.page.on("request", lambda request: shown.requests.append(request.url))
        shown.page.goto(address_of(listening))
        return shown

    yield open_page
    for server, thread, context in started:
        context.close()
        server.should_exit = True
        thread.join()


def test_an_image_is_dropped_blocks_are_hidden_and_a_class_is_explained(
    show: Callable[..., Shown], make_images: Callable[..., Images], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    images = make_images()
    shown = show(images)
    page = shown.page
    shown.drop(("first.png", photo(0)), ("<i>second</i>.png", photo(1)))
    page.locator(".strip button").nth(1).wait_for()
    page.locator(".block").nth(15).wait_for()
    assert page.locator("#name").inner_text() == "<i>second</i>.png"
    assert page.locator(".remarks").inner_text().startswith("Unsure: no class reaches 110.0")
    answers = next(reversed(images._kept.values())).answers
    best = sorted(range(12), key=lambda index: -answers[index])[:5]
    assert shown.rows() == [images.names[index] for index in best]
    assert page.locator(".row .now").first.inner_text() == f"{100 * answers[best[0]]:.1f}\N{NO-BREAK SPACE}%"

    page.locator(".block").nth(5).click()
    page.locator(".block").nth(6).press("Enter")
    page.locator(".row .mark").first.wait_for()
    page.get_by_text("2 of 16 blocks hidden (replaced by the image's mean colour)").wait_for()
    identity = next(reversed(images._kept))
    page.locator(".rows:not(.busy)").wait_for()
    hidden = images.hide(identity, [(1, 1), (1, 2)])["answers"]
    row = page.locator(f'.row[data-index="{best[0]}"]')
    assert row.locator(".now").inner_text() == f"{100 * hidden[best[0]]:.1f}\N{NO-BREAK SPACE}%"
    assert row.locator(".was").inner_text() == f"was {100 * answers[best[0]]:.1f}\N{NO-BREAK SPACE}%"
    page.locator("#swap").click()
    page.get_by_text("14 of 16 blocks hidden").wait_for()
    page.locator("#all").click()
    page.locator(".row .mark").first.wait_for(state="detached")

    page.locator(".row").nth(1).click()
    card = page.locator("#explanation .card")
    card.wait_for()
    assert page.locator('.row[aria-pressed="true"] .name').inner_text() == images.names[best[1]]
    node = card.locator(".node").nth(2)
    node.locator(".hit").hover()
    assert card.locator(".readout").inner_text().startswith("top left, top left: ")
    page.get_by_text("GradCAT", exact=True).first.click()
    assert card.locator(".stage .heat").get_attribute("href").startswith("data:image/png")
    assert shown.problems == []
    assert {one.split("/")[2] for one in shown.requests if not one.startswith("data:")} == {page.url.split("/")[2]}
    assert list(tmp_path.iterdir()) == []


def test_broken_and_too_large_files_are_sentences_and_the_others_go_on(
    show: Callable[..., Shown], make_images: Callable[..., Images]
) -> None:
    shown = show(make_images(Limits(most_bytes=20_000, most_images=3)))
    files = [("broken.png", b"abc"), ("large.png", b"x" * 20_001), ("good.png", photo()), ("more.png", photo(1))]
    shown.drop(*files)
    shown.page.locator(".strip button").first.wait_for()
    problems = shown.page.locator(".problems p span").all_inner_texts()
    assert problems == [
        "the first 3 of 4 files are shown",
        "cannot read broken.png: it is not a JPEG, PNG, WEBP, GIF, BMP, TIFF, PPM or AVIF image.",
        "large.png: it is larger than 20\N{NO-BREAK SPACE}kB",
    ]
    assert shown.page.locator(".strip button").count() == 1
    shown.page.locator(".problems button").first.click()
    assert shown.page.locator(".problems p").count() == 2


def test_a_thousand_classes_fit_on_a_phone_and_are_found_by_name(
    show: Callable[..., Shown], make_images: Callable[..., Images]
) -> None:
    torch.manual_seed(0)
    model = hvit.create_model("nest_micro_32", num_classes=1000).eval()
    names = tuple(f"a class with a long name, number {number}" for number in range(1000))
    shown = show(make_images(model=model, classes=names, confidence=Confidence()), width=390)
    page = shown.page
    shown.drop(("a.png", photo()))
    page.locator(".block").nth(15).wait_for()
    assert len(shown.rows()) == 5
    assert page.locator("#count").inner_text() == "995 more classes. Click a class to see why."
    page.locator("#search").fill("NUMBER 77")
    assert (
        sorted(shown.rows()) == sorted(f"a class with a long name, number {one}" for one in (77, *range(770, 780)))[:10]
    )
    page.locator("#search").fill("no such")
    assert "No class has this in its name" in page.locator("#count").inner_text()
    page.locator("#search").fill("number 770")
    page.locator(".row").click()
    page.locator("#explanation .card").wait_for()
    assert page.locator("html").evaluate("one => [one.scrollWidth, one.clientWidth]") == [390, 390]
    assert shown.problems == []
