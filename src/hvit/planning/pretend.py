"""Tensors without memory that pass for a GPU's: modes of torch under which a step runs as it would there.

Everything is computed on torch's meta device, which has shapes and types and no numbers. One mode answers what code
asks of a GPU's tensors, casts as autocast does there, and takes a GPU's attention kernels. The other one counts what is
alive, and the arithmetic. Masks stay real, because the shape of what they select is in their numbers.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.overrides import TorchFunctionMode
from torch.utils import checkpoint
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

GPU = torch.device("xpu", 0)
"""The device that tensors say they are on: one whose autocast can be switched on where no such device is."""
_META = torch.device("meta")

# torch's lists for autocast on CUDA (torch.amp, "CUDA Ops that can autocast to float16", and "to float32").
_LOW = {
    "linear", "bilinear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    "matmul", "__matmul__", "__rmatmul__", "mm", "mv", "bmm", "addmm", "addbmm", "baddbmm", "einsum", "prelu",
    "scaled_dot_product_attention",
}  # fmt: skip
_FULL = {
    "layer_norm", "group_norm", "softmax", "log_softmax", "cross_entropy", "nll_loss", "mse_loss", "l1_loss",
    "smooth_l1_loss", "huber_loss", "kl_div", "binary_cross_entropy_with_logits", "cosine_similarity", "softplus",
    "sum", "prod", "cumsum", "cumprod", "norm", "normalize", "exp", "expm1", "log", "log2", "log10", "log1p", "pow",
    "__pow__", "rsqrt", "reciprocal", "cosh", "sinh", "tan", "acos", "asin", "erfinv", "dist", "cdist", "renorm",
}  # fmt: skip


class PretendGpu(TorchFunctionMode):
    """Lets tensors of the meta device pass for a GPU's, and casts them under `torch.autocast(GPU.type)`.

    remembers: whether casts of weights are kept, as autocast keeps them for one forward pass; `forget` ends that.
    """

    def __init__(self) -> None:
        super().__init__()
        self.remembers = True
        self.casts: dict[int, Tensor] = {}
        self.cast_bytes = 0
        """Bytes of the casts of weights that were kept."""

    def forget(self) -> None:
        """Drops the casts of weights; from here on none is kept."""
        self.cast_bytes = sum(cast.numel() * cast.element_size() for cast in self.casts.values())
        self.remembers = False
        self.casts.clear()

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _ANSWERS and args[0].is_meta:
            return _ANSWERS[func]
        name = getattr(func, "__name__", "")
        if name == "to" and _stays_real(*args, **kwargs):
            return args[0]
        args, kwargs = tree_map(_on_meta, args), tree_map(_on_meta, kwargs)
        if torch.is_autocast_enabled(GPU.type) and (name in _LOW or name in _FULL):
            cast = self._lowered if name in _LOW else _in_full
            args, kwargs = tree_map(cast, args), tree_map(cast, kwargs)
        if name == "scaled_dot_product_attention":
            return _attend(*args, **kwargs)
        return func(*args, **kwargs)

    def _lowered(self, value: Any) -> Any:
        if not (isinstance(value, Tensor) and value.dtype == torch.float32 and value.is_meta):
            return value
        if not (self.remembers and value.is_leaf and value.requires_grad):
            return value.to(torch.bfloat16)
        if id(value) not in self.casts:
            self.casts[id(value)] = value.to(torch.bfloat16)
        return self.casts[id(value)]


class Watch(TorchDispatchMode):
    """Counts the bytes of what is made and still alive, their peak, and the floating-point operations.

    known: tensors that were there before, and are not counted. device: of the tensors that are counted.
    """

    def __init__(self, known: Iterable[Tensor], device: str) -> None:
        super().__init__()
        self.device = device
        self.known = {tensor.untyped_storage()._cdata for tensor in known}
        self.alive: dict[int, tuple[int, object]] = {}
        self.bytes = self.peak = self.flops = 0

    def __torch_dispatch__(
        self, func: OpOverload, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunction():  # here devices are what they are
            if self.device == "meta":
                args, kwargs = _without_numbers(func, args, kwargs)
            if torch.is_inference_mode_enabled() and func._overloadpacket not in flop_registry:
                with self:  # there linear layers and products come whole, in which nothing is counted
                    parts = func.decompose(*args, **kwargs)
                if parts is not NotImplemented:
                    return parts
            result = func(*args, **kwargs)
            count = flop_registry.get(func._overloadpacket)
            if count is not None:
                self.flops += count(*args, **kwargs, out_val=result)
            for tensor in tree_leaves(result):
                if isinstance(tensor, Tensor) and tensor.device.type == self.device:
                    self._see(tensor)
        return result

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.alive or key in self.known:
            return
        self.alive[key] = storage.nbytes(), weakref.ref(storage, lambda _: self._gone(key))
        self.bytes += storage.nbytes()
        self.peak = max(self.peak, self.bytes)

    def _gone(self, key: int) -> None:
        self.bytes -= self.alive.pop(key)[0]


@contextmanager
def without_comparing_devices() -> Iterator[None]:
    """In this block activation checkpointing does not compare what it computes again with what it forgot.

    It asks for devices partly where the mode looks on, and partly where it does not.
    """
    checks = checkpoint._allowed_determinism_checks_to_fns
    before = dict(checks)
    checks.update(dict.fromkeys(checks, lambda tensor: None))
    try:
        yield
    finally:
        checks.update(before)


_ANSWERS: dict[Any, Any] = {
    Tensor.device.__get__: GPU,  # pyright: ignore[reportAttributeAccessIssue]
    Tensor.is_meta.__get__: False,  # pyright: ignore[reportAttributeAccessIssue]
}


def _on_meta(value: Any) -> Any:
    return _META if isinstance(value, torch.device) and value.type == GPU.type else value


def _stays_real(tensor: Tensor, *others: Any, **named: Any) -> bool:
    """Whether whole numbers or truth values are sent to the pretended GPU, which keeps them as they are."""
    if tensor.dtype.is_floating_point or tensor.is_meta:
        return False
    return any(isinstance(one, torch.device) and one.type == GPU.type for one in (*others, *named.values()))


def _in_full(value: Any) -> Any:
    is_low = isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16)
    return value.float() if is_low else value


def _attend(
    q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:  # fmt: skip
    """Attention by the kernels a GPU takes: flash attention in bfloat16, memory-efficient attention otherwise."""
    if q.dtype == torch.bfloat16 and attn_mask is None:
        flash = torch.ops.aten._scaled_dot_product_flash_attention
        return flash(q, k, v, dropout_p, is_causal, False, scale=scale)[0]
    saves = torch.is_grad_enabled() and any(one.requires_grad for one in (q, k, v))
    if attn_mask is not None:
        attn_mask = attn_mask.to(q.dtype).expand(*q.shape[:-1], k.shape[-2])
    efficient = torch.ops.aten._scaled_dot_product_efficient_attention
    return efficient(q, k, v, attn_mask, saves, dropout_p, is_causal, scale=scale)[0]


def _without_numbers(func: OpOverload, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Arguments of which real tensors count by their shape only, where they meet tensors without numbers.

    What selects by truth values stays real: it says how many are selected.
    """
    tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
    if len({one.device.type for one in tensors if one.ndim or one.is_meta}) < 2:
        return args, kwargs
    selects = func._overloadpacket in (torch.ops.aten.index, torch.ops.aten.index_put, torch.ops.aten.index_put_,
                                       torch.ops.aten._unsafe_index_put)  # fmt: skip

    def shape_only(value: Any) -> Any:
        if not isinstance(value, Tensor) or value.is_meta or (selects and value.dtype == torch.bool):
            return value
        return torch.empty_like(value, device="meta")

    return tree_map(shape_only, args), tree_map(shape_only, kwargs)
