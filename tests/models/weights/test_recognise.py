"""A format is recognised by names, a model by shapes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from hvit.errors import UserError
from hvit.models.create import create_model
from hvit.models.weights.recognise import detect, is_published, recognise, stated_size
from hvit.models.weights.timm import to_timm


def test_a_third_party_state_dict_names_its_model() -> None:
    model: Any = create_model("hiera_tiny_224")
    theirs = to_timm(model)
    assert detect(theirs) == "timm hiera"
    assert recognise(theirs) == replace(model.config, drop_path=0.0)  # which shows in no weight
    assert is_published(model.config)
    assert not is_published(create_model("nest_micro_32").config)  # pyright: ignore[reportAttributeAccessIssue]


def test_unknown_names_are_refused_with_the_formats_there_are() -> None:
    with pytest.raises(UserError, match="is in no known format"):
        detect({"something": torch.ones(1)})
    with pytest.raises(UserError, match="holds no weights"):
        detect({})


def test_the_input_size_is_read_from_metadata_and_damage_is_ignored() -> None:
    assert stated_size({"input_size": (96, 128)}) == (96, 128)
    assert stated_size({"hvit": "{"}) is None
