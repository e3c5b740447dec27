"""Optimizer, learning-rate schedule and parameter groups, as the published recipes have them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from hvit.errors import UserError, check_choices
from hvit.training.distribute import is_shard
from hvit.training.freezing import FREEZE, NOTHING


@dataclass(frozen=True)
class OptimizeConfig:
    """How the weights are changed: AdamW, or SGD, with warm-up and a cosine schedule."""

    method: Literal["adamw", "sgd"] = "adamw"
    """AdamW, or SGD with momentum, which the published runs on Something-Something use."""

    learning_rate_per_256: float = 2.5e-4
    """Peak learning rate for 256 images a step; it scales linearly with the images a step really has."""
    final_learning_rate_per_256: float = 0.0
    """Learning rate at the end of the cosine; it scales as the peak does."""
    start_learning_rate_per_256: float = 0.0
    """Learning rate of the first step, from which the warm-up rises to the peak; it scales as the peak does."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's decay rates of the gradient's mean and square; the first is SGD's momentum."""
    nesterov: bool = False
    """With SGD: Nesterov's momentum, as SlowFast and its recipes have it."""
    epsilon: float = 1e-8
    """AdamW's epsilon."""
    weight_decay: float = 0.05
    """Weight decay: decoupled in AdamW, part of the gradient in SGD."""
    no_decay: Literal["positions", "vectors", "positions_and_vectors"] = "positions"
    """What is not decayed: position embeddings (official NesT), biases and norms (MViT), or both (MAE, Hiera)."""
    warmup_epochs: float = 20.0
    """Epochs in which the learning rate rises linearly from its start to its peak."""
    freeze: str = "none"
    """Layers that are not trained: none; stem; levels:N (the stem and the first N levels); layers:N (the stem and the
    first N layers); encoder (all but the final norm and the head). No gradients are computed for them."""
    unfreeze_epochs: float = 0.0
    """Gradual unfreezing: every so many epochs one more level is trained of those that freeze names, from the top, the
    stem last; in models of one level, one more layer. 0: they stay frozen."""
    layer_decay: float = 1.0
    """Factor on the learning rate per layer from the head down to the stem; 1 gives all layers the same rate."""
    layer_decay_from: Literal["head", "last_layer"] = "head"
    """What is trained at the full rate: the head alone (BEiT, MAE), or the last layer as well (Hiera)."""
    clip_norm: float = 0.0
    """Gradients are scaled down to this norm; 0 leaves them alone."""
    average_decay: float = 0.0
    """Decay of the running average of the weights that is evaluated and saved in their stead; 0: no average."""

    def __post_init__(self) -> None:
        check_choices(self)
        if not FREEZE.fullmatch(self.freeze):
            raise UserError(
                f"optimize.freeze must be none, stem, encoder, levels:N or layers:N, as levels:2; got {self.freeze!r}"
            )
        if self.unfreeze_epochs and self.freeze == NOTHING:
            raise UserError(
                f"optimize.unfreeze_epochs {self.unfreeze_epochs:g} releases what optimize.freeze holds, now none: "
                f"set optimize.freeze to encoder, levels:N, layers:N or stem"
            )
        for name in ("weight_decay", "warmup_epochs", "unfreeze_epochs", "clip_norm", "epsilon"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise UserError(f"optimize.{name} must be 0 or more; got {getattr(self, name)}")
        if not 0.0 < self.learning_rate_per_256 < math.inf:
            raise UserError(f"optimize.learning_rate_per_256 must be above 0; got {self.learning_rate_per_256}")
        for name in ("final_learning_rate_per_256", "start_learning_rate_per_256"):
            if not 0.0 <= getattr(self, name) <= self.learning_rate_per_256:
                raise UserError(
                    f"optimize.{name} must be from 0 to learning_rate_per_256 {self.learning_rate_per_256}; "
                    f"got {getattr(self, name)}"
                )
        if self.nesterov and (self.method != "sgd" or not self.betas[0]):
            raise UserError(
                "optimize.nesterov needs optimize.method sgd and a momentum (the first of optimize.betas) above 0; "
                f"got {self.method} and {self.betas[0]}"
            )
        if not 0.0 < self.layer_decay <= 1.0:
            raise UserError(f"optimize.layer_decay must be above 0 and at most 1; got {self.layer_decay}")
        if not all(0.0 <= rate < 1.0 for rate in (*self.betas, self.average_decay)):
            raise UserError("optimize.betas and optimize.average_decay must be at least 0 and below 1")

    @property
    def always_frozen(self) -> str:
        """What is never trained, as `freeze` says it: nothing where layers are released one after another."""
        return NOTHING if self.unfreeze_epochs else self.freeze

    def steps_between_releases(self, steps_per_epoch: int) -> int:
        """Steps from one release of gradual unfreezing to the next; 0 where there are none."""
        return max(1, round(self.unfreeze_epochs * steps_per_epoch)) if self.unfreeze_epochs else 0


def learning_rate_at(
    step: int, peak: float, warmup_steps: float, total_steps: int, final: float = 0.0, start: float = 0.0
) -> float:
    """Learning rate of a step: from `start` to `peak` in the warm-up, then by half a cosine to `final`.

    The schedule of the official NesT (train.py) and, with a start and a final rate, of the official MViT. step counts
    from 0.
    """
    progress = max(0.0, step - warmup_steps) / max(1.0, total_steps - warmup_steps)
    warm = min(1.0, step / warmup_steps) if warmup_steps else 1.0
    cosine = math.cos(math.pi * min(1.0, progress))
    risen = peak * warm * 0.5 * (1.0 + cosine) + final * warm * 0.5 * (1.0 - cosine)
    return risen + start * (1.0 - warm)


def make_optimizer(network: nn.Module, config: OptimizeConfig) -> torch.optim.Optimizer:
    """AdamW or SGD over a network's parameters, grouped by decay and by learning-rate factor ("scale" of a group).

    With layer decay d the head's factor is 1 and each layer nearer the image has d times the next one's, counted by
    the network's `level_of` (BEiT, arXiv 2106.08254). Counted from the last layer instead, that layer's factor is 1,
    too, and every layer below has one factor d less.
    """
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for decayed, scale, parameter in _sorted_parameters(network, config):
        groups.setdefault((decayed, scale), []).append(parameter)
    described = [
        {"params": parameters, "scale": scale, "weight_decay": config.weight_decay if decayed else 0.0}
        for (decayed, scale), parameters in groups.items()
    ]
    if config.method == "sgd":
        fused = not any(is_shard(parameter) for parameter in network.parameters())  # torch has it for AdamW
        return torch.optim.SGD(described, lr=0.0, momentum=config.betas[0], nesterov=config.nesterov, fused=fused)
    return torch.optim.AdamW(described, lr=0.0, betas=config.betas, eps=config.epsilon, fused=True)


def _sorted_parameters(network: nn.Module, config: OptimizeConfig) -> Iterator[tuple[bool, float, nn.Parameter]]:
    named = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
    levels: dict[str, int] = {}
    if config.layer_decay < 1.0:
        levels = {name: network.level_of(name) for name, _ in named}  # pyright: ignore[reportCallIssue]
    full = max(levels.values(), default=0) - (config.layer_decay_from == "last_layer")
    for name, parameter in named:
        is_position = name.endswith(("positions", "pos_embed")) and config.no_decay != "vectors"
        is_vector = parameter.ndim <= 1 and config.no_decay != "positions"
        scale = config.layer_decay ** max(full - levels[name], 0) if levels else 1.0
        yield not (is_position or is_vector), scale, parameter


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Gives every parameter group the learning rate times its own factor."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["scale"]
