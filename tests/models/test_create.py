"""`create_model` takes a name and any field of its configuration."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hvit.errors import UserError
from hvit.models.create import create_model


def test_fields_are_changed_by_keyword_and_weights_are_loaded() -> None:
    model: Any = create_model("nest_micro_32", num_classes=3, in_channels=1)
    assert model(torch.zeros(1, 1, 32, 32)).shape == (1, 3)
    again: Any = create_model("nest_micro_32", model.state_dict(), num_classes=3, in_channels=1)
    assert torch.equal(again.head.weight, model.head.weight)


def test_unknown_names_and_fields_are_refused() -> None:
    with pytest.raises(UserError, match="there is no model called"):
        create_model("nest_micro_33")
    with pytest.raises(UserError, match="have no field 'classes'"):
        create_model("nest_micro_32", classes=3)
