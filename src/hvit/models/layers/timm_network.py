"""Encoders that hold a network of timm under `network`: its own features, head and reset."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from hvit.models.layers.encoder import Encoder


class TimmNetworkEncoder(Encoder):
    """An encoder whose features and head are those of a network of timm, `network`."""

    network: Any

    def forward_features(self, images: Tensor) -> Tensor:
        """As timm's method of the network: what its `forward_head` takes."""
        return self.network.forward_features(self.check_images(images))

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """As timm's method of the network."""
        return self.network.forward_head(features, pre_logits=pre_logits)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """As timm's method of the network."""
        self.config = replace(self.config, num_classes=num_classes)
        self.network.reset_classifier(num_classes, global_pool)
