"""Batch norm over the images of all processes, so that any number of them trains the same network.

torch's own (`SyncBatchNorm`) refuses tensors on a CPU, and takes the activation out of timm's `BatchNormAct2d`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def has_batch_norm(network: nn.Module) -> bool:
    """Whether a network normalises by the statistics of its batches."""
    return any(isinstance(module, _BatchNorm) for module in network.modules())


def share_batch_norm(network: nn.Module) -> None:
    """Makes the batch norms of a network take the mean and the variance over all processes while they train.

    Names, states and types stay as they are: the new type is a subclass. Processes must have batches of the same size.
    """
    for module in network.modules():
        if isinstance(module, _BatchNorm) and not isinstance(module, SharedBatchNorm):
            module.__class__ = _shared(type(module))  # pyright: ignore[reportAttributeAccessIssue]


class SharedBatchNorm(_BatchNorm):
    """A batch norm whose statistics are those of all processes; made by `share_batch_norm`."""

    def forward(self, input: Tensor) -> Tensor:
        """input: (batch, channels, ...). Returns the same shape."""
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        # Compiled networks compute it as it is, between what is compiled.
        normalised: Callable[[Tensor], Tensor] = torch.compiler.disable(self._normalised)  # pyright: ignore[reportAssignmentType]
        return normalised(input)

    def _normalised(self, input: Tensor) -> Tensor:
        axes, shape = [0, *range(2, input.ndim)], (1, -1, *(1,) * (input.ndim - 2))
        values = input.float()
        mean = _mean_over_processes(values.mean(axes))
        centred = values - mean.view(shape)
        variance = _mean_over_processes(centred.square().mean(axes))
        if self.track_running_stats:
            count = input.numel() // input.shape[1] * torch.distributed.get_world_size()
            self._follow(mean.detach(), variance.detach() * (count / (count - 1)))
        normed = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            normed = normed * self.weight.float().view(shape) + self.bias.float().view(shape)
        normed = normed.to(input.dtype)
        # timm's batch norms have what follows them inside.
        for name in ("drop", "act"):
            if isinstance(part := getattr(self, name, None), nn.Module):
                normed = part(normed)
        return normed

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        weight = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), weight)
        self.running_var.lerp_(variance.to(self.running_var), weight)


_classes: dict[type[nn.Module], type[nn.Module]] = {}


def _shared(kind: type[nn.Module]) -> type[nn.Module]:
    if kind not in _classes:
        _classes[kind] = type(kind.__name__, (SharedBatchNorm, kind), {"__module__": kind.__module__})
    return _classes[kind]


class _MeanOverProcesses(torch.autograd.Function):
    """The mean of a tensor over all processes; its gradient is the mean of their gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return _reduced(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _reduced(gradients[0])


def _reduced(values: Tensor) -> Tensor:
    values = values.contiguous().clone()
    torch.distributed.all_reduce(values)
    return values / torch.distributed.get_world_size()


def _mean_over_processes(values: Tensor) -> Tensor:
    return _MeanOverProcesses.apply(values)  # pyright: ignore[reportReturnType]
