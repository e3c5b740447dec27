"""What a format of third-party checkpoints is: how it is recognised, and how its tensors become ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

State = Mapping[str, Tensor]
Axes = tuple[int, ...]


@dataclass(frozen=True)
class Format:
    """One layout of weights: how its names look, how they become ours, and which model they belong to."""

    name: str
    """What the format is called in reports and messages."""
    pattern: str
    """Regular expression that some name of such a state dict matches from its start; the first such format wins."""
    translate: Callable[[State, Any], dict[str, Tensor]]
    """(state, config of our model) -> tensors under our names; unknown names stay as they are."""
    config: Callable[[State, Axes | None], Any]
    """(state, height and width of the input where known) -> the configuration of the model that the state belongs to,
    or None where names and shapes do not decide."""
    choices: Callable[[State, Any], dict[str, object]] = lambda state, config: {}
    """(state, config of our model that it fits) -> fields of the configuration it was made with that no shape shows."""
    note: Callable[[Any], str] = lambda config: ""
    """config of our model -> a sentence on what does not follow from names and shapes of this format, or nothing."""


def our_format(pattern: str, config: Callable[[State], Any] = lambda state: None) -> Format:
    """The format of our own names, for the families whose names match a pattern."""
    return Format("hvit", pattern, lambda state, _: dict(state), lambda state, _: config(state))


def renamed(name: str, names: Sequence[tuple[str, str]]) -> str:
    """A tensor's name after all replacements (pattern, replacement), one after the other."""
    for pattern, other in names:
        name = re.sub(pattern, other, name)
    return name


def turned_round(names: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The replacements that undo others: ours back to theirs, in the opposite order.

    names: as `renamed` takes them. Patterns hold literals, anchors and groups, and every group is copied. A row
    that drops what it matched has no way back, and must not be among them.
    """
    return tuple(_turned(pattern, other) for pattern, other in reversed(names))


def _turned(pattern: str, other: str) -> tuple[str, str]:
    start, end = pattern.startswith("^"), pattern.endswith("$")
    body = pattern[start : len(pattern) - end]
    groups = re.findall(r"\([^()]*\)", body)
    copied = re.findall(r"\\(\d)", other)
    can_return = bool(other) and len(copied) == len(groups) and not re.search(r"\)\?|\(\?", body)
    assert can_return, f"{pattern} has no way back"
    numbers = iter(range(1, len(groups) + 1))
    theirs = re.sub(r"\([^()]*\)", lambda _: f"\\{next(numbers)}", body).replace(r"\.", ".")
    pieces = re.split(r"\\(\d)", other)
    ours = "".join(groups[int(one) - 1] if place % 2 else re.escape(one) for place, one in enumerate(pieces))
    return f"{'^' * start}{ours}{'$' * end}", theirs


def in_stages(state: State, depths: Sequence[int], start: str) -> dict[str, Tensor]:
    """The inverse of `in_one_row`. start: of a block's names, with "{stage}" and "{place}"."""
    places = [(stage, place) for stage, depth in enumerate(depths) for place in range(depth)]
    counted = {}
    for name, tensor in state.items():
        found = re.match(r"blocks\.(\d+)\.", name)
        if found:
            stage, place = places[int(found[1])]
            name = f"{start.format(stage=stage, place=place)}{name[found.end() :]}"
        counted[name] = tensor
    return counted


def in_one_row(state: State, pattern: str) -> dict[str, Tensor]:
    """A state dict whose blocks, named by stage and place, are counted through: "blocks.<number>." and the rest.

    pattern: matches the start of a block's names, with the stage and the place in it as its two groups.
    """
    layer = re.compile(pattern)
    places = {(int(found[1]), int(found[2])) for name in state if (found := layer.match(name))}
    row = {place: number for number, place in enumerate(sorted(places))}
    counted = {}
    for name, tensor in state.items():
        found = layer.match(name)
        if found:
            name = f"blocks.{row[int(found[1]), int(found[2])]}.{name[found.end() :]}"
        counted[name] = tensor
    return counted
