"""Text of any origin is shown as text: nothing in it commands a terminal, turns a line around or breaks an encoding."""

from __future__ import annotations

import pytest

from hvit.data.images.listing import show
from hvit.markup import shown, some_of, three_digits


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("\x1b[2Jcat", r"\x1b[2Jcat"),
        ("a\nb\tc\x7f\x9b", r"a\nb\tc\x7f\x9b"),
        ("cat\u202egpj.exe", r"cat\u202egpj.exe"),
        ("\u2066a\u2069\u200e\u200f\u061c", r"\u2066a\u2069\u200e\u200f\u061c"),
        ("a\u2028b\u2029", r"a\u2028b\u2029"),
        ("lone \ud800", r"lone \ud800"),
        ("hidden\U000e0041\u200b\ufeff", r"hidden\U000e0041\u200b\ufeff"),
        ("犬 naïve é ça 狗", "犬 naïve é ça 狗"),
        ("क्\u200dष", "क्\u200dष"),
        ("👩\u200d🔬 🏳️", "👩\u200d🔬 🏳️"),
        ("C:\\new", "C:\\new"),
        ("", ""),
    ],
)
def test_what_is_no_plain_text_is_shown_escaped(text: str, safe: str) -> None:
    assert shown(text) == show(text) == safe
    assert shown(text).encode().decode() == safe
    assert len(shown(text).splitlines()) <= 1


def test_of_many_names_the_first_are_listed_safe_to_show_and_the_others_counted() -> None:
    assert some_of(["a", "b"]) == "a, b"
    assert some_of(["a", "b\x1b", "c"], 2, "; ") == "a; b\\x1b and 1 more"
    assert some_of(["x" * 300]) == "x" * 200


def test_no_amount_is_written_with_an_exponent() -> None:
    written = {0: "0", 0.01234: "0.0123", 45.678: "45.7", 999.4: "999", 999.6: "1,000", 1235.4: "1,235"}
    assert {value: three_digits(value) for value in written} == written
