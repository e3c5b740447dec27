"""Parts that transformer blocks share: drop path and initialisation."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """Stochastic depth: in training a residual branch is dropped for whole samples (arXiv 1603.09382).

    rate: share of samples that lose the branch; the others are scaled by 1 / (1 - rate).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """branch: (batch, ...). Returns the same shape."""
        if not self.training or self.rate == 0.0:
            return branch
        keep = 1.0 - self.rate
        mask = branch.new_empty((branch.shape[0],) + (1,) * (branch.ndim - 1)).bernoulli_(keep)
        return branch * (mask / keep)

    def extra_repr(self) -> str:
        return f"rate={self.rate:.3f}"


def drop_path_rates(rate: float, layers: int) -> list[float]:
    """Stochastic-depth rates that grow linearly from 0 in the first layer to `rate` in the last."""
    return [rate * layer / max(layers - 1, 1) for layer in range(layers)]


def truncated_normal_(weight: Tensor, std: float = 0.02) -> None:
    """Fills a weight from a normal distribution cut at two standard deviations, without correcting its variance.

    Draws by inverting the distribution: many times faster than torch's rejection sampling.
    """
    limit = math.erf(math.sqrt(2))
    with torch.no_grad():
        weight.uniform_(-limit, limit).erfinv_().mul_(std * math.sqrt(2))
