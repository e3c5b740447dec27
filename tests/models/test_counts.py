"""Stored counts are read in billions."""

from __future__ import annotations

import pytest

from hvit.models.counts import in_billions, stored


@pytest.mark.parametrize(("count", "text"), [(9_380_000_000, "9.38 G"), (1_027_480_000_000, "1,027 G")])
def test_multiply_adds_are_read_in_billions(count: int, text: str) -> None:
    assert in_billions(count) == text


def test_a_row_says_what_the_table_shows() -> None:
    assert set(stored()["nest_tiny_224"]) == {"parameters", "multiply_adds", "input", "published", "source"}
