"""What every family is built from, and the contract every encoder keeps."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from hvit.errors import UserError
from hvit.models.grids import PositionResize, is_exported

AttentionKernel = Literal["auto", "fused", "explicit"]

_attention_kernel: AttentionKernel = "auto"
# From these numbers on explicit products in bfloat16 are faster than the fused kernel of a CPU, without gradients.
_FEWEST_KEYS, _FEWEST_SCORES = 32, 750_000


class Encoder(nn.Module, ABC):
    """A network that turns images into feature grids, fine to coarse, and the last grid into class logits.

    Explaining, masking, feature pyramids and layer-wise learning rates use only these methods and `config`,
    the frozen dataclass the model was built from.
    """

    config: Any
    position_resizes: tuple[PositionResize, ...] = ("plane",)
    """The ways in which this family's position embeddings can be resized, the default one first."""
    norm_follows_mean: bool = False
    """Whether the final norm comes after the mean over the last grid, so that the last level is before it."""

    @abstractmethod
    def levels(self, images: Tensor, kept: Tensor | None = None, mask_token: Tensor | None = None) -> list[Tensor]:
        """The feature grid after each level, fine to coarse, on the path from the images to the logits.

        images: (batch, channels, height, width), of clips (batch, channels, time, height, width). Returns grids
        (batch, rows, columns, dim) or (batch, time, rows, columns, dim); the last one is the map that `classify` takes.

        kept: bool (batch, *unit grid), True for the mask units to see, as many in every sample; what lies under the
        others reaches nothing. Alone, only the kept units are computed, by models that can, and grids are
        (batch, kept units, *unit side, dim). With mask_token (dim of the first level,) all tokens are computed, and
        those of hidden units are the mask token from the stem on; any unit grid that divides the tokens will do.
        """

    @abstractmethod
    def classify(self, last_grid: Tensor) -> Tensor:
        """Logits (batch, num_classes) of the last grid (batch, rows, columns, dim), never softmaxed."""

    @abstractmethod
    def level_of(self, parameter_name: str) -> int:
        """Depth of a parameter, for layer-wise learning-rate decay.

        0 is the stem, i + 1 the i-th transformer layer counted from the image, and one more the final norm and head.
        """

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, num_classes) of images (batch, channels, height, width), never softmaxed."""
        return self.classify(self.levels(images)[-1])

    @property
    def level_dims(self) -> tuple[int, ...]:
        """Width of the grid of each level, fine to coarse."""
        return self.config.dims

    def resize_positions(self, name: str, tensor: Tensor, shape: tuple[int, ...], how: PositionResize) -> Tensor | None:
        """A position embedding that was made for another input size, in the shape this model wants.

        name: our name of the parameter. tensor: the embedding found, float32. shape: the shape wanted. how: one of
        `position_resizes`. Returns None where the parameter is no position embedding, or its shapes differ in more
        than the input size.
        """
        return None

    def check_images(self, images: Tensor) -> None:
        """Refuses (UserError) images of another shape than (batch, in_channels, *input_size), or of whole numbers."""
        if not isinstance(images, Tensor) or not images.is_floating_point():
            kind = images.dtype if isinstance(images, Tensor) else type(images).__name__
            raise UserError(f"images must be a tensor of floating-point numbers, normalised as in training; got {kind}")
        wanted = (self.config.in_channels, *self.config.input_size)
        if images.ndim != len(wanted) + 1 or tuple(images.shape[1:]) != wanted:
            axes = ("time", "height", "width")[-len(self.config.input_size) :]
            kind = "clips" if len(axes) == 3 else "images"
            raise UserError(
                f"this model takes batches of {kind} of (channels, {', '.join(axes)}) {wanted}; "
                f"got shape {tuple(images.shape)}"
            )


def unwrap(model: Any) -> Any:
    """The model inside of what torch wraps models in: DataParallel and its like, averages, `torch.compile`.

    What is no such wrapper is returned as it is.
    """
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)
    while isinstance(model, wrappers) or type(model).__name__ == "OptimizedModule":
        model = model._modules["_orig_mod" if "_orig_mod" in model._modules else "module"]
    return model


class DropPath(nn.Module):
    """Stochastic depth: in training a residual branch is dropped for whole samples (arXiv 1603.09382).

    rate: share of samples that lose the branch; the others are scaled by 1 / (1 - rate).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """branch: (batch, ...). Returns the same shape."""
        if not self.training or self.rate == 0.0:
            return branch
        keep = 1.0 - self.rate
        mask = branch.new_empty((branch.shape[0],) + (1,) * (branch.ndim - 1)).bernoulli_(keep)
        return branch * (mask / keep)

    def extra_repr(self) -> str:
        return f"rate={self.rate:.3f}"


@contextmanager
def attention_kernel(kernel: AttentionKernel) -> Iterator[None]:
    """Chooses how attention is computed inside a `with` block, by every family; the results are the same.

    kernel: "fused" (torch's scaled_dot_product_attention, which keeps no table of scores), "explicit" (two matrix
    products and a softmax), or "auto", the faster one as measured (docs/speed.md), which holds outside of any block.
    The choice is the process's, not the thread's. Raises UserError for another word.
    """
    global _attention_kernel
    if kernel not in get_args(AttentionKernel):
        raise UserError(f"an attention kernel is one of {', '.join(get_args(AttentionKernel))}; got {kernel!r}")
    before, _attention_kernel = _attention_kernel, kernel
    try:
        yield
    finally:
        _attention_kernel = before


def attend(
    q: Tensor, k: Tensor, v: Tensor, scale: float | None = None, fused_from: int = 0, bias: Tensor | None = None
) -> Tensor:
    """Attention of queries to keys: softmax(scale * q k' + bias) v, by the kernel that `attention_kernel` says.

    q: (rows, heads, queries, width). k: (rows, heads, keys, width). v: (rows, heads, keys, any width). Four axes always
    (only such calls reach the fused kernels); blocks, units and windows join the rows. All may be views: neither kernel
    is given copies. scale: left out, width ** -0.5. fused_from: on a CPU, how many keys there must be for the fused
    kernel to pay, for callers whose queries are wider than their values. bias: (rows, heads, queries, keys).
    Returns (rows, heads, queries, width of v).
    """
    kernel = _attention_kernel
    if kernel == "auto":
        fused = q.device.type != "cpu" or _fused_pays(q, k, fused_from)
        kernel = "fused" if fused and not _needs_products(bias) else "explicit"
    if kernel == "explicit" and not q.is_meta:
        factor = q.shape[-1] ** -0.5 if scale is None else scale
        scores = (q if factor == 1.0 else q * factor) @ k.transpose(-1, -2)
        return (scores if bias is None else scores + bias).softmax(-1) @ v
    more = q.shape[-1] - v.shape[-1]
    if more and not q.is_meta:  # the fused kernels want values as wide as queries
        return F.scaled_dot_product_attention(q, k, F.pad(v, (0, more)), bias, scale=scale)[..., : v.shape[-1]]
    return F.scaled_dot_product_attention(q, k, v, bias, scale=scale)


def _needs_products(bias: Tensor | None) -> bool:
    """Whether attention has to be written out: torch.func asks for derivatives that no fused kernel has, and ONNX's
    exporter loses the layout of a fused kernel's result where that has a bias."""
    return torch._C._are_functorch_transforms_active() or (bias is not None and is_exported())


def _fused_pays(q: Tensor, k: Tensor, fused_from: int) -> bool:
    """Whether the fused kernel is the faster one on a CPU, as measured (docs/speed.md)."""
    if q.dtype == torch.bfloat16:
        scores = math.prod(q.shape[1 if is_exported() else 0 : 3]) * k.shape[2]
        return not (is_learning(q) or fused_from or (k.shape[2] >= _FEWEST_KEYS and scores >= _FEWEST_SCORES))
    return k.shape[2] > fused_from


def is_learning(*tensors: Tensor) -> bool:
    """Whether what is computed of these tensors will be differentiated."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def drop_path_rates(rate: float, layers: int) -> list[float]:
    """Stochastic-depth rates that grow linearly from 0 in the first layer to `rate` in the last."""
    return [rate * layer / max(layers - 1, 1) for layer in range(layers)]


def truncated_normal_(weight: Tensor, std: float = 0.02) -> None:
    """Fills a weight from a normal distribution cut at two standard deviations, without correcting its variance.

    Draws by inverting the distribution: many times faster than torch's rejection sampling.
    """
    limit = math.erf(math.sqrt(2))
    with torch.no_grad():
        weight.uniform_(-limit, limit).erfinv_().mul_(std * math.sqrt(2))


def check_kept(kept: Tensor, batch: int, unit_grid: tuple[int, ...]) -> None:
    """Refuses (UserError) a mask that is no bool tensor (batch, *unit_grid) with equally many True in every sample."""
    if not isinstance(kept, Tensor):
        raise UserError(f"kept must be a bool tensor (batch, *mask units); got {type(kept).__name__}")
    if kept.dtype != torch.bool or tuple(kept.shape) != (batch, *unit_grid):
        raise UserError(
            f"kept must be a bool tensor of shape {(batch, *unit_grid)} (batch, *mask units); got "
            f"{str(kept.dtype).removeprefix('torch.')} {tuple(kept.shape)}"
        )
    counts = kept.flatten(1).sum(1)
    if counts.numel() and (int(counts.min()) != int(counts.max()) or int(counts.min()) == 0):
        raise UserError("kept must keep the same number of mask units, at least one, in every sample")


def spread_mask(kept: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """A mask of units as a mask of what they are made of: (batch, *unit grid) -> (batch, *sizes).

    sizes: multiples of the unit grid, such as tokens or pixels along every axis.
    """
    for axis, size in enumerate(sizes, start=1):
        kept = kept.repeat_interleave(size // kept.shape[axis], axis)
    return kept


def hide_masked(images: Tensor, kept: Tensor) -> Tensor:
    """Images whose pixels under the units that are not kept are zero, so that an overlapping stem cannot see them.

    images: (batch, channels, *sizes). kept: bool (batch, *unit grid), dividing the sizes. Returns the shape of images.
    """
    return images * spread_mask(kept, tuple(images.shape[2:]))[:, None]


def fill_masked(grid: Tensor, kept: Tensor, mask_token: Tensor) -> Tensor:
    """A grid whose tokens under the units that are not kept are one learned token (MaskFeat, arXiv 2112.09133).

    grid: (batch, *sizes, dim). kept: bool (batch, *unit grid), dividing the sizes. mask_token: (dim,).
    """
    return torch.where(spread_mask(kept, tuple(grid.shape[1:-1]))[..., None], grid, mask_token.to(grid.dtype))
