"""Which class is meant: a name is always a name; a number needs a # where classes are called by numbers."""

from __future__ import annotations

import pytest

from hvit.class_names import find_class
from hvit.errors import UserError

DIGITS = ("0", "1", "10", "2", "3", "4", "5", "6", "7", "9")


@pytest.mark.parametrize(
    ("wanted", "names", "number"),
    [
        ("10", DIGITS, 2),
        ("9", DIGITS, 9),
        ("#9", DIGITS, 9),
        ("#8", DIGITS, 8),
        ("#008", DIGITS, 8),
        ("dog", ("cat", "dog"), 1),
        ("1", ("cat", "dog"), 1),
        ("#1", ("cat", "dog"), 1),
        ("#0", ("cat", "#0"), 1),
        ("3", (), 3),
        ("#3", (), 3),
        ("caf\N{LATIN SMALL LETTER E WITH ACUTE}", ("tea", "cafe\N{COMBINING ACUTE ACCENT}"), 1),
        (r"cat\u202egpj", ("dog", "cat\u202egpj"), 1),
        ("2.5", ("1.5", "2.5"), 1),
    ],
)
def test_a_name_wins_and_a_number_is_what_is_left(wanted: str, names: tuple[str, ...], number: int) -> None:
    assert find_class(wanted, names, len(names) or 10) == number


@pytest.mark.parametrize("wanted", ["8", "08", "#10", "#-1", "# 8", "\N{FULLWIDTH DIGIT EIGHT}", "", "9" * 10_000])
def test_among_numbered_names_a_number_that_is_no_name_is_refused(wanted: str) -> None:
    with pytest.raises(UserError, match="there is no class '") as refused:
        find_class(wanted, DIGITS, 10)
    assert "#0 to #9" in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("names", [("1.5", "2.5", "x"), ("-1", "dog", "y"), ("01", "02", "z"), ("a", "b", "3")])
def test_one_name_that_is_a_number_is_enough(names: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="there is no class '0'"):
        find_class("0", names, 3)
    assert find_class("#0", names, 3) == 0


@pytest.mark.parametrize("names", [("inf", "nan", "one"), ("1 dog", "2 dogs", "v2")])
def test_names_that_only_look_like_numbers_leave_plain_numbers_alone(names: tuple[str, ...]) -> None:
    assert find_class("2", names, 3) == 2


def test_a_name_of_several_classes_is_refused_with_their_numbers() -> None:
    with pytest.raises(UserError, match=r"2 classes are called 'crane'.*#0, #2"):
        find_class("crane", ("crane", "dog", "crane"), 3)
    assert find_class("#2", ("crane", "dog", "crane"), 3) == 2
