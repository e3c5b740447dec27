"""Parts that transformer blocks share: drop path, dropout and initialisation."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from hvit.randomness import draw_for_each, present_share


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
        return branch * (kept_samples(branch, keep) / keep)

    def extra_repr(self) -> str:
        return f"rate={self.rate:.3f}"


def kept_samples(branch: Tensor, keep: float) -> Tensor:
    """1 for samples that keep a branch (batch, ...), a share of `keep`, and 0 for the others: (batch, 1, ...)."""
    ones = (1,) * (branch.ndim - 1)
    return draw_for_each(len(branch), lambda count: branch.new_empty((count, *ones)).bernoulli_(keep))


class Dropout(nn.Dropout):
    """torch's dropout; in training by hvit its numbers belong to samples, as those of `DropPath` do."""

    def forward(self, input: Tensor) -> Tensor:
        """input: (batch, ...). Returns the same shape."""
        if not self.training or self.p == 0.0 or present_share() is None:
            return super().forward(input)
        keep, shape = 1.0 - self.p, input.shape[1:]
        mask = draw_for_each(len(input), lambda count: input.new_empty((count, *shape)).bernoulli_(keep))
        return input * (mask / keep)


def draw_by_sample(network: nn.Module) -> None:
    """Puts our `DropPath` and `Dropout` in the places of those of another library, which draw the same numbers.

    Known are the drop paths of timm and transformers (by their class's name), torchvision's stochastic depth of whole
    samples, and torch's dropout.
    """
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if (ours := _ours(child)) is not None:
                setattr(parent, name, ours.train(child.training))


def _ours(module: nn.Module) -> nn.Module | None:
    kind = type(module)
    if kind is nn.Dropout:
        return Dropout(module.p, module.inplace)  # pyright: ignore[reportArgumentType]
    if kind.__name__.endswith("DropPath") and kind is not DropPath and getattr(module, "scale_by_keep", True):
        return DropPath(module.drop_prob or 0.0)  # pyright: ignore[reportArgumentType]
    if kind.__name__ == "StochasticDepth" and module.mode == "row":
        return DropPath(module.p)  # pyright: ignore[reportArgumentType]
    return None


def drop_path_rates(rate: float, layers: int) -> list[float]:
    """Stochastic-depth rates that grow linearly from 0 in the first layer to `rate` in the last."""
    return [rate * layer / max(layers - 1, 1) for layer in range(layers)]


def truncated_normal_(weight: Tensor, std: float = 0.02) -> None:
    """Fills a weight from a normal distribution cut at two standard deviations, without correcting its variance.

    Draws by inverting the distribution: many times faster than torch's rejection sampling.
    """
    if weight.is_meta:  # a form without memory, which torch would load its compiler to fill
        return
    limit = math.erf(math.sqrt(2))
    with torch.no_grad():
        weight.uniform_(-limit, limit).erfinv_().mul_(std * math.sqrt(2))
