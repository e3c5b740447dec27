"""Losses of several classes a sample and of numbers, each with one value a sample, so that samples can be weighted."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from hvit.errors import UserError
from hvit.labels import LabelKind

LossName = Literal["auto", "cross_entropy", "binary_cross_entropy", "asymmetric", "huber"]
LOSSES: dict[LabelKind, tuple[LossName, ...]] = {
    "single": ("cross_entropy",),
    "multi": ("binary_cross_entropy", "asymmetric"),
    "ordinal": ("cross_entropy",),
    "regression": ("huber",),
}
"""The losses of each kind of labels; the first is that of `auto`."""
_FOCUS, _MARGIN = 4, 0.05


def chosen_loss(name: LossName, kind: LabelKind) -> LossName:
    """The loss that a name stands for. Raises UserError for one that does not belong to the labels."""
    fitting = LOSSES[kind]
    if name == "auto":
        return fitting[0]
    if name not in fitting:
        raise UserError(f"loss {name} is not for {kind} labels: choose {' or '.join(fitting)}, or auto")
    return name


def binary_cross_entropy(logits: Tensor, targets: Tensor, positive_weights: Tensor | None = None) -> Tensor:
    """Cross entropy of yes and no, the mean over classes: (batch,).

    logits, targets: (batch, classes), targets from 0 to 1. positive_weights: (classes,), what yes weighs.
    """
    losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none", pos_weight=positive_weights)
    return losses.mean(dim=1)


def asymmetric(logits: Tensor, targets: Tensor, positive_weights: Tensor | None = None) -> Tensor:
    """The asymmetric loss, which lets easy absent classes count little: (batch,), the mean over classes.

    Arguments as of `binary_cross_entropy`. Source: Ridnik et al. 2021, "Asymmetric loss for multi-label
    classification", equations 4 to 7, with gamma+ = 0, gamma- = 4 and the margin 0.05. Of soft targets it is the mean
    of both losses.
    """
    present = F.logsigmoid(logits)
    shifted = (logits.sigmoid() - _MARGIN).clamp_min(0)
    absent = shifted**_FOCUS * (1 - shifted).clamp_min(1e-8).log()
    weighted = targets * present if positive_weights is None else targets * present * positive_weights
    return -(weighted + (1 - targets) * absent).mean(dim=1)


def huber(outputs: Tensor, targets: Tensor) -> Tensor:
    """The Huber loss, the mean over numbers: (batch,). Quadratic up to 1, linear beyond (Huber 1964).

    outputs, targets: (batch, numbers), standardised.
    """
    return F.huber_loss(outputs, targets, reduction="none").mean(dim=1)


def weighted_mean(losses: Tensor, weights: Tensor | None) -> Tensor:
    """The mean of the losses (batch,), each times the weight of its sample, whose mean over the data set is 1."""
    return losses.mean() if weights is None else (losses * weights).mean()
