"""The state dict of the model is found in a training checkpoint, wherever programs put it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hvit.errors import UserError
from hvit.models.weights.sections import few, flat_state

ONE = {"weight": torch.ones(2)}
TWO = {"weight": torch.zeros(2)}


@pytest.mark.parametrize(
    ("loaded", "section", "value"),
    [
        (ONE, None, 1.0),
        ({"model": TWO, "state_dict_ema": ONE}, "state_dict_ema", 1.0),
        ({"epoch": 3, "state_dict": ONE, "optimizer": {"state": {"weight": torch.zeros(2)}}}, "state_dict", 1.0),
        ({"outer": {"anything": ONE}}, "outer.anything", 1.0),
    ],
)
def test_averages_come_first_and_optimizers_never(loaded: dict[str, Any], section: str | None, value: float) -> None:
    state, found = flat_state(loaded)
    assert found == section
    assert state["weight"][0] == value


def test_entries_that_are_no_tensors_are_skipped_and_sparse_ones_refused() -> None:
    assert set(flat_state({**ONE, "epoch": 3, 7: torch.ones(1)})[0]) == {"weight"}
    with pytest.raises(UserError, match="dense tensors"):
        flat_state({"weight": torch.ones(2).to_sparse()})


def test_parts_that_could_both_be_meant_are_named() -> None:
    with pytest.raises(UserError, match="several parts hold weights"):
        flat_state({"teacher": ONE, "student": TWO})


def test_long_lists_of_names_are_cut() -> None:
    assert few([str(number) for number in range(10)]) == "0, 1, 2, 3, 4, 5, 6, 7 and 2 more"
