"""A model from its configuration, and what it costs: parameters and multiply-adds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from hvit.errors import UserError
from hvit.models.baselines import Resnet, ResnetConfig, Vit, VitConfig
from hvit.models.catalogue import ModelConfig, NetworkConfig, entry
from hvit.models.clip_baselines import ClipBaseline, ClipBaselineConfig
from hvit.models.counts import Counted
from hvit.models.gan.config import GeneratorConfig, build_generator
from hvit.models.gan.generator import Generator
from hvit.models.hiera.config import HieraConfig
from hvit.models.hiera.model import Hiera
from hvit.models.layers.encoder import Encoder
from hvit.models.masked.config import MaskedConfig
from hvit.models.masked.model import MaskedAutoencoder
from hvit.models.mvit.config import MvitConfig
from hvit.models.mvit.model import Mvit
from hvit.models.nest.config import NestConfig
from hvit.models.nest.model import Nest
from hvit.models.sizes import SizedConfig
from hvit.models.timm_encoder import TimmConfig, TimmEncoder

Network = Encoder | MaskedAutoencoder | Generator


_FAMILIES: dict[type, type[Encoder]] = {
    NestConfig: Nest,
    MvitConfig: Mvit,
    HieraConfig: Hiera,
    VitConfig: Vit,
    ResnetConfig: Resnet,
    TimmConfig: TimmEncoder,
    ClipBaselineConfig: ClipBaseline,
}


_MOST_LAYERS = 10_000


def build(config: ModelConfig) -> Encoder:
    """A newly initialised model of a configuration."""
    return _FAMILIES[type(config)](config)


def build_network(config: NetworkConfig) -> Network:
    """A newly initialised model of a configuration, a masked autoencoder with its encoder, or a generator."""
    if isinstance(config, MaskedConfig):
        return MaskedAutoencoder(config, build(config.encoder))
    if isinstance(config, GeneratorConfig):
        return build_generator(config)
    return build(config)


def build_empty(config: NetworkConfig) -> Network:
    """A model whose weights take no memory (on torch's meta device), for counting and comparing.

    Raises UserError for sizes that no model can have.
    """
    with without_memory(config):
        return build_network(config)


def in_memory(model: Network, config: NetworkConfig) -> Network:
    """A model of `build_empty` in memory, whose weights have no values yet.

    Buffers that weights files do not have, such as the tables of indices of timm's Swin, have those of a new model. No
    random number is drawn.
    """
    if {name for name, _ in model.named_buffers()} <= set(model.state_dict()):
        # As `to_empty`, for which torch would load its symbolic algebra.
        return model._apply(lambda one: torch.empty(one.shape, dtype=one.dtype))
    with torch.random.fork_rng(devices=[]):
        return build_network(config)


@contextmanager
def without_memory(config: SizedConfig) -> Iterator[None]:
    """Inside this block networks of a configuration are built on torch's meta device, where they take no memory.

    Raises UserError for sizes that no model can have.
    """
    depths = getattr(config, "depths", ())
    if sum(depths) > _MOST_LAYERS:
        raise UserError(f"a model has at most {_MOST_LAYERS:,} layers; got depths {depths}")
    try:
        with torch.device("meta"):
            yield
    except (RuntimeError, OverflowError, TypeError, MemoryError) as error:  # what torch says to numbers beyond its own
        raise UserError(f"a {config.family} model of these sizes is larger than any memory: {config}") from error


def check_memory(config: NetworkConfig) -> None:
    """Refuses (UserError) a configuration whose weights are larger than this machine's memory, without taking any."""
    tensors = build_empty(config).state_dict().values()
    needed = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > there:
        raise UserError(
            f"a {config.family} model of these sizes needs {needed / 1e9:,.0f} GB, and this machine has "
            f"{there / 1e9:,.0f} GB of memory: {config}"
        )


def count_parameters(model: torch.nn.Module) -> int:
    """Number of parameters, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def multiply_adds(config: NetworkConfig) -> int:
    """Multiply-adds of one forward pass on, or to, one image: convolutions, linear layers and both attention products.

    A masked autoencoder is counted under a mask, and with weights in memory: which tokens it computes is in the mask.
    """
    model = build_empty(config).eval()
    inputs = [torch.empty(1, config.in_channels, *config.input_size, device="meta")]
    if isinstance(config, GeneratorConfig):
        inputs = [torch.empty(1, config.latent_dim, device="meta")]
        inputs += [torch.zeros(1, dtype=torch.long, device="meta")] if config.num_classes else []
    elif isinstance(model, MaskedAutoencoder):
        model.to_empty(device="cpu")
        for tensor in model.state_dict().values():
            tensor.zero_()
        inputs = [torch.zeros_like(inputs[0], device="cpu"), model.draw_masks(1)]
    return count_multiply_adds(lambda: model(*inputs))


def count_multiply_adds(run: Callable[[], object]) -> int:
    """Multiply-adds of whatever `run` computes: convolutions, linear layers and both attention products.

    oneDNN's own operators are not counted: run models of hvit on the meta device.
    """
    with _FlopCounter() as counter, torch.no_grad():
        run()
    return counter.flops // 2


class _FlopCounter(TorchDispatchMode):
    """Counts floating-point operations as torch's FlopCounterMode does, but hooks no module.

    Layers take other ways where hooks look on (`linear.is_plain`), and those would be counted.
    """

    def __init__(self) -> None:
        from torch.utils.flop_counter import flop_registry

        super().__init__()
        self.flops = 0
        self._counts = flop_registry

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        if func._overloadpacket not in self._counts and func is not torch.ops.prim.device.default:
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        result = func(*args, **kwargs)
        count = self._counts.get(func._overloadpacket)
        if count is not None:
            self.flops += count(*args, **kwargs, out_val=result)
        return result


def count(name: str) -> Counted:
    """The row of `hvit models` for a name, counted anew: seconds for the largest models. See `counts.stored`."""
    row = entry(name)
    return {
        "parameters": count_parameters(build_empty(row.config)),
        "multiply_adds": multiply_adds(row.config),
        "input": "x".join(map(str, (row.config.in_channels, *row.config.input_size))),
        "published": row.published.score if row.published else None,
        "source": row.published.source if row.published else "ours",
    }
