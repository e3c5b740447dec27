"""What a training step of a recipe takes: bytes of everything that is kept, and its arithmetic.

The step is run: on pretended tensors as a GPU would (`pretend`), or for real on this machine's CPU.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import _engine_run_backward

from hvit.models.masked.model import MaskedAutoencoder
from hvit.planning.pretend import GPU, PretendGpu, Watch, without_comparing_devices
from hvit.recipe import Recipe
from hvit.runs.kind import Kind
from hvit.tasks.task import Batch, Phase, Task
from hvit.training.activations import checkpoint_activations
from hvit.training.blocks import blocks_of
from hvit.training.freezing import count_trained, freeze
from hvit.training.optimize import OptimizeConfig

_FLOAT = 4  # bytes of a float32 number, which weights, gradients and optimizer state are


@dataclass(frozen=True)
class KeptBytes:
    """What a run keeps between steps, and the gradients of one, in bytes on a device that has all of it."""

    weights: int
    """Weights and buffers of all networks."""
    fixed: int
    """Those of networks that are used and not trained, such as teachers, which every device has whole."""
    gradients: int
    optimizer: int
    average: int
    """The running averages of the weights that are kept, with their buffers; 0 without."""
    trained: int
    """Parameters that are trained."""
    units: tuple[int, ...]
    """Parameters of each part of the networks that is gathered at a time where weights are divided over devices: every
    transformer block, and last what is left over of each network, which stays until the end of the step."""
    roots: int
    """How many of the last ones are left over."""

    @property
    def checkpoint(self) -> int:
        """Bytes of a checkpoint."""
        return self.weights + self.optimizer + self.average


@dataclass(frozen=True)
class StepBytes:
    """What a step of one part of a batch takes for a while, in bytes, and its arithmetic."""

    images: int
    """Images, or clips, of the part."""
    inputs: int
    """The batch itself."""
    saved: int
    """Alive after the forward pass: what it leaves for the backward pass."""
    casts: int
    """Part of that: weights in bfloat16, which do not grow with the images."""
    peak: int
    """The most that is alive at a time, gradients included, and without what is kept between steps."""
    multiply_adds: int
    """Of forward and backward passes together: convolutions, linear layers and attention products."""


def kept_bytes(recipe: Recipe, kind: Kind, task: Task | None = None) -> KeptBytes:
    """What a recipe keeps between its steps. task: a task whose networks are counted; default: one without memory."""
    task, optimize = task or pretended_task(recipe, kind), recipe.optimize
    networks = task.networks
    averaged = task.averaged or tuple(networks)
    trained = sum(map(count_trained, networks.values()))
    sizes = {name: _bytes_of(network) for name, network in networks.items()}
    units, roots = _units(list(networks.values()))
    return KeptBytes(
        weights=sum(sizes.values()),
        fixed=sum(map(_bytes_of, task.fixed)),
        gradients=_FLOAT * trained,
        optimizer=_FLOAT * _states(optimize) * trained,
        average=sum(sizes[name] for name in averaged) if optimize.average_decay else 0,
        trained=trained,
        units=units,
        roots=roots,
    )


def pretended_step(recipe: Recipe, kind: Kind, images: int, low: bool) -> StepBytes:
    """A step of so many images, or clips, as a GPU would do it. low: whether in bfloat16 (autocast)."""
    return _step(recipe, kind, pretended_task(recipe, kind), images, low, "meta")


def real_step(recipe: Recipe, kind: Kind, images: int, low: bool = False) -> StepBytes:
    """The same, computed on this machine's CPU."""
    built = kind.build(recipe)
    networks = (built,) if isinstance(built, nn.Module) else tuple(built)
    for network in networks:
        freeze(network, recipe.optimize.always_frozen)
    return _step(recipe, kind, kind.bare_task(recipe, built), images, low, "cpu")


def pretended_task(recipe: Recipe, kind: Kind) -> Task:
    """The task of a recipe, with networks on the meta device, frozen as the recipe says."""
    networks = kind.empty_networks(recipe)
    for network in networks:
        freeze(network, recipe.optimize.always_frozen)
    return kind.bare_task(recipe, kind.as_built(networks))


def _step(recipe: Recipe, kind: Kind, task: Task, images: int, low: bool, device: str) -> StepBytes:
    batch, pretends = _batch(recipe, kind.step_size(recipe), images, device), device == "meta"
    for network in task.networks.values():
        network.train()
        if isinstance(network, MaskedAutoencoder):
            masks = network.draw_masks(images)
            network.draw_masks = lambda count, generator=None, masks=masks: masks[:count]  # pyright: ignore[reportAttributeAccessIssue]
    if recipe.loop.checkpoint_activations:
        checkpoint_activations(task.networks.values())
    adds_up = recipe.loop.accumulate > 1
    done = [(phase, _phase(task, phase, batch, low, pretends, adds_up)) for phase in task.phases]
    return StepBytes(
        images=images,
        inputs=sum(tensor.nbytes for tensor in batch.values()),
        saved=max(one.saved for _, one in done),
        casts=max(one.casts for _, one in done),
        peak=max(one.peak for _, one in done),
        multiply_adds=round(sum(one.multiply_adds / phase.every for phase, one in done)),
    )


@dataclass(frozen=True)
class _Done:
    saved: int
    casts: int
    peak: int
    multiply_adds: int


def _phase(task: Task, phase: Phase, batch: Batch, low: bool, pretends: bool, adds_up: bool) -> _Done:
    """Forward and backward pass of a phase. adds_up: gradients of another part of the batch are there already."""
    networks = (*task.networks.values(), *task.fixed)
    there = [tensor for network in networks for tensor in (*network.parameters(), *network.buffers())]
    for network in task.networks.values():
        network.zero_grad()
    watch = Watch([*there, *batch.values()], "meta" if pretends else "cpu")
    with ExitStack() as stack:
        gpu = PretendGpu()
        if pretends:
            stack.enter_context(gpu)
            stack.enter_context(without_comparing_devices())
        stack.enter_context(watch)
        if adds_up:
            for parameter in task.networks[phase.network].parameters():
                parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
        before = watch.bytes
        with torch.autocast(GPU.type if pretends else "cpu", dtype=torch.bfloat16, enabled=low):
            loss = task.loss(phase, task.networks, batch)
            gpu.forget()
        saved = watch.bytes - before
        _backward(loss)
        del loss
    return _Done(saved, gpu.cast_bytes, watch.peak, watch.flops // 2)


def _backward(loss: Tensor) -> None:
    """`loss.backward()`, during which modes stay: where they see that call, they are left out of all that is in it."""
    _engine_run_backward(
        (loss,), (torch.ones_like(loss),), False, False, (), allow_unreachable=True, accumulate_grad=True
    )


def _batch(recipe: Recipe, size: tuple[int, ...], images: int, device: str) -> dict[str, Tensor]:
    classes = getattr(recipe.model, "num_classes", 0) or 1
    shape = images, recipe.model.in_channels, *size
    if device == "cpu":
        torch.manual_seed(recipe.seed)
        soft = bool(recipe.distill.teachers)
        targets = torch.zeros(images, classes) if soft else torch.zeros(images, dtype=torch.long)
        return {"images": torch.randn(shape), "targets": targets}
    return {
        "images": torch.empty(shape, device=device),
        "targets": torch.empty(images, classes, device=device),
    }


@dataclass(frozen=True)
class PassBytes:
    """What a forward pass alone takes, as in computing features, in bytes, and its arithmetic."""

    images: int
    """Images, or clips, that are computed at a time."""
    inputs: int
    peak: int
    """The most that is alive at a time, without weights and inputs."""
    multiply_adds: int


def pretended_pass(network: nn.Module, size: tuple[int, ...], images: int) -> PassBytes:
    """A forward pass in float32 of a network on the meta device, as a GPU would do it. size: (channels, ...)."""
    inputs = torch.empty(images, *size, device="meta")
    watch = Watch([*network.parameters(), *network.buffers(), inputs], "meta")
    with torch.no_grad(), PretendGpu(), watch:
        network.eval()(inputs)
    return PassBytes(images, inputs.nbytes, watch.peak, watch.flops // 2)


def _states(optimize: OptimizeConfig) -> int:
    """Numbers that the optimizer keeps for each trained one: AdamW's two means, SGD's momentum."""
    if optimize.method == "adamw":
        return 2
    return 1 if optimize.betas[0] else 0


def _bytes_of(network: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))


def _units(networks: list[nn.Module]) -> tuple[tuple[int, ...], int]:
    blocks = [block for network in networks for block in blocks_of(network)]
    sizes = [sum(parameter.numel() for parameter in block.parameters()) for block in blocks]
    inside = {id(parameter) for block in blocks for parameter in block.parameters()}
    left = [sum(one.numel() for one in network.parameters() if id(one) not in inside) for network in networks]
    return (*sizes, *left), len(left)
