"""How networks are divided over the processes that train together: copied in each (DDP), or sharded (FSDP2, HSDP).

What shards is imported where it is used: it takes almost a second, and most runs and all other verbs have one process.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import torch
import torch.distributed
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.training.batch_norm import share_batch_norm
from hvit.training.blocks import blocks_of
from hvit.training.distribute import Processes, check_compiler, is_shard

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

    from hvit.training.schedule import LoopConfig

Parallel = Literal["auto", "ddp", "fsdp", "hsdp"]
Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Division:
    """How the networks of a run are divided, and how they are called.

    mode: "one" for one process. shard_size: processes over which one copy of the weights is divided. offload: whether
    shards wait in the memory of the host. low_precision: whether blocks compute in bfloat16. compile_mode: of
    torch.compile; None: not compiled. by_block: whether networks may be taken apart into blocks.
    """

    ranks: Processes
    mode: Literal["one", "ddp", "fsdp", "hsdp"]
    shard_size: int = 1
    offload: bool = False
    low_precision: bool = False
    compile_mode: str | None = None
    by_block: bool = True

    @staticmethod
    def of(loop: LoopConfig, ranks: Processes, low_precision: bool = False, by_block: bool = True) -> Division:
        """The division that a recipe asks for. Raises UserError where it cannot be."""
        mode, wanted, world = loop.parallel, loop.shard_size, ranks.world_size
        shards = mode in ("fsdp", "hsdp")
        if shards and not by_block:
            raise UserError(f"loop.parallel {mode} does not fit this kind of run, whose networks stay whole: use ddp")
        if shards and ranks.device.type == "mps":
            raise UserError(f"loop.parallel {mode} needs CUDA devices or CPUs; this run is on mps: use auto")
        compile_mode = loop.compile_mode if loop.compile else None
        if world == 1:
            return Division(ranks, "one", compile_mode=compile_mode, by_block=by_block)
        size = 1
        if mode == "fsdp":
            size = world
        elif mode == "hsdp":
            size = wanted or min(world, int(os.environ.get("LOCAL_WORLD_SIZE", world)))
            if world % size:
                raise UserError(
                    f"loop.shard_size {size} must divide the {world} processes of this run; "
                    f"{' or '.join(str(one) for one in range(2, world + 1) if world % one == 0)} does"
                )
        name: Literal["ddp", "fsdp", "hsdp"] = "ddp" if mode == "auto" else mode
        return Division(ranks, name, size, loop.offload, low_precision, compile_mode, by_block)

    @property
    def shards(self) -> bool:
        """Whether weights, gradients and optimizer states are divided over processes."""
        return self.mode in ("fsdp", "hsdp")

    def describe(self) -> str:
        """The division in words; empty for one process."""
        world = self.ranks.world_size
        if self.mode == "one":
            return ""
        if self.mode == "ddp":
            return f"ddp: {world} processes, each with all weights"
        waits = ", which wait in the memory of the host" if self.offload else ""
        copies = f"{world // self.shard_size} copies of the weights, each in " if self.mode == "hsdp" else "weights in "
        return f"{self.mode}: {world} processes, {copies}{self.shard_size} shards{waits}"

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network as the loop calls it: compiled if asked, and with gradients averaged over all processes.

        Of several processes every block is compiled for itself, and batch norm takes the statistics of all. Shards
        replace the network's parameters, in the same module. Raises UserError where torch.compile cannot work (see
        `check_compiler`).
        """
        if self.ranks.world_size > 1:
            share_batch_norm(network)
        blocks = blocks_of(network) if self.by_block else []
        in_blocks = self.compile_mode is not None and self.mode != "one" and bool(blocks)
        if self.compile_mode is not None:
            check_compiler(self.ranks.device)
        if in_blocks:
            for block in blocks:
                block.compile(mode=self.compile_mode)
        if self.shards:
            self._shard(network, blocks)
            return network
        network = self.ranks.wrap(network)
        if self.compile_mode is None or in_blocks:
            return network
        return torch.compile(network, mode=self.compile_mode)  # pyright: ignore[reportReturnType]  (a module in and out)

    def _shard(self, network: nn.Module, blocks: Iterable[nn.Module]) -> None:
        from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard

        mesh = self.mesh()
        precision = (
            MixedPrecisionPolicy(torch.bfloat16, reduce_dtype=torch.float32)
            if self.low_precision
            else MixedPrecisionPolicy()
        )
        offload = CPUOffloadPolicy(pin_memory=self.ranks.device.type == "cuda") if self.offload else OffloadPolicy()
        # Whole weights are freed after each forward pass, also those outside of blocks, so that between passes a
        # network has its shards.
        for part in (*blocks, network):
            fully_shard(part, mesh=mesh, reshard_after_forward=True, mp_policy=precision, offload_policy=offload)

    def mesh(self) -> DeviceMesh:
        """The processes as a grid: (shards,), or (copies, shards)."""
        from torch.distributed.device_mesh import init_device_mesh

        world, kind = self.ranks.world_size, self.ranks.device.type
        if self.mode == "hsdp":
            shape = (world // self.shard_size, self.shard_size)
            return init_device_mesh(kind, shape, mesh_dim_names=("copies", "shards"))
        return init_device_mesh(kind, (world,), mesh_dim_names=("shards",))


def skeleton(network: Network) -> Network:
    """A copy of a network whose parameters are empty, to be filled by `fill`; its buffers are whole."""
    empty = {id(parameter): nn.Parameter(parameter.new_empty(0), False) for parameter in network.parameters()}
    return copy.deepcopy(network, empty)  # pyright: ignore[reportArgumentType]  (parameters are not copied)


@torch.no_grad()
def fill(plain: nn.Module, network: nn.Module, device: torch.device) -> None:
    """Gives a skeleton the whole weights and the buffers of a sharded network; all processes call it together."""
    for mine, theirs in zip(plain.parameters(), network.parameters(), strict=True):
        mine.data = whole(theirs.detach()).to(device)
    for name, buffer in network.named_buffers():
        place, _, key = name.rpartition(".")
        own = buffer.detach().to(device, copy=True)
        torch.distributed.broadcast(own, 0)  # statistics of batch norms are those of the first process
        plain.get_submodule(place)._buffers[key] = own


def empty(plain: nn.Module) -> None:
    """Frees the weights of a skeleton."""
    for parameter in plain.parameters():
        parameter.data = parameter.data.new_empty(0)


@torch.no_grad()
def shard_like(plain: nn.Module, network: nn.Module) -> None:
    """Replaces the parameters of a copy by copies of the shards of the network it was made of."""
    for name, parameter in network.named_parameters():
        place, _, key = name.rpartition(".")
        plain.get_submodule(place)._parameters[key] = nn.Parameter(parameter.detach().clone(), False)


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor of which this process may have a shard; all processes call it together."""
    return tensor.full_tensor() if is_shard(tensor) else tensor


def local(tensors: Iterable[Tensor]) -> list[Tensor]:
    """What this process has of tensors that may be sharded: shards, or the tensors themselves."""
    return [tensor.to_local() if is_shard(tensor) else tensor for tensor in tensors]


def placed_as(tensor: Tensor, example: Tensor) -> Tensor:
    """A whole tensor, which all processes have, as a shard if the example is one."""
    if not is_shard(example) or is_shard(tensor):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    here = tensor.to(example.to_local().device)
    return distribute_tensor(here, example.device_mesh, example.placements, src_data_rank=None)


def parameters_in_order(optimizer: torch.optim.Optimizer) -> Sequence[Tensor]:
    """The parameters of an optimizer in the order in which its state counts them."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def leaves(tree: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Tensor]]:
    """The tensors in nested dicts, with their keys."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, (*path, key))
    elif isinstance(tree, Tensor):
        yield path, tree
