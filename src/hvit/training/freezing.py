"""Freezing: which layers of a network keep their weights while the rest is trained, for good or up to a step."""

from __future__ import annotations

import re
from itertools import accumulate
from typing import Any

from torch import nn

from hvit.errors import UserError

NOTHING = "none"
FREEZE = re.compile(r"none|stem|encoder|(levels|layers):[1-9]\d{0,2}")
"""What `optimize.freeze` may be."""


def freeze(network: nn.Module, how: str, released: int = 0) -> tuple[nn.Module, ...]:
    """Takes layers out of training, from the image up: their parameters get no gradients, and none are computed there.

    how: "none"; "stem"; "levels:N", the stem and the first N levels; "layers:N", the stem and the first N layers; or
    "encoder", all but the final norm and the head. released: how many levels have been released again, from the top (of
    a network of one level: layers); the stem comes last.
    Returns the modules whose parameters are all frozen: they are to stay in evaluation mode, so that batch norms keep
    their statistics and no layer of them is dropped.
    Raises UserError for a network without levels, and for more levels or layers than it has.
    """
    if how == NOTHING:
        return ()
    layers, stages = _layers(network, how), highest_frozen(network, how)
    highest = stages[min(released, len(stages) - 1)]
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(layers[name] > highest)
    return tuple(module for module in network.modules() if _is_frozen(module))


def highest_frozen(network: nn.Module, how: str) -> tuple[int, ...]:
    """The highest frozen layer, counted as `level_of` does, after every release from 0 on; at last -1, for none."""
    layers, depths = _layers(network, how), _depths(network)
    head = max(layers.values())
    first = _highest(how, depths, head)
    ends = accumulate(depths) if len(depths) > 1 else range(1, sum(depths) + 1)
    return (first, *sorted((end for end in {0, *ends} if end < first), reverse=True), -1)


def _layers(network: nn.Module, how: str) -> dict[str, int]:
    """The layer of every parameter."""
    inner: Any = network
    if not hasattr(inner, "level_of"):
        raise UserError(f"optimize.freeze {how} is for encoders; a {type(network).__name__} has no levels")
    layers = {name: inner.level_of(name) for name, _ in network.named_parameters()}
    if max(layers.values()) == 0:
        raise UserError(
            f"optimize.freeze {how} needs to know which layer a parameter is in, and this {type(network).__name__} "
            f"does not say so"
        )
    return layers


def _depths(network: nn.Module) -> tuple[int, ...]:
    config: Any = network.config
    return getattr(config, "encoder", config).depths


def _highest(how: str, depths: tuple[int, ...], head: int) -> int:
    """The highest layer that is frozen, counted as `level_of` does."""
    if how == "stem":
        return 0
    if how == "encoder":
        return head - 1
    unit, count = how.split(":")[0], int(how.split(":")[1])
    whole = min(sum(depths), head - 1)  # timm counts the head as the last layer
    most = len(depths) if unit == "levels" else whole
    if count > most:
        raise UserError(f"optimize.freeze {how}: the model has {most} {unit}; at most {unit}:{most}")
    return min(sum(depths[:count]), whole) if unit == "levels" else count


def _is_frozen(module: nn.Module) -> bool:
    parameters = list(module.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)


def count_trained(network: nn.Module) -> int:
    """Number of parameters that are trained, shared ones once."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
