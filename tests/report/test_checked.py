"""A check of explanations stays in the run folder; report and card show it while the weights are the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hvit.errors import UserError
from hvit.recipes import get_recipe
from hvit.report.card import About, model_card
from hvit.report.checked import checks_of, keep_check
from hvit.report.reading import read_run
from hvit.run_names import EXPLANATION_CHECK
from tests.report.runs import Page, make_run

MEASURE = {"name": "deletion", "value": 0.1, "interval": [0.05, 0.2], "compared_with": 0.4, "passes": True}
POINTING = MEASURE | {"name": "pointing", "value": 0.9, "passes": False}


def answer(method: str, **fields: Any) -> dict[str, Any]:
    """An answer of `verbs.check.check`."""
    return {
        "method": method, "images": 20, "baseline": "the mean colour", "absent": "exchanged", "probability": 0.9,
        "probability_before": 0.1, "measures": [MEASURE, POINTING], "trusted": False,
        "verdict": f"{method} cannot be trusted on these 20 images: it misses", **fields,
    }  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = make_run(tmp_path / "run")
    (folder / "weights.safetensors").write_bytes(b"weights")
    return folder


def test_the_report_and_the_card_show_the_check_of_these_weights(run: Path) -> None:
    assert "cannot be trusted" not in Page(run).text
    assert keep_check(run, [answer("cam")]) == run / EXPLANATION_CHECK
    keep_check(run, [answer("gradcat"), answer("cam", images=30)])
    assert [(one.method, one.images) for one in checks_of(run)] == [("cam", 30), ("gradcat", 20)]
    page = Page(run).text
    assert "gradcat cannot be trusted on these 20 images: it misses." in page
    assert "deletion: area, random order 0.100 0.050 to 0.200 0.400 passed" in page
    about = About("anna/digits", None, "nest_micro_32", False)
    card = " ".join(model_card(read_run(run), get_recipe("nest_micro_digits"), {}, about).split())
    assert "| pointing: highest place on the object, chance | 90.0 % | 5.0 % to 20.0 % | 40.0 % | failed |" in card
    assert "probability of 90.0 % with the image, and of 10.0 % with the mean colour in its place" in card


def test_a_check_of_earlier_weights_is_not_shown_and_a_new_one_replaces_it(run: Path) -> None:
    keep_check(run, [answer("cam")])
    (run / "weights.safetensors").write_bytes(b"later")
    assert checks_of(run) == []
    assert "were checked with other weights than the run has now" in Page(run).text
    keep_check(run, [answer("gradcat")])
    assert [one.method for one in checks_of(run)] == ["gradcat"]


def test_what_is_no_run_folder_keeps_nothing(tmp_path: Path) -> None:
    assert keep_check(tmp_path, [answer("cam")]) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["[]", "{", '{"weights_sha256": "a", "checks": [{"method": 3}]}'])
def test_a_damaged_file_is_named_and_written_anew(run: Path, content: str) -> None:
    (run / EXPLANATION_CHECK).write_text(content)
    with pytest.raises(UserError, match=r"explanation_check\.json is damaged"):
        Page(run)
    keep_check(run, [answer("cam")])
    assert json.loads((run / EXPLANATION_CHECK).read_text())["checks"][0]["method"] == "cam"
