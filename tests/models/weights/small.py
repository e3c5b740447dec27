"""NesTs so small that translating their weights takes no time."""

from __future__ import annotations

from typing import Any

import torch

from hvit.models.nest.config import NestConfig

SMALL = NestConfig(
    input_size=(32, 32), patch_size=(2, 2), num_classes=5, dims=(12, 24, 48), heads=(3, 6, 12), depths=(1, 2, 1)
)  # fmt: skip


MICRO = NestConfig(input_size=(16, 16), patch_size=(2, 2), num_classes=3, dims=(4, 8), heads=(2, 4), depths=(1, 1))


def shaken(model: Any, seed: int = 0, scale: float = 0.2) -> Any:
    """The model with every bias, norm and embedding away from its trivial start."""
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draws) * scale)
    return model.eval()
