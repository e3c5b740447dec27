"""The pieces of a report: values out of what was read, whatever it is, and words that become no markup."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image

from hvit.report.pieces import interval, number_in, object_in, picture, place, tile
from tests.report.runs import HOSTILE


@pytest.mark.parametrize("value", [None, "3", float("nan"), float("inf"), [1], {}])
def test_what_is_no_finite_number_is_none(value: object) -> None:
    assert number_in({"loss": value}, "loss") is None
    assert number_in({}, "loss") is None
    assert number_in({"loss": 3}, "loss") == 3.0


def test_what_is_no_object_is_an_empty_one() -> None:
    assert object_in({"model": {"family": "nest"}}, "model") == {"family": "nest"}
    assert object_in({"model": [1]}, "model") == object_in({}, "model") == {}


def test_a_place_in_the_run_has_its_epoch_where_that_is_known() -> None:
    assert place({"step": 1200, "epoch": 2.5}) == "step 1,200 (epoch 2.5)"
    assert place({"step": 3}) == "step 3"


def test_an_interval_of_a_share_is_that_of_so_many() -> None:
    assert interval(81 / 263, 263).split("interval ")[1].replace("\u00a0", " ").startswith("25.5 to 36.6")


def test_names_and_values_become_no_markup() -> None:
    assert "<script" not in str(tile(HOSTILE, HOSTILE, HOSTILE))


@pytest.mark.parametrize(("size", "is_sheet"), [((1400, 400), True), ((900, 300), False), ((1400, 1400), False)])
def test_a_wide_picture_is_a_sheet_that_is_scrolled(size: tuple[int, int], is_sheet: bool) -> None:
    buffer = BytesIO()
    Image.new("1", size).save(buffer, "PNG")
    figure = str(picture((buffer.getvalue(), None), "maps", "some maps"))
    assert ('class="sheet"' in figure) == is_sheet
    assert f"flex: {size[0] / size[1]:.3f} 1 0" in figure
