"""Coalitions of blocks as a masked autoencoder's encoder sees them: absent mask units are removed, not exchanged.

A Hiera computes the visible mask units and nothing else, and so does an MViT whose pooling stays inside its units. A
coalition is then a real input of fewer tokens, such as masked pretraining consists of. A unit is removed when all of it
is absent; in a unit that the border of a block cuts, the absent pixels are the baseline's.

Nothing visible is no input that a model takes. In its place stands the mean of the logits of the baseline's mask units,
each visible alone: the smallest inputs there are, with nothing of the image. What it is changes the values of four
siblings equally, and so no path: it only enters through what each of them adds to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor, nn

from hvit.explain.methods.exchange import Cost, Question, in_parts, mixed, present_leaves, together
from hvit.models.hiera.model import Hiera
from hvit.models.layers.masking import Mask
from hvit.models.mvit.model import Mvit

Remover = Hiera | Mvit


class RemovedUnits:
    """Runs a model on the mask units of which something is present."""

    def __init__(
        self, model: Remover, forward: Callable[[Tensor], Tensor], leaf_map: Tensor, images: Tensor, blanks: Tensor
    ) -> None:
        """images, blanks: (batch, channels, *sizes). leaf_map: (*sizes), the number of each pixel's leaf."""
        self.model, self.leaf_map, self.images, self.blanks = model, leaf_map, images, blanks
        self.full = in_parts(forward, images)
        self.empty = torch.cat([self._of_single_units(blank) for blank in blanks]) if len(blanks) else self.full
        self.touched = leaves_touched(model, leaf_map)

    def logits(self, questions: Sequence[Question]) -> Tensor:
        present = present_leaves(questions, self.touched.shape[-1])
        visible = (self.touched & present.view(len(present), *(1,) * (self.leaf_map.ndim), -1)).any(-1)
        counts = visible.flatten(1).sum(1).tolist()
        logits: list[Tensor] = [self.full] * len(questions)
        for count in sorted(set(counts)):  # a batch has as many visible units in every sample
            chosen = [number for number, one in enumerate(counts) if one == count]
            inputs = mixed([questions[one] for one in chosen], self.leaf_map, self.images, self.blanks)
            for number, row in zip(chosen, self._run(inputs, visible[chosen]), strict=True):
                logits[number] = row
        return torch.stack(logits)

    def _run(self, inputs: Tensor, visible: Tensor) -> Tensor:
        return self.model.classify(self.model.levels(inputs, Mask(visible.to(inputs.device)))[-1])

    def _of_single_units(self, blank: Tensor) -> Tensor:
        """The mean logits (1, classes) of one baseline's mask units, each visible alone."""
        grid = self.model.config.unit_grid
        alone = torch.eye(prod(grid), dtype=torch.bool).view(-1, *grid)
        logits = [self._run(blank.expand(len(part), *blank.shape), part) for part in alone.split(together(blank[None]))]
        return torch.cat(logits).float().mean(0, keepdim=True)


def removes_units(model: nn.Module) -> bool:
    """Whether a model can compute some of its mask units alone and classify them."""
    return isinstance(model, Hiera) or (isinstance(model, Mvit) and model.config.unit_size is not None)


def leaves_touched(model: Remover, leaf_map: Tensor) -> Tensor:
    """Which leaves of a tree each mask unit has a part of: bool (*mask units, leaves)."""
    touched = torch.nn.functional.one_hot(leaf_map).bool()
    for axis, units in enumerate(model.config.unit_grid):
        touched = touched.unflatten(axis, (units, -1)).any(axis + 1)
    return touched


def cost_of(model: Remover, leaf_map: Tensor) -> Cost:
    """What coalitions cost at most, by mask units: one is computed in all coalitions but those without its leaves."""
    return Cost(1 - float((0.5 ** leaves_touched(model, leaf_map).sum(-1)).mean()))
