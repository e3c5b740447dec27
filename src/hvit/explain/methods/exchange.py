"""A coalition of blocks as an input: blocks that are absent are exchanged for those of a baseline, or removed.

Pixels can be exchanged for every model. `exchanged_features` does it in the middle of a NesT, `removed_units` lets a
model compute the present mask units only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

_PIXELS_AT_ONCE = 16 * 224 * 224
Question = tuple[int, int]
"""The number of an image, and a coalition of its blocks."""


class Cost(NamedTuple):
    """What logits cost, in forward passes of the whole model."""

    each: float = 1.0
    """Of one coalition."""
    fixed: float = 2.0
    """Of an image and its baseline, with all that is computed once for the coalitions."""


class Exchange(Protocol):
    """Gives the logits of coalitions of some images."""

    full: Tensor
    """Logits (batch, classes) of the images."""
    empty: Tensor
    """Logits (batch, classes) with all blocks absent."""

    def logits(self, questions: Sequence[Question]) -> Tensor:
        """The logits (questions, classes) of coalitions of images."""
        ...


Make = Callable[[Tensor, Tensor], Exchange]
"""Makes an exchange from images and their baselines (batch, channels, *sizes)."""


class ExchangedPixels:
    """Exchanges pixels and runs the whole model: for any model."""

    def __init__(self, forward: Callable[[Tensor], Tensor], leaf_map: Tensor, images: Tensor, blanks: Tensor) -> None:
        """images, blanks: (batch, channels, *sizes). leaf_map: (*sizes), the number of each pixel's leaf."""
        self.forward, self.leaf_map, self.images, self.blanks = forward, leaf_map, images, blanks
        self.full, self.empty = (in_parts(forward, inputs) for inputs in (images, blanks))

    def logits(self, questions: Sequence[Question]) -> Tensor:
        return self.forward(mixed(questions, self.leaf_map, self.images, self.blanks))


def mixed(questions: Sequence[Question], leaf_map: Tensor, images: Tensor, blanks: Tensor) -> Tensor:
    """Images with the baseline's pixels where blocks are absent: (questions, channels, *sizes)."""
    numbers = torch.tensor([image for image, _ in questions], device=images.device)
    present = presence(questions, leaf_map).unsqueeze(1).to(images.device)
    return torch.where(present, images[numbers], blanks[numbers])


def in_parts(function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """What a function gives for images, asked for as many at a time as run together."""
    return torch.cat([function(part) for part in images.split(together(images))])


def presence(questions: Sequence[Question], leaf_map: Tensor) -> Tensor:
    """Where coalitions are present: bool (questions, *sizes of leaf_map)."""
    return present_leaves(questions, int(leaf_map.max()) + 1)[:, leaf_map]


def present_leaves(questions: Sequence[Question], leaves: int) -> Tensor:
    """Which leaves of a tree are present in coalitions: bool (questions, leaves)."""
    return torch.tensor([[bool(coalition >> leaf & 1) for leaf in range(leaves)] for _, coalition in questions])


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


class Worths:
    """The logits of the coalitions of one game, each computed once."""

    def __init__(
        self,
        exchange: Exchange,
        arities: Sequence[int],
        images: Tensor,
        cost: Cost,
        progress: Callable[[float], object] | None = None,
    ) -> None:
        """images: (batch, channels, *sizes); how large they are decides how many coalitions run together.

        cost: of the exchange. progress: called with the forward passes that were spent since the last call.
        """
        self.exchange, self.cost, self.progress = exchange, cost, progress
        self.together = together(images)
        self.known: dict[Question, np.ndarray] = {}
        self.learn((1 << prod(arities)) - 1, exchange.full)
        self.learn(0, exchange.empty)
        if progress:
            progress(len(images) * cost.fixed)

    def learn(self, coalition: int, logits: Tensor) -> None:
        """Takes the logits (batch, classes) of a coalition of every image from elsewhere."""
        for image, row in enumerate(logits.float().cpu().numpy()):
            self.known[image, coalition] = row

    def ask(self, questions: Iterable[Question]) -> int:
        """Computes the logits of coalitions that are not known yet; returns their number."""
        new = [one for one in dict.fromkeys(questions) if one not in self.known]
        for start in range(0, len(new), self.together):
            part = new[start : start + self.together]
            self.known.update(zip(part, self.exchange.logits(part).float().cpu().numpy(), strict=True))
            if self.progress:
                self.progress(len(part) * self.cost.each)
        return len(new)
