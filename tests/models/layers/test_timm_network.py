"""Encoders of timm's networks have timm's features and head, and take another head."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import hvit


@pytest.mark.parametrize("name", ["vit_micro_32", "resnet_micro_32"])
def test_features_head_and_reset_are_those_of_the_network(name: str) -> None:
    torch.manual_seed(0)
    model: Any = hvit.create_model(name).eval()
    images = torch.randn(2, 3, 32, 32)
    features = model.forward_features(images)
    assert torch.equal(features, model.network.forward_features(images))
    torch.testing.assert_close(model.forward_head(features), model(images))
    pooled = model.forward_head(features, pre_logits=True)
    torch.testing.assert_close(model.get_classifier()(pooled), model(images))
    model.reset_classifier(5)
    assert model(images).shape == (2, model.num_classes) == (2, 5)
    model.reset_classifier(0)
    torch.testing.assert_close(model(images), pooled)
    with pytest.raises(hvit.UserError, match="this model takes batches of images"):
        model.forward_features(images[..., :-1])
