"""Choices that do not exist are refused with those that do, and names that are nearly right are recognised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from hvit.errors import Stopped, UserError, check_choices, did_you_mean


@dataclass(frozen=True)
class Paint:
    colour: Literal["red", "blue"] = "red"
    coats: int = 1

    def __post_init__(self) -> None:
        check_choices(self)


def test_a_value_that_is_no_choice_is_refused_with_the_choices() -> None:
    assert Paint("blue", coats=-3).colour == "blue", "only choices are checked"
    with pytest.raises(UserError, match="colour must be one of red, blue; got 'green'"):
        Paint("green")  # pyright: ignore[reportArgumentType]


def test_a_near_name_is_suggested_and_a_far_or_endless_one_is_not() -> None:
    assert did_you_mean("Trian", ["train", "predict"]) == "; did you mean 'train'?"
    assert did_you_mean("zebra", ["train", "predict"]) == ""
    assert did_you_mean("train" * 1000, ["train"]) == ""


def test_stopping_is_no_mistake_of_ours() -> None:
    assert issubclass(Stopped, UserError)
    assert issubclass(UserError, ValueError)
