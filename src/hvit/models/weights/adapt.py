"""Tensors in the shapes of a model: for another input size, colour for grey, clips for images, other classes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from hvit.models.build import Network
from hvit.models.formats import State
from hvit.models.layers.grids import PositionResize


def inflate(ours: Mapping[str, Tensor], wanted: State) -> dict[str, Tensor]:
    """What a model of clips takes of a model of images in another shape; nothing where both are of one kind.

    A kernel is repeated along time and divided by the number of repeats (arXiv 1705.07750), so that on a clip that
    stands still it gives what it gave on the image. Positions in time start at 0.
    """
    made = {}
    for name, target in wanted.items():
        found = ours.get(name)
        if found is not None and (found.ndim, target.ndim) == (4, 5) and found.shape[2:] == target.shape[3:]:
            frames = target.shape[2]
            made[name] = (found.float() / frames)[:, :, None].expand(-1, -1, frames, -1, -1)
    if made:
        of_time = (name for name in wanted if re.search(r"(temporal|relative_time)_positions$", name))
        made |= {name: torch.zeros(wanted[name].shape) for name in of_time if name not in ours}
    return made


def has_other_classes(tensor: Tensor, target: Tensor) -> bool:
    return tensor.shape[1:] == target.shape[1:] and tensor.shape[:1] != target.shape[:1]


def adapt(model: Network, name: str, tensor: Tensor, shape: tuple[int, ...], how: PositionResize) -> Tensor | None:
    """The tensor in another shape, where the difference is another input size or colour for grey; else None."""
    if not tensor.numel():
        return None
    old = tuple(tensor.shape)
    is_stem = "patch_embed" in name or name == "network.conv1.weight"
    if is_stem and len(old) == len(shape) >= 3 and (old[0], old[2:]) == (shape[0], shape[2:]):
        if (old[1], shape[1]) == (3, 1):
            return tensor.float().sum(1, keepdim=True)
        if (old[1], shape[1]) == (1, 3):
            return tensor.float().expand(shape) / 3
        if old[1] in (1, 3) and shape[1] > 1:
            # The kernels of the colours again and again, so that the sum over all channels stays as large as it was.
            return tensor.float()[:, torch.arange(shape[1]) % old[1]] * (old[1] / shape[1])
    return model.resize_positions(name, tensor.float(), shape, how)


def head_names(model: nn.Module, names: Iterable[str]) -> set[str]:
    head = getattr(model, "head", None)
    heads = list(head) if isinstance(head, nn.ModuleList) else [head]
    paths = [f"{path}." for path, module in model.named_modules() if any(module is one for one in heads)]
    return {name for name in names if name.startswith(tuple(paths))}


def is_finite(tensor: Tensor) -> bool:
    """Whether all values of a floating-point tensor are finite; in one pass, without a copy where they are."""
    if tensor.element_size() == 1:
        tensor = tensor.float()  # torch adds and compares no 8-bit floats
    total = tensor.sum(dtype=torch.float64 if tensor.dtype == torch.float64 else torch.float32)
    return bool(total.isfinite()) or bool(tensor.isfinite().all())


def same_kind(found: Tensor, target: Tensor) -> bool:
    """Whether both are real, floating or whole numbers."""
    return (found.is_floating_point(), found.is_complex()) == (target.is_floating_point(), target.is_complex())
