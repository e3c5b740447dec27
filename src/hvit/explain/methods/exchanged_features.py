"""Coalitions of blocks in the middle of a NesT: feature maps are exchanged, and only the levels above run again.

A block of the levels below the top has seen its own square of the image only. On the finest level exchanging features
is the same as exchanging pixels; on the others a block's neighbours differ by what the window of an aggregation reads
across the seam, one token wide.

The next level begins with a convolution of the whole map. It is linear, so it is computed once for every block of the
image and of the baseline, with what the window carries to the blocks around, and a coalition adds up its blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvit.explain.methods.exchange import Cost, Question, image_leaves, present_leaves, together
from hvit.models.build import build_empty, count_multiply_adds
from hvit.models.nest.config import NestConfig
from hvit.models.nest.model import Nest


class ExchangedFeatures:
    """Exchanges the feature map of one level and runs the levels above."""

    def __init__(self, model: Nest, level: int, images: Tensor, blanks: Tensor) -> None:
        """images, blanks: (batch, channels, height, width). level: whose whole blocks are the leaves of the tree."""
        self.model, self.level = model, level
        (own, self.full), (blank, self.empty) = (_map_and_logits(model, level, inputs) for inputs in (images, blanks))
        self.maps = torch.stack([blank, own])
        depth = len(model.config.depths) - 1 - level
        self.leaf_map, self.side = image_leaves(own.shape[1:3], depth), 2**depth
        self.convolution = model.convolution_of(level + 1)
        if self.convolution is not None:
            self.parts = _convolved_blocks(self.maps, self.convolution, self.side)

    def logits(self, questions: Sequence[Question]) -> Tensor:
        device = self.maps.device
        numbers = torch.tensor([image for image, _ in questions], device=device)
        leaves = present_leaves(questions, self.side**2)
        if self.convolution is None:
            present = leaves[:, self.leaf_map].unsqueeze(-1).to(device)
            mixed = torch.where(present, self.maps[1, numbers], self.maps[0, numbers])
            return self.model.classify(self.model.levels_from(self.level, mixed)[-1])
        convolved = self._convolved(numbers, leaves.long().to(device), self.convolution)
        return self.model.classify(self.model.levels_from_convolution(self.level + 1, convolved)[-1])

    def _convolved(self, numbers: Tensor, present: Tensor, convolution: nn.Conv2d) -> Tensor:
        """What the convolution makes of the mixed maps (questions, rows, columns, dim): the sum over their blocks.

        numbers: (questions,), of the images. present: (questions, leaves), 1 where the image's block is taken.
        """
        rows, columns = (side // self.side for side in self.leaf_map.shape)
        before, (high, wide) = int(convolution.padding[0]), self.parts.shape[-2:]
        total = self.parts.new_zeros(
            len(numbers), self.parts.shape[3], *(side + 2 * before for side in self.leaf_map.shape)
        )
        for place in range(self.side**2):
            row, column = divmod(place, self.side)
            leaf = int(self.leaf_map[row * rows, column * columns])
            inside = (..., slice(row * rows, row * rows + high), slice(column * columns, column * columns + wide))
            total[inside] += self.parts[present[:, leaf], numbers, place]
        if before:
            total = total[..., before:-before, before:-before]
        if convolution.bias is not None:
            total = total + convolution.bias[:, None, None]
        return total.permute(0, 2, 3, 1)


def _map_and_logits(model: Nest, level: int, images: Tensor) -> tuple[Tensor, Tensor]:
    """The feature map of a level, and the logits."""
    found = []
    for part in images.split(together(images)):
        maps = model.levels(part)
        found.append((maps[level], model.classify(maps[-1])))
    maps, logits = zip(*found, strict=True)
    return torch.cat(maps), torch.cat(logits)


def _convolved_blocks(maps: Tensor, convolution: nn.Conv2d, side: int) -> Tensor:
    """What a convolution makes of every block alone, with zeros around it and without its bias.

    maps: (2, batch, rows, columns, dim). Returns (2, batch, side * side blocks row by row, dim, rows, columns): a
    block's with as much around it as the window reaches.
    """
    blocks = maps.unflatten(3, (side, -1)).unflatten(2, (side, -1)).permute(0, 1, 2, 4, 6, 3, 5)
    reach = convolution.kernel_size[0] - 1
    convolved = F.conv2d(blocks.flatten(0, 3), convolution.weight, padding=reach)
    return convolved.unflatten(0, (*maps.shape[:2], side**2))


def local_level(model: object, depth: int) -> int | None:
    """The coarsest level of a model in which the blocks of a depth are whole and have seen nothing but their square.

    None where no level does: every model but NesT mixes blocks from its first layers on, or in other shapes.
    """
    level = len(model.config.depths) - 1 - depth if isinstance(model, Nest) else -1
    return level if level >= 0 else None


def cost_of(model: Nest, level: int) -> Cost:
    """What coalitions on a level cost, by multiply-adds."""
    return _cost(model.config, level)


@cache  # counting takes longer than a coalition of a small model
def _cost(config: NestConfig, level: int) -> Cost:
    empty = cast(Nest, build_empty(config).eval())
    images = torch.empty(1, config.in_channels, *config.input_size, device="meta")
    made: list[ExchangedFeatures] = []
    fixed = count_multiply_adds(lambda: made.append(ExchangedFeatures(empty, level, images, images)))
    each = count_multiply_adds(lambda: made[0].logits([(0, 1)]))
    whole = count_multiply_adds(lambda: empty(images))
    return Cost(each / whole, fixed / whole)
