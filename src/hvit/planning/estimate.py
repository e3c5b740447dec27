"""From what a step takes to a plan: memory of a device, time, communication, data and cost, for each parallel mode."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor

from hvit.errors import UserError
from hvit.planning.communication import Cluster, Parallel, Traffic, shards_of, traffic
from hvit.planning.gpus import Gpu
from hvit.planning.step import KeptBytes, StepBytes

MODES: tuple[Parallel, ...] = ("ddp", "fsdp", "hsdp")
_FULL, _LOW = 4, 2  # bytes of a number in float32 and in bfloat16


@dataclass(frozen=True)
class Assumed:
    """What no step shows, and a plan therefore assumes."""

    efficiency: float
    """Share of the GPU's peak arithmetic that a step reaches."""
    overlap: float
    """Share of the time of the arithmetic during which communication can run."""
    reserve: float
    """Share of the GPU's memory that is left to its driver, to buffers of communication and to gaps."""


@dataclass(frozen=True)
class Batch:
    """How a step's batch is divided."""

    total: int
    devices: int
    parts: int
    """Parts that a device computes one after the other (`loop.accumulate`)."""

    @property
    def part(self) -> int:
        """Images, or clips, that a device has at a time."""
        return self.total // (self.devices * self.parts)


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes on one device, at most: gradients are counted in full, though they grow while activations shrink."""

    weights: float
    fixed: float
    """Networks that are used and not trained, such as teachers."""
    gradients: float
    optimizer: float
    average: float
    communication: float
    """Copies of gradients in DDP's buckets; weights that are gathered, and their gradients, where they are divided."""
    inputs: float
    activations: float
    """What the forward pass leaves for the backward pass."""
    working: float
    """What the backward pass needs on top."""

    @property
    def kept(self) -> float:
        """What does not grow with the batch."""
        return self.weights + self.fixed + self.gradients + self.optimizer + self.average + self.communication

    @property
    def total(self) -> float:
        """All of it."""
        return self.kept + self.inputs + self.activations + self.working


@dataclass(frozen=True)
class StepTime:
    """Seconds of a step on one device."""

    compute: float
    traffic: Traffic
    exposed: float
    """Communication that no arithmetic hides."""
    update: float
    """The optimizer's step, in which memory is read and written."""

    @property
    def seconds(self) -> float:
        """The whole step."""
        return self.compute + self.exposed + self.update


def device_memory(
    mode: Parallel, cluster: Cluster, kept: KeptBytes, step: StepBytes, low: bool, offload: bool = False
) -> DeviceMemory:
    """What one device holds in a parallel mode. low: whether in bfloat16. offload: whether shards wait in the host.

    Where weights are divided, two blocks are gathered at a time (the present and the next one) with the gradients of
    one, and what is in no block until the step's end; casts of weights are those gathered ones.
    """
    shards = shards_of(mode, cluster)
    communication, casts = 0.0, 0
    if shards > 1:
        blocks, rest = kept.units[: len(kept.units) - kept.roots], kept.units[len(kept.units) - kept.roots :]
        largest = sorted(blocks, reverse=True)[:2]
        gathered = sum(largest) + sum(rest)
        communication = gathered * (_LOW if low else _FULL) + _FULL * max((*largest[:1], *rest), default=0)
        casts = step.casts
    elif cluster.devices > 1:
        communication = kept.gradients
    here = 0.0 if offload and shards > 1 else 1 / shards
    return DeviceMemory(
        weights=kept.weights * here,
        fixed=kept.fixed,
        gradients=kept.gradients * here,
        optimizer=kept.optimizer * here,
        average=kept.average * here,
        communication=communication,
        inputs=step.inputs,
        activations=step.saved - casts,
        working=max(0, step.peak - step.saved - kept.gradients),
    )


def largest_part(memory: DeviceMemory, larger: DeviceMemory, images: int, more: int, room: float) -> int:
    """The most images, or clips, that a device has room for at a time; 0 where not one fits.

    memory, larger: what `images` and `more` of them take, from which others follow in a straight line. room: bytes.
    """
    slope = (larger.total - memory.total) / (more - images)
    return max(0, floor((room - memory.total) / slope) + images)


def parts_needed(batch: Batch, largest: int) -> int | None:
    """In how many parts a device's share of the batch fits; None where it does in none."""
    share = batch.total // batch.devices
    fitting = [parts for parts in range(1, share + 1) if share % parts == 0 and share // parts <= largest]
    return min(fitting, default=None)


def step_time(
    mode: Parallel, cluster: Cluster, kept: KeptBytes, step: StepBytes, batch: Batch, gpu: Gpu, assumed: Assumed,
    low: bool,
) -> StepTime:  # fmt: skip
    """How long a step takes.

    Of several parts sharded weights are gathered, and their gradients added up, for each; DDP adds up once. The
    optimizer reads and writes each number once, gradients it reads.
    """
    operations = 2 * step.multiply_adds / step.images * batch.part * batch.parts
    compute = operations / (1e12 * (gpu.low if low else gpu.full) * assumed.efficiency)
    moved = traffic(
        mode,
        cluster,
        kept.gradients,
        sum(kept.units) * (_LOW if low else _FULL),
        gathers=2 * batch.parts,
        scatters=1 if mode == "ddp" else batch.parts,
    )
    touched = (3 * kept.gradients + 2 * kept.optimizer + 2 * kept.average) / shards_of(mode, cluster)
    update = touched / (1e9 * gpu.bandwidth) if gpu.bandwidth else 0.0
    return StepTime(compute, moved, max(0.0, moved.seconds - assumed.overlap * compute), update)


def divided(total: int, devices: int, parts: int) -> Batch:
    """A batch over devices and parts. Raises UserError where it does not divide."""
    if total % (devices * parts):
        raise UserError(
            f"loop.batch_size {total} must be divisible by {devices} devices x {parts} accumulated parts; set "
            f"--loop.batch-size, --loop.accumulate or --gpus"
        )
    return Batch(total, devices, parts)
