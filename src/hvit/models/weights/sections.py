"""Where in a training checkpoint the state dict of the model is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from hvit.errors import UserError
from hvit.markup import shown
from hvit.models.weights.pickles import Described
from hvit.models.weights.stored_tensors import StoredTensor

Loaded = Mapping[Any, Any]
"""What a file holds: dictionaries in dictionaries."""
# Where training programs put the state dict inside their file; averaged weights come first, as in timm.
_SECTIONS = (
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "model_ema_state_dict",
    "ema_model_state_dict",
    "ema_model",
    "ema",
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "network",
    "net",
    "weights",
    "params",
)
# Parts of a training checkpoint that have tensors, too, and are no weights.
_NO_WEIGHTS = (
    "optim",
    "sched",
    "scaler",
    "criterion",
    "loss",
    "rng",
    "random",
    "loader",
    "sampler",
    "buffer",
    "callback",
)
_DEEPEST_SECTION = 3


def flat_state(loaded: Loaded) -> tuple[dict[str, Tensor], str | None]:
    """The named tensors of a state dict, and the name of the section they were found in, if any.

    Sections are looked for by the names that training programs give them, averaged weights first, then by what is
    there; one that holds nearly nothing compared with the fullest, such as averages that were not begun, is passed
    over. Entries that are no tensors are skipped. Raises UserError where the tensors are not dense, and where it
    cannot be said which section is meant.
    """
    section = _section(loaded)
    for part in section:
        loaded = loaded[part]
    state = {}
    for name, tensor in loaded.items():
        unusual = _unusual(tensor)
        if isinstance(name, str) and unusual:
            raise UserError(f"{shown(name[:200])} is {unusual}; weights are dense tensors of numbers")
        if isinstance(name, str) and isinstance(tensor, Tensor | StoredTensor):
            state[name] = tensor.take() if isinstance(tensor, StoredTensor) else tensor.detach()
    return state, ".".join(section) or None


def _unusual(value: object) -> str | None:
    """What kind of tensor a value is, if it is one that has no place in a state dict."""
    if isinstance(value, Tensor) and value.layout != torch.strided:
        return f"a tensor of layout {value.layout}"
    if isinstance(value, Tensor) and value.is_quantized:
        return f"a quantized tensor ({value.dtype})"
    if isinstance(value, Described) and value.kind.startswith("torch._utils._rebuild_"):
        kind = value.kind.removeprefix("torch._utils._rebuild_")
        return {"qtensor": "a quantized tensor", "sparse_tensor": "a sparse tensor"}.get(
            kind, f"a tensor of kind {kind}"
        )
    return None


def _section(loaded: Loaded) -> tuple[str, ...]:
    """The names that lead to the state dict inside what a file holds; none where it is one itself."""
    found = dict(_state_dicts(loaded, ()))
    counts = {place: _tensors_in(part) for place, part in found.items()}
    most = max((count for place, count in counts.items() if place), default=0)
    full = [place for place, count in counts.items() if place and 2 * count >= most]
    named = [place for place in full if any(part in _SECTIONS for part in place)]

    def rank(place: tuple[str, ...]) -> tuple[int, ...]:
        return (*(_SECTIONS.index(part) if part in _SECTIONS else len(_SECTIONS) for part in place),)

    if named:
        return min(named, key=rank)
    if () in found:
        return ()
    if len(full) > 1:
        names = ", ".join(shown(".".join(place)[:60]) for place in full[:8])
        raise UserError(f"several parts hold weights ({names}); give one of them alone, as a state dict")
    if not full:
        names = [shown(name[:60]) for name in loaded if isinstance(name, str)]
        if names:
            raise UserError(f"it holds no weights where training programs keep them; its parts are {few(names)}")
    return full[0] if full else ()


def _state_dicts(loaded: Loaded, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Loaded]]:
    """Every dictionary with named tensors that is no state of an optimizer or the like, and the names leading there."""
    if _tensors_in(loaded):
        yield place, loaded
    if len(place) == _DEEPEST_SECTION:
        return
    for name, part in loaded.items():
        if isinstance(name, str) and isinstance(part, Mapping):
            known = name in _SECTIONS
            if known or not any(word in name.lower() for word in _NO_WEIGHTS):
                yield from _state_dicts(part, (*place, name))


def _tensors_in(part: Loaded) -> int:
    return sum(isinstance(name, str) and isinstance(value, Tensor | StoredTensor) for name, value in part.items())


def few(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
