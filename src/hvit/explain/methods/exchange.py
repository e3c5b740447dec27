"""A coalition of blocks as an input: blocks that are absent are exchanged for those of a baseline.

Pixels can be exchanged for every model. In a NesT a block of the levels below the top has seen its own square of the
image only, so that its features can be exchanged instead, and only the levels above run again. On the finest level that
is the same as exchanging pixels; on the others its neighbours differ by what the window of an aggregation reads across
the seam, one token wide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from math import prod
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor

from hvit.models.build import build_empty, count_multiply_adds
from hvit.models.catalogue import ModelConfig
from hvit.models.layers.encoder import Encoder
from hvit.models.nest.model import Nest

_PIXELS_AT_ONCE = 16 * 224 * 224
Question = tuple[int, int]
"""The number of an image, and a coalition of its blocks."""


class Exchange(Protocol):
    """Gives the logits of coalitions."""

    def logits(self, questions: Sequence[Question]) -> Tensor:
        """The logits (questions, classes) of coalitions of images."""
        ...


class ExchangedPixels:
    """Exchanges pixels and runs the whole model: for any model."""

    def __init__(self, forward: Callable[[Tensor], Tensor], images: Tensor, blanks: Tensor, leaf_map: Tensor) -> None:
        """images, blanks: (batch, channels, *sizes). leaf_map: (*sizes), the number of each pixel's leaf."""
        self.forward, self.images, self.blanks, self.leaf_map = forward, images, blanks, leaf_map

    def logits(self, questions: Sequence[Question]) -> Tensor:
        numbers = torch.tensor([image for image, _ in questions], device=self.images.device)
        present = presence(questions, self.leaf_map).unsqueeze(1)
        return self.forward(torch.where(present, self.images[numbers], self.blanks[numbers]))


class ExchangedFeatures:
    """Exchanges the feature map of one level and runs the levels above."""

    def __init__(self, model: Encoder, level: int, own: Tensor, blank: Tensor, leaf_map: Tensor) -> None:
        """own, blank: feature maps (batch, rows, columns, dim). leaf_map: (rows, columns), a leaf of each position."""
        self.model, self.level, self.own, self.blank, self.leaf_map = model, level, own, blank, leaf_map

    def logits(self, questions: Sequence[Question]) -> Tensor:
        numbers = torch.tensor([image for image, _ in questions], device=self.own.device)
        present = presence(questions, self.leaf_map).unsqueeze(-1)
        mixed = torch.where(present, self.own[numbers], self.blank[numbers])
        return self.model.classify(self.model.levels_from(self.level, mixed)[-1])


def presence(questions: Sequence[Question], leaf_map: Tensor) -> Tensor:
    """Where coalitions are present: bool (questions, *sizes of leaf_map)."""
    leaves = int(leaf_map.max()) + 1
    table = torch.tensor([[coalition >> leaf & 1 for leaf in range(leaves)] for _, coalition in questions])
    return table.bool().to(leaf_map.device)[:, leaf_map]


def image_leaves(size: Sequence[int], depth: int) -> Tensor:
    """The leaf of every position of a map (rows, columns), of a tree of quadrants of some depth: (rows, columns).

    Leaves are in the order of their paths. The squares are those of `tree.region_of`.
    """
    rows, columns = (line_parts(side, 2**depth) for side in size)
    number = torch.zeros(rows.numel(), columns.numel(), dtype=torch.int64)
    for shift in reversed(range(depth)):
        number = 4 * number + 2 * (rows >> shift & 1)[:, None] + (columns >> shift & 1)[None]
    return number


def line_parts(side: int, parts: int) -> Tensor:
    """For each of `side` positions of a line, which of its equal parts it is in: (side,)."""
    edges = torch.tensor([side * part // parts for part in range(1, parts)], dtype=torch.int64)
    return torch.bucketize(torch.arange(side), edges, right=True)


def together(images: Tensor) -> int:
    """How many images of such sizes (batch, channels, *sizes) run together."""
    return max(1, _PIXELS_AT_ONCE // prod(images.shape[2:]))


def local_level(model: object, depth: int) -> int | None:
    """The coarsest level of a model in which the blocks of a depth are whole and have seen nothing but their square.

    None where no level does: every model but NesT mixes blocks from its first layers on, or in other shapes.
    """
    level = len(model.config.depths) - 1 - depth if isinstance(model, Nest) else -1
    return level if level >= 0 else None


def share_above(model: Encoder, level: int) -> float:
    """What the levels above a level and the head cost, as a share of a forward pass, by multiply-adds."""
    return _share_above(model.config, level)


@cache  # counting takes longer than a coalition of a small model
def _share_above(config: ModelConfig, level: int) -> float:
    empty = cast(Encoder, build_empty(config).eval())
    images = torch.empty(1, config.in_channels, *config.input_size, device="meta")
    with torch.no_grad():
        feature_map = empty.levels(images)[level]
    upper = count_multiply_adds(lambda: empty.classify(empty.levels_from(level, feature_map)[-1]))
    return upper / count_multiply_adds(lambda: empty(images))


class Worths:
    """The logits of the coalitions of one game, each computed once."""

    def __init__(self, exchange: Exchange, images: Tensor, progress: Callable[[int], None] | None = None) -> None:
        """images: (batch, channels, *sizes); how large they are decides how many coalitions run together."""
        self.exchange, self.progress = exchange, progress
        self.together = together(images)
        self.known: dict[Question, np.ndarray] = {}

    def learn(self, coalition: int, logits: Tensor) -> None:
        """Takes the logits (batch, classes) of a coalition of every image from elsewhere."""
        for image, row in enumerate(logits.cpu().numpy()):
            self.known[image, coalition] = row

    def ask(self, questions: Iterable[Question]) -> int:
        """Computes the logits of coalitions that are not known yet; returns their number."""
        new = [one for one in dict.fromkeys(questions) if one not in self.known]
        for start in range(0, len(new), self.together):
            part = new[start : start + self.together]
            self.known.update(zip(part, self.exchange.logits(part).float().cpu().numpy(), strict=True))
            if self.progress:
                self.progress(len(part))
        return len(new)
