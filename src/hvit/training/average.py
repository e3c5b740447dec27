"""The running average of a network's weights."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from hvit.training.parallel import local


class RunningAverage(AveragedModel):
    """A copy of a network that follows its weights slowly, and has its buffers.

    decay: share of the average that stays at each update. It forgets its first, untrained weights quickly: after n
    updates the share is (1 + n) / (10 + n) at most.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__(network)
        self.decay = decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Moves towards the weights of the network: all at once and in place, without waiting for the device."""
        mine, theirs = local(self.module.parameters()), local(model.parameters())
        updates = int(self.n_averaged)  # it stays on the CPU
        if updates:
            weight = 1.0 - min(self.decay, (1.0 + updates) / (10.0 + updates))
            torch._foreach_lerp_(mine, theirs, weight)  # pyright: ignore
        else:
            torch._foreach_copy_(mine, theirs)  # pyright: ignore[reportPrivateImportUsage]
        for copied, buffer in zip(self.module.buffers(), model.buffers(), strict=True):
            copied.copy_(buffer)
        self.n_averaged += 1
