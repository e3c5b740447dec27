"""The JSON next to the pages of results holds the numbers of their tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import result_tables


@pytest.mark.parametrize("page", result_tables.pages(), ids=lambda page: page.name)
def test_the_json_of_a_page_is_its_tables(page: Path) -> None:
    text = page.with_suffix(".json").read_text(encoding="utf-8")
    assert text == result_tables.as_json(page), "`python -m tests.result_tables --write` writes it anew"
    assert json.loads(text)["tables"] == result_tables.tables(page)


def test_every_page_of_results_has_tables_and_no_json_is_left_over() -> None:
    pages = {page.stem for page in result_tables.RESULTS.glob("*.md")}
    assert pages == {file.stem for file in result_tables.RESULTS.glob("*.json")}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,347", 1347),
        ("**1.9e-06**", 1.9e-06),
        ("99.1 %", {"text": "99.1 %", "numbers": [99.1]}),
        ("1.09 to 1.11", {"text": "1.09 to 1.11", "numbers": [1.09, 1.11]}),
        ("**99.6** (99.7, 99.5)", {"text": "99.6 (99.7, 99.5)", "numbers": [99.6, 99.7, 99.5]}),
        ("`nest_tiny_224`", "`nest_tiny_224`"),
        ("not run", "not run"),
        ("", None),
    ],
)
def test_a_cell_is_a_number_where_it_is_one(text: str, value: Any) -> None:
    assert result_tables.cell(text) == value
