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
import torch
from PIL import Image

import hvit
from hvit.explain import Tree, draw_cam, draw_trees
from hvit.explain.drawing.comparison import draw_comparison
from hvit.explain.page import ExplainedClass, ExplainedImage, Page, render_page

HOSTILE = "\"'></iframe><script>window.hacked = 1</script>.png"
VALUES = (
    np.array([[1.0, -4.0], [2.0, 0.5]]),
    np.array([[0.1, 0.2, 0.0, 0.0], [0.3, 0.4, 0.0, 0.0], [7.0, -8.0, 0.0, 0.0], [5.0, 6.0, 0.0, 0.0]]),
)
TREE = Tree(3, 1.25, (2, 0), VALUES, (32, 32))


def cells(source: str) -> list[tuple[str, str, str]]:
    """Title, style and text of every block."""
    return re.findall(r'<td title="([^"]*)" style="([^"]*)">([^<]*)</td>', source)


def test_a_tree_shows_every_value_at_its_place_and_a_border_along_its_path() -> None:
    source = TREE._repr_html_()
    blocks = cells(source)
    assert [text.replace("\N{MINUS SIGN}", "-") for _, _, text in blocks] == [
        *("1.00", "-4.00", "2.00", "0.50"),
        *("0.10", "0.20", "0.00", "0.00", "0.30", "0.40", "0.00", "0.00"),
        *("7.00", "-8.00", "0.00", "0.00", "5.00", "6.00", "0.00", "0.00"),
    ]
    assert [title.split(":")[0] for title, style, _ in blocks if "2px solid" in style] == [
        "bottom left",
        "bottom left, top left",
    ]
    assert blocks[-4][0] == "bottom left, bottom left: 5 (pixels 0 to 8, 24 to 32)"
    assert source.count("<table") == source.count("</table>") == 2
    assert "class 3 (logit 1.25): bottom left &gt; top left" in source


def test_for_and_against_are_told_apart_by_colour_and_size_by_strength() -> None:
    colours = [re.findall(r"background:(#\w{6})(\w\w)", style)[0] for _, style, _ in cells(TREE._repr_html_())[:4]]
    assert colours[0][0] == colours[2][0] != colours[1][0]
    strengths = [int(strength, 16) for _, strength in colours]
    assert strengths[1] > strengths[2] > strengths[0] > strengths[3] > 0


def test_a_tree_of_a_model_is_shown_at_any_depth_and_the_control_says_so() -> None:
    torch.manual_seed(0)
    model = hvit.create_model("nest_tiny_32", dims=(8,) * 4, heads=(1,) * 4, depths=(1,) * 4, num_classes=3).eval()
    tree = hvit.explain.gradcat(model, torch.rand(3, 32, 32), 1, sign=-1)
    source = tree._repr_html_()
    assert len(cells(source)) == 4 + 16 + 64
    assert "64ths" in source
    assert "the sign is flipped" in source


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
