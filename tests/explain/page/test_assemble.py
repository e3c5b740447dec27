"""The page as a whole: what it may do, how a notebook frames it, and what becomes of many images."""

from __future__ import annotations

import numpy as np
import pytest

from hvit.errors import UserError
from hvit.explain.page.assemble import OPEN_INDEX, Page, page_frame, policy, render_page
from hvit.explain.page.content import ExplainedClass, ExplainedImage

IMAGE = ExplainedImage("photo", np.zeros((8, 8, 3), np.uint8), [ExplainedClass("cat", 0.5, None, {"cam": np.eye(2)})])


def test_another_script_has_another_policy_and_neither_loads_anything() -> None:
    one, other = policy("run()"), policy("run() ")
    assert one != other
    assert one.startswith("default-src 'none'")
    assert "unsafe-eval" not in one
    assert "script-src 'unsafe-inline'" not in one


def test_nothing_in_a_page_ends_the_frame_that_a_notebook_shows() -> None:
    frame = page_frame("</iframe>\"'><script>", 'a"b')
    assert frame.count("<script") == 0
    assert frame.count("</iframe>") == 1
    assert 'sandbox="allow-scripts"' in frame
    assert Page([IMAGE])._repr_html_().count("</iframe>") == 1


@pytest.mark.parametrize(("count", "is_open"), [(OPEN_INDEX, True), (OPEN_INDEX + 1, False)])
def test_the_list_of_many_images_is_folded_up(count: int, is_open: bool) -> None:
    page = render_page([IMAGE] * count)
    assert f"{count} images" in page
    assert ("<details open" in page) == is_open


def test_a_page_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="one image or more"):
        render_page([])
    with pytest.raises(UserError, match="needs trees or maps"):
        render_page([ExplainedImage("photo", np.zeros((8, 8, 3), np.uint8), [ExplainedClass("cat", 0.5)])])
