"""Packed layers are packed once, and batch norms are folded into the convolutions before them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from hvit.models.create import create_model
from hvit.models.inference import packed
from hvit.models.inference.packed import pack
from hvit.models.layers.linear import has_onednn

needs_packing = pytest.mark.skipif(not has_onednn(), reason="this torch cannot pack weights")


@needs_packing
def test_packing_folds_batch_norms_away():
    model: Any = create_model("resnet_micro_32")
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in pack(model).modules())


@needs_packing
def test_ranges_of_rows_are_packed_once():
    layer = packed.PackedLinear(nn.Linear(6, 10), rows_hint=4, in_parts=True)
    tokens = torch.randn(4, 6)
    layer.rows(tokens, 0, 4)
    first = layer._packed[0, 4]
    layer.rows(tokens, 0, 4)
    assert layer._packed[0, 4] is first
    assert layer(tokens).shape == (4, 10)
