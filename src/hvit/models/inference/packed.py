"""Linear layers whose weights lie in the order in which the CPU multiplies them: for inference only.

oneDNN, the library of matrix products inside torch, cuts a weight into blocks before it multiplies. Cutting once, ahead
of the first image, leaves the product itself; the bias and the GELU are then applied while a block is still in the
cache, instead of in passes of their own over memory. The operators are private ones of torch, those that its compiler
emits; `linear.has_onednn` says whether this torch has them.
"""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hvit.models.layers.linear import Mlp, is_hooked, is_plain, product


class PackedLinear(nn.Module):
    """A linear layer with a packed weight, and a GELU after it where `gelu` names its form ("none" or "tanh").

    rows_hint: how many tokens to expect in a call. Other numbers give the same results, perhaps more slowly. in_parts:
    whether `rows` will be asked for, so that the whole need not be packed ahead.
    """

    def __init__(self, linear: nn.Linear, rows_hint: int, gelu: str | None = None, in_parts: bool = False) -> None:
        super().__init__()
        # Kept as they are, not as parameters: a packed weight cannot be saved, moved or trained.
        self._weight, self._bias = linear.weight.detach(), None if linear.bias is None else linear.bias.detach()
        self._rows_hint = rows_hint
        self._gelu = gelu
        self._packed: dict[tuple[int, int], tuple[Tensor, Tensor | None]] = {}
        self._whole = (0, linear.out_features)
        if not in_parts:
            self._pack(*self._whole)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (..., dim). Returns (..., features)."""
        return self.rows(tokens, *self._whole)

    def rows(self, tokens: Tensor, start: int, stop: int) -> Tensor:
        """As `linear.apply_rows`; each range is packed when it is first asked for."""
        weight, bias = self._packed.get((start, stop)) or self._pack(start, stop)
        return product(tokens, weight, bias, self._gelu)

    def _pack(self, start: int, stop: int) -> tuple[Tensor, Tensor | None]:
        weight = self._weight[start:stop].contiguous()
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, self._rows_hint)
        entry = packed, None if self._bias is None else self._bias[start:stop].contiguous()
        self._packed[start, stop] = entry
        return entry


class PackedMlp(nn.Module):
    """The two packed layers of an `Mlp`, with the GELU inside the first."""

    def __init__(self, mlp: Mlp, rows_hint: int) -> None:
        super().__init__()
        self.fc1 = PackedLinear(mlp.fc1, rows_hint, mlp.approximate)
        self.fc2 = PackedLinear(mlp.fc2, rows_hint)

    def forward(self, tokens: Tensor) -> Tensor:
        """As `Mlp.forward`."""
        return self.fc2(self.fc1(tokens))


def pack(model: nn.Module, rows_hint: int = 1024) -> nn.Module:
    """A copy of a model, every linear layer and MLP of it packed, and batch norms folded into the convolutions before
    them (`conv1`, `bn1` and so on, and neighbours in a sequence). Layers with hooks and the like (`linear.is_plain`)
    stay as they are. What is not packed or folded shares its memory with `model`, which must not change afterwards.

    rows_hint: as for `PackedLinear`. Needs `has_onednn`, and the model on the CPU in float32 or bfloat16.
    """
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    packed = copy.deepcopy(model, shared).eval()
    _fold_norms(packed)
    _pack_children(packed, rows_hint)
    return packed


def _fold_norms(model: nn.Module) -> None:
    for module in model.modules():
        names = list(dict(module.named_children()))
        pairs = [(name, name.replace("conv", "bn")) for name in names if name.startswith("conv")]
        if isinstance(module, nn.Sequential):
            pairs = list(pairwise(names))
        for name, norm in pairs:
            convolution = getattr(module, name)
            after = getattr(module, norm, None)
            # timm's batch norms may have an activation inside, which is theirs to be done.
            if after is not None and is_plain(convolution, nn.Conv2d) and is_plain(after, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(convolution, after))
                setattr(module, norm, nn.Identity())


def _pack_children(module: nn.Module, rows_hint: int) -> None:
    for name, child in module.named_children():
        if type(child) is Mlp and not is_hooked(child) and all(is_plain(one, nn.Linear) for one in child.children()):
            setattr(module, name, PackedMlp(child, rows_hint))
        elif isinstance(child, nn.Linear) and is_plain(child, nn.Linear):
            in_parts = name in getattr(module, "applied_in_parts", ())
            setattr(module, name, PackedLinear(child, rows_hint, in_parts=in_parts))
        else:
            _pack_children(child, rows_hint)
