"""Activation checkpointing: what blocks compute is forgotten after the forward pass and computed again when needed."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from hvit.errors import UserError
from hvit.training.blocks import blocks_of


def checkpoint_activations(networks: Iterable[nn.Module]) -> None:
    """Makes the blocks of networks keep nothing but their inputs for the backward pass.

    Losses and gradients stay the same: random numbers of a block are drawn again as they were. A step computes every
    block's forward pass twice. Names, types and states of the modules stay as they are.

    Raises UserError if there is no such block in any of the networks.
    Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost", arXiv 1604.06174.
    """
    for block in checkpointable_blocks(networks):
        # Another class and not another `forward` of the object: copies of the module stay whole, and it compiles.
        block.__class__ = _forgetful(type(block))


def keep_activations(networks: Iterable[nn.Module]) -> None:
    """Undoes `checkpoint_activations`."""
    for network in networks:
        for block in network.modules():
            if type(block) in _classes.values():
                block.__class__ = type(block).__bases__[0]


def checkpointable_blocks(networks: Iterable[nn.Module]) -> list[nn.Module]:
    """The blocks of networks that may compute their forward pass twice, in order.

    Blocks are those of `blocks_of`. Those that change in a forward pass
    (statistics of batch norm, spectral norm), which must happen once a step, are skipped.
    Raises UserError if none is left.
    """
    blocks = [block for network in networks for block in blocks_of(network) if not _changes_in_a_forward_pass(block)]
    if not blocks:
        raise UserError(
            "loop.checkpoint_activations fits transformer blocks, and this model has none (batch norm and spectral "
            "norm change with each forward pass): omit it, and raise --loop.accumulate to save memory"
        )
    return blocks


def _changes_in_a_forward_pass(block: nn.Module) -> bool:
    return any(
        getattr(module, "track_running_stats", False) or parametrize.is_parametrized(module)
        for module in block.modules()
    )


_classes: dict[type[nn.Module], type[nn.Module]] = {}


def _forgetful(kind: type[nn.Module]) -> type[nn.Module]:
    """The class of the same modules whose forward pass is checkpointed while they train."""
    if kind in _classes.values():
        return kind
    if kind not in _classes:

        def forward(self: nn.Module, *inputs: object, **named: object) -> object:
            compute = partial(kind.forward, self, **named)
            if self.training and torch.is_grad_enabled():
                return checkpoint(compute, *inputs, use_reentrant=False)
            return compute(*inputs)

        _classes[kind] = type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})
    return _classes[kind]
