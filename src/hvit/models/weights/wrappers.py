"""What training programs wrap around a model, and what it does to the names of its tensors.

torch.compile, DataParallel, DistributedDataParallel, FSDP, AveragedModel, DeepSpeed, Opacus and checkpointed blocks put
a part of their own into every name; classes of users (Lightning modules, two-tower models) put the name of the field
that holds the model before it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from hvit.errors import UserError
from hvit.markup import shown

# What only wrappers call a module, wherever it stands in a name.
_WRAPPER = re.compile(
    r"(?:(?<=\.)|^)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module|_fpw_module|_module)\."
)
_WRAPPED = ("_orig_mod", "_fsdp_wrapped_module", "_forward_module", "_module", "module", "model")
_AVERAGE = re.compile(r"(?:^|[._])(?:ema|swa|avg|averaged?)(?:[._]|$)")
_MOST_PARTS = 8  # of a name, in front of the model's own


def unwrapped(model: object) -> object:
    """The model inside any nesting of wrappers: the first module with a configuration that is in no other such."""
    while isinstance(model, nn.Module):
        inner = (getattr(model, name, None) for name in _WRAPPED)
        found = next((one for one in inner if isinstance(one, nn.Module)), None)
        if found is None or (_has_config(model) and not _has_config(unwrapped(found))):
            break
        model = found
    return model


def _has_config(model: object) -> bool:
    return getattr(getattr(model, "config", None), "family", None) is not None


def plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict without the parts of names that only wrappers have, and with pruned weights as they compute.

    `torch.nn.utils.prune` stores "weight_orig" and "weight_mask"; the weight is their product. Raises UserError where
    two tensors come to have the same name.
    """
    plain = {_WRAPPER.sub("", name): tensor for name, tensor in state.items()}
    if len(plain) < len(state):
        twice = [name for name, count in Counter(_WRAPPER.sub("", name) for name in state).items() if count > 1]
        raise UserError(f"two tensors are called {shown(twice[0][:200])}, once with and once without a wrapper's name")
    for name in [name for name in plain if name.endswith("_orig")]:
        own = name.removesuffix("_orig")
        mask = plain.get(f"{own}_mask")
        if mask is not None and own not in plain and mask.shape == plain[name].shape:
            weight = plain.pop(name)
            plain[own] = weight * plain.pop(f"{own}_mask").to(weight.dtype)
    return plain


def prefixes(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """The starts of names, each ending in a dot, after which the names are those of a known format; shortest first.

    patterns: of names, matched from their start. Averaged weights come before others of the same length.
    """
    known = re.compile("|".join(f"(?:{pattern})" for pattern in patterns))
    found: dict[str, None] = {}
    for name in names:
        place = -1
        for _ in range(_MOST_PARTS):
            place = name.find(".", place + 1)
            if place < 0:
                break
            start = name[: place + 1]
            if start not in found and known.match(name, place + 1):
                found[start] = None
    return sorted(found, key=lambda start: (start.count("."), not is_average(start)))


def is_average(name: str) -> bool:
    """Whether the name of a part of a checkpoint says that its weights are averages over the training."""
    return _AVERAGE.search(name) is not None
