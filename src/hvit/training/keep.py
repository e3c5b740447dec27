"""Which weights a run delivers: those of its last step, those of the best evaluation, or a mean; and when it stops."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from hvit.training.state_file import State

Keep = Literal["last", "best", "average"]
AVERAGED_FROM = 0.75
"""Share of the planned steps from which `average` takes the mean of the weights of all evaluations."""
_NUMBERS: Mapping[str, type | tuple[type, ...]] = {
    "step": int, "score": (int, float), "loss": (int, float), "stale": int, "count": int, "weights": dict
}  # fmt: skip
Weights = dict[str, dict[str, Tensor]]


class Kept:
    """What a run keeps of its evaluations: a function of their steps, scores and losses, in their order.

    keep: see `LoopConfig.keep`. lower_is_better: the direction of the score. total_steps: the planned steps. step,
    score, loss: of the best evaluation so far; step 0 before the first. stale: evaluations since then. count: how many
    evaluations are in the mean. weights: of the best evaluation, or the mean, on the CPU, by network; {} for `last`.
    """

    def __init__(self, keep: Keep, lower_is_better: bool, total_steps: int) -> None:
        self.keep, self.lower_is_better, self.total_steps = keep, lower_is_better, total_steps
        self.step = self.stale = self.count = 0
        self.score, self.loss = math.inf if lower_is_better else -math.inf, math.inf
        self.weights: Weights = {}

    def take(self, step: int, score: float, loss: float, networks: Mapping[str, nn.Module]) -> bool:
        """Takes note of an evaluation; returns whether its weights are the best so far.

        The first evaluation is. Later ones are if their score is better, or equal with a lower loss.
        """
        is_better = self.step == 0 or self._rank(score, loss) > self._rank(self.score, self.loss)
        if is_better:
            self.step, self.score, self.loss, self.stale = step, float(score), float(loss), 0
        else:
            self.stale += 1
        if self.keep == "best" and is_better:
            self.weights = weights_of(networks)
        if self.keep == "average" and step >= AVERAGED_FROM * self.total_steps:
            self._average(weights_of(networks))
        return is_better

    def _rank(self, score: float, loss: float) -> tuple[float, float]:
        """What is compared: larger is better; what is not a number is worst."""
        ranked = -score if self.lower_is_better else score
        return -math.inf if math.isnan(ranked) else ranked, -math.inf if math.isnan(loss) else -loss

    def _average(self, newest: Weights) -> None:
        self.count += 1
        if self.count == 1:
            self.weights = newest
            return
        for name, tensors in newest.items():
            mine = self.weights[name]
            for key, tensor in tensors.items():
                if tensor.is_floating_point():
                    mine[key].lerp_(tensor, 1 / self.count)
                else:
                    mine[key] = tensor

    def deliver(self, networks: Mapping[str, nn.Module]) -> None:
        """Gives networks the weights that the run delivers."""
        for name, tensors in self.weights.items():
            networks[name].load_state_dict(tensors)

    def state_dict(self) -> State:
        """What `load_state_dict` continues from."""
        return {name: getattr(self, name) for name in _NUMBERS}

    def load_state_dict(self, state: State) -> None:
        """Continues from what was saved. Raises KeyError or TypeError for anything else."""
        for name, kind in _NUMBERS.items():
            if not isinstance(state[name], kind):
                raise TypeError(f"{name} is a {type(state[name]).__name__}")
        for name in _NUMBERS:
            setattr(self, name, state[name])


@torch.no_grad()
def weights_of(networks: Mapping[str, nn.Module]) -> Weights:
    """Copies of the weights and buffers of networks, on the CPU."""
    return {
        name: {key: value.detach().to("cpu", copy=True) for key, value in network.state_dict().items()}
        for name, network in networks.items()
    }
