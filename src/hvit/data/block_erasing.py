"""Replaces random blocks of training images by the image's mean colour, as block Shapley removes blocks."""

from __future__ import annotations

import torch
from torch import Tensor

SIDE = 4
"""Blocks along each side: sixteenths, the blocks of an explanation with two divisions."""
MOST = SIDE**2 // 2
"""The most blocks that are replaced in one image."""
NUMBERS = 2 + SIDE**2
"""Random numbers that are drawn for an image."""


def erased_blocks(numbers: Tensor, probability: float) -> Tensor:
    """Which blocks are replaced: bool (batch, SIDE, SIDE).

    numbers: (batch, NUMBERS), uniform from 0 to 1. An image is chosen with the probability; then 1 to MOST blocks are
    replaced, each number of them equally often, and each block equally often.
    """
    count = torch.where(numbers[:, 0] < probability, 1 + (MOST * numbers[:, 1]).long(), 0)
    ranks = numbers[:, 2:].argsort(1).argsort(1)
    return (ranks < count[:, None]).view(-1, SIDE, SIDE)


def erase_blocks(inputs: Tensor, blocks: Tensor) -> Tensor:
    """A batch with blocks replaced by the mean colour of their image, of a clip the same blocks in all frames.

    inputs: (batch, channels, [frames,] height, width), normalised. blocks: bool (batch, SIDE, SIDE). Where sides are
    no multiple of SIDE, blocks differ by a pixel.
    """
    rows, columns = (torch.arange(side) * SIDE // side for side in inputs.shape[-2:])
    inside = blocks[:, rows[:, None], columns[None]].to(inputs.device, non_blocking=True)
    inside = inside.view(len(inputs), *(1,) * (inputs.ndim - 3), *inputs.shape[-2:])
    return torch.where(inside, inputs.mean(tuple(range(2, inputs.ndim)), keepdim=True), inputs)
