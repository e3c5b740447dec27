"""Names that wrappers add to a model's are found and taken away."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hvit.errors import UserError
from hvit.models.create import create_model
from hvit.models.weights.wrappers import is_average, plain_names, prefixes, unwrapped


def test_the_model_inside_any_nesting_is_found() -> None:
    model = create_model("nest_micro_32")
    assert unwrapped(nn.DataParallel(model)) is model
    assert unwrapped(model) is model


def test_names_lose_what_only_wrappers_have() -> None:
    assert list(plain_names({"_orig_mod.blocks.0.weight": torch.ones(1)})) == ["blocks.0.weight"]
    pruned = {"weight_orig": torch.tensor([1.0, 2.0]), "weight_mask": torch.tensor([0.0, 1.0])}
    assert plain_names(pruned)["weight"].tolist() == [0.0, 2.0]
    with pytest.raises(UserError, match="two tensors are called"):
        plain_names({"_orig_mod.a": torch.ones(1), "a": torch.ones(1)})


def test_starts_of_names_are_shortest_first_and_averages_before_others() -> None:
    names = ["net.root.a", "ema.root.a", "x.y.root.a"]
    assert prefixes(names, [r"root\."]) == ["ema.", "net.", "x.y."]
    assert is_average("model_ema.weight")
    assert not is_average("schema.weight")
