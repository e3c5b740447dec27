"""One image whose blocks are hidden on request: block Shapley's blocks, baselines and coalitions, kept for more asking.

The values of one class and what the model says with blocks hidden come from the same coalitions. What was computed for
one class is not computed again for the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.explain.methods.baseline_images import Baseline, name_of
from hvit.explain.methods.block_shapley import Progress, asking, planned, trees_of
from hvit.explain.methods.coalitions import everything
from hvit.explain.methods.exchange import Worths, image_leaves
from hvit.explain.methods.request import check_logits, evaluating
from hvit.explain.methods.solution import passes, solve
from hvit.explain.tree import Absent, Tree

Cell = tuple[int, int]
"""Row and column of one of the smallest blocks."""


class HiddenBlocks:
    """An image, its blocks, and the logits of the coalitions that were asked for."""

    def __init__(
        self,
        model: nn.Module | Callable[[Tensor], Tensor],
        image: Tensor,
        *,
        baseline: Baseline = "mean",
        budget: float | None = None,
        absent: Absent = "exchanged",
        temperature: float = 1.0,
    ) -> None:
        """image: (channels, height, width), normalised as the model expects. The rest is as in `block_shapley`.

        Raises UserError as `block_shapley` does.
        """
        with asking(model, image, 2, None, 1, baseline, budget, absent) as asked:
            self.arities, self.modes, way = planned(asked, None, True)
            exchange = way.make(asked.images, asked.blanks)
            check_logits(exchange.full.float())
            if not torch.isfinite(exchange.empty).all():
                raise UserError("the model's logits of the baseline are not finite numbers: choose another baseline")
            self._worths = Worths(exchange, self.arities, asked.images, way.cost)
        self._network, self._limit, self._temperature = asked.network, asked.limit, temperature
        self._absent: Absent = absent
        self.baseline_name = name_of(baseline)
        self.baseline = asked.blanks[0]
        """What stands in the place of hidden blocks (channels, height, width), normalised as the image."""
        self.side = 2 ** len(self.modes)
        """How many of the smallest blocks are next to each other; the image has the square of it."""
        self._size = asked.images.shape[-2], asked.images.shape[-1]

    def logits(self, hidden: Iterable[Cell] = ()) -> Tensor:
        """The logits (classes,), float32 on the CPU, with some of the smallest blocks hidden.

        Raises UserError for a block that the image does not have.
        """
        leaves, present = image_leaves((self.side, self.side), len(self.modes)), everything(self.arities)
        for row, column in hidden:
            if not (0 <= row < self.side and 0 <= column < self.side):
                raise UserError(f"the image has blocks of rows and columns 0 to {self.side - 1}; got {row}, {column}")
            present &= ~(1 << int(leaves[row, column]))
        known = self._worths.known.get((0, present))
        if known is not None:
            return torch.from_numpy(known)
        with evaluating(self._network), torch.inference_mode():
            return self._worths.exchange.logits([(0, present)])[0].float().cpu()

    def trees(self, classes: Sequence[int], progress: Progress | None = None) -> list[Tree]:
        """The trees of classes, as `block_shapley` gives them.

        progress: called with the forward passes that were spent since the last call; what it raises ends the work.
        """
        count = len(self._worths.known[0, 0])
        if wrong := [one for one in classes if not 0 <= one < count]:
            raise UserError(f"class index {wrong[0]} is out of range: the model has classes 0 to {count - 1}")
        self._worths.progress = progress
        with evaluating(self._network), torch.inference_mode():
            (solution,) = solve(self._worths, self.arities, self.modes, [list(classes)], self._limit)
        # The work of the whole explanation, whoever has asked for a part of it before.
        solution.passes = max(solution.passes, passes(self.arities, self.modes, self._worths.cost))
        return trees_of(solution, self._size, self.baseline_name, self._absent, self._temperature)
