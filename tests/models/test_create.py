"""`create_model` takes a name and any field of its configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import hvit
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


def test_published_weights_are_asked_for_by_one_word(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    state = create_model("nest_micro_32").state_dict()
    monkeypatch.setattr("hvit.models.create.translate.download_timm", lambda name: asked.append(name) or state)
    found = create_model("nest_micro_32", pretrained=True)
    assert asked == ["nest_micro_32"]
    assert all(torch.equal(tensor, state[name]) for name, tensor in found.state_dict().items())
    with pytest.raises(UserError, match="pretrained is True or False"):
        create_model("nest_micro_32", state, pretrained=True)
    with pytest.raises(UserError, match="got pretrained='yes'"):
        create_model("nest_micro_32", pretrained="yes")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", ["nest_micro_32", "mvitv2_micro_32", "hiera_micro_32", "vit_micro_32"])
def test_no_classes_are_no_head(name: str, tmp_path: Path) -> None:
    whole: Any = create_model(name).eval()
    model: Any = create_model(name, whole.state_dict(), num_classes=0).eval()
    images = torch.randn(2, 3, 32, 32)
    pooled = whole.forward_head(whole.forward_features(images), pre_logits=True)
    assert torch.equal(model(images), pooled)
    hvit.save_weights(model, tmp_path / "body.safetensors")
    assert torch.equal(hvit.open_weights(tmp_path / "body.safetensors").model(images), pooled)
    with pytest.raises(UserError, match="1 or more"):
        create_model(name, num_classes=-1)
