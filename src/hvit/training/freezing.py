"""Freezing: which layers of a network keep their weights while the rest is trained."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from hvit.errors import UserError

NOTHING = "none"
FREEZE = re.compile(r"none|stem|encoder|levels:[1-9]\d{0,2}")
"""What `optimize.freeze` may be."""


def freeze(network: nn.Module, how: str) -> tuple[nn.Module, ...]:
    """Takes layers out of training, from the image up: their parameters get no gradients, and none are computed there.

    how: "none"; "stem"; "levels:N", the stem and the first N levels; or "encoder", all but the final norm and the head.
    Returns the modules whose parameters are all frozen: they are to stay in evaluation mode, so that batch norms keep
    their statistics and no layer of them is dropped.
    Raises UserError for a network without levels, and for more levels than it has.
    """
    if how == NOTHING:
        return ()
    inner: Any = network
    if not hasattr(inner, "level_of"):
        raise UserError(f"optimize.freeze {how} is for encoders; a {type(network).__name__} has no levels")
    depths = getattr(inner.config, "encoder", inner.config).depths
    layers = {name: inner.level_of(name) for name, _ in network.named_parameters()}
    highest = _highest_frozen(how, depths, max(layers.values()))
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(layers[name] > highest)
    return tuple(module for module in network.modules() if _is_frozen(module))


def _highest_frozen(how: str, depths: tuple[int, ...], head: int) -> int:
    """The highest layer that is frozen, counted as `level_of` does."""
    if how == "stem":
        return 0
    if how == "encoder":
        return head - 1
    count = int(how.removeprefix("levels:"))
    if count > len(depths):
        raise UserError(f"optimize.freeze {how}: the model has {len(depths)} levels; at most levels:{len(depths)}")
    return sum(depths[:count])


def _is_frozen(module: nn.Module) -> bool:
    parameters = list(module.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)


def count_trained(network: nn.Module) -> int:
    """Number of parameters that are trained, shared ones once."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
