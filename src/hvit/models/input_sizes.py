"""The input size that a weights file was made for, where it is stated, and the token grid of that size."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from math import isqrt, prod
from pathlib import Path

from torch import Tensor

Axes = tuple[int, ...]

_STATED = "hvit"
# Where training programs keep the size, nearest to the model first; timm's default comes last.
_PARTS = ("model_args", "args", "config", "cfg", "hyper_parameters", "pretrained_cfg")
_FIELDS = ("img_size", "image_size", "input_size")


def with_input_size(state: Mapping[str, Tensor], input_size: Axes) -> OrderedDict[str, Tensor]:
    """A state dict that states the input size of its model, in the place where torch keeps the versions of modules.

    torch saves and loads it with the tensors, and no `load_state_dict` minds it.
    """
    stated = OrderedDict(state)
    stated._metadata = {_STATED: {"input_size": list(input_size)}}  # pyright: ignore[reportAttributeAccessIssue]
    return stated


def stated_input_size(loaded: object) -> Axes | None:
    """Height and width of the input, as what a checkpoint holds with its tensors says, or None.

    loaded: the whole checkpoint, or a configuration such as config.json of transformers and timm: `with_input_size`,
    or an entry "img_size", "image_size" or "input_size", in it, in its state dicts or in the arguments of the training.
    """
    parts = [loaded, *(_entry(loaded, name) for name in _PARTS)]
    states = [loaded, *loaded.values()] if isinstance(loaded, Mapping) else []
    marked = [_entry(getattr(state, "_metadata", None), _STATED) for state in states]
    for part in (*marked, *parts):
        for name in _FIELDS:
            size = _size(_entry(part, name))
            if size:
                return size
    return None


def input_size_beside(file: Path) -> Axes | None:
    """The input size that a config.json in the folder of a weights file states, or None."""
    config = file.parent / "config.json"
    try:
        readable = config.is_file() and config.stat().st_size < 1_000_000
        return stated_input_size(json.loads(config.read_bytes())) if readable else None
    except (OSError, ValueError, RecursionError):
        return None


def grid_at(entries: int, input_size: Sequence[int], patch: Sequence[int] = ()) -> Axes | None:
    """Rows and columns of that many tokens in an input of that height and width, or None where none fit.

    patch: pixels from token to token; default: any number that is the same along both axes.
    """
    size = tuple(input_size)[-2:]
    steps = [tuple(patch)[-2:]] if patch else [(one, one) for one in range(1, max(size) + 1)]
    for more in (1, 0):  # a padded stem makes a token of what is left over, others do not
        for step in steps:
            grid = tuple((side + more * (one - 1)) // one for side, one in zip(size, step, strict=True))
            if prod(grid) == entries:
                return grid
    return None


def square(entries: int) -> Axes | None:
    """Rows and columns of a square of that many tokens, or None."""
    side = isqrt(entries)
    return (side, side) if side * side == entries else None


def _entry(part: object, name: str) -> object:
    return part.get(name) if isinstance(part, Mapping) else getattr(part, name, None)


def _size(value: object) -> Axes | None:
    """Height and width out of a number, or out of a list that may begin with frames or channels."""
    sides = (value, value) if type(value) is int else value
    if not isinstance(sides, list | tuple) or len(sides) not in (2, 3) or any(type(side) is not int for side in sides):
        return None
    return tuple(sides[-2:]) if min(sides) > 0 and max(sides) < 100_000 else None
