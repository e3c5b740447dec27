"""Claims about explanations in notebooks: they show themselves, whole, with nothing of theirs becoming markup."""

from __future__ import annotations

import html
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from PIL import Image

from hvit.explain import Tree, draw_cam, draw_trees
from hvit.explain.drawing.comparison import draw_comparison
from hvit.explain.page import ExplainedClass, ExplainedImage, Page, render_page

HOSTILE = "\"'></iframe><script>window.hacked = 1</script>.png"


VALUES = (
    np.array([[1.0, -4.0], [2.0, 0.5]]),
    np.array([[0.1, 0.2, 0.0, 0.0], [0.3, 0.4, 0.0, 0.0], [7.0, -8.0, 0.0, 0.0], [5.0, 6.0, 0.0, 0.0]]),
)


TREE = Tree(3, 1.25, (2, 0), VALUES, (32, 32))


def test_every_picture_is_a_png_at_half_its_pixels_whatever_the_users_settings() -> None:
    photo = np.random.default_rng(0).random((32, 32))
    figures = [
        draw_trees(photo, [TREE]),
        draw_cam(photo, VALUES[1], "dog", 0.9),
        draw_comparison(photo, {"cam": [VALUES[0]]}, ["dog"], trees=[TREE]),
    ]
    for figure in figures:
        content, shown = figure._repr_png_()  # pyright: ignore[reportAttributeAccessIssue]
        with matplotlib.rc_context({"savefig.facecolor": "red", "savefig.dpi": 30, "savefig.bbox": "tight"}):
            assert figure._repr_png_()[0] == content  # pyright: ignore[reportAttributeAccessIssue]
        with Image.open(BytesIO(content)) as drawn:
            assert drawn.format == "PNG"
            assert drawn.width == pytest.approx(2 * shown["width"], abs=2)
            assert drawn.height == pytest.approx(2 * shown["height"], abs=2)
            assert drawn.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_a_page_is_shown_in_a_frame_that_no_name_leaves() -> None:
    explained = ExplainedImage(HOSTILE, np.zeros((32, 32)), [ExplainedClass(HOSTILE, 0.5, TREE, {"cam": VALUES[0]})])
    source = Page([explained])._repr_html_()
    assert re.findall(r"<[^>]*>", source) == [source.removesuffix("</iframe>"), "</iframe>"]
    inside = re.findall(r'srcdoc="([^"]*)"', source)
    assert [html.unescape(one) for one in inside] == [render_page([explained])]
    assert re.findall(r'sandbox="([^"]*)"', source) == ["allow-scripts"]


def test_in_a_real_browser_the_frame_is_alive_and_the_notebook_stays_as_it_is(browser: Any, tmp_path: Path) -> None:
    maps = {"cam": VALUES[0]}
    explained = ExplainedImage(HOSTILE, np.zeros((32, 32)), [ExplainedClass(HOSTILE, 0.5, TREE, maps)])
    notebook = tmp_path / "notebook.html"
    notebook.write_text(
        f"<!doctype html><title>notebook</title>{TREE._repr_html_()}{Page([explained])._repr_html_()}", encoding="utf-8"
    )
    complaints: list[str] = []
    page = browser.new_page()
    page.set_default_timeout(120_000)  # of busy machines
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(notebook.as_uri())
    frame = page.frame_locator("iframe")
    frame.locator('.node[data-place="bottom left, top left"] .hit').first.hover()
    assert frame.locator(".readout").inner_text().startswith("bottom left, top left: ")
    assert "7.00" in frame.locator(".readout").inner_text()
    assert page.evaluate("window.hacked") is None
    assert page.locator("iframe").count() == 1
    page.close()
    assert complaints == []
