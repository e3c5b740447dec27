"""How many bytes a device sends in a step, and how long that takes.

Collective operations move what their ring algorithms move (Patarasuk and Yuan 2009; NVIDIA's nccl-tests,
doc/PERFORMANCE.md): of n devices each sends (n - 1) / n of the whole in an all-gather or a reduce-scatter, and twice
that in an all-reduce, which is one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Parallel = Literal["ddp", "fsdp", "hsdp"]


@dataclass(frozen=True)
class Cluster:
    """Devices and the links between them. Bandwidths are 10^9 bytes a second, one way."""

    devices: int
    per_node: int
    """Devices of a node; the last node may have fewer."""
    link: float
    """Between the devices of a node, for each device."""
    between: float
    """Between nodes, for each device: its share of the network cards of its node."""

    group: int = 0
    """Devices over which HSDP shards one copy of the weights (`loop.shard_size`); 0: those of a node."""

    @property
    def nodes(self) -> int:
        """Nodes, of which each is full."""
        return -(-self.devices // self.per_node)


@dataclass(frozen=True)
class Traffic:
    """What one device sends in a step."""

    inside: float
    """Bytes that go through collectives of one node, or of all devices where they are on one node."""
    across: float
    """Bytes that go through collectives over all nodes."""
    seconds: float
    """How long the links are busy with it, one collective after the other."""


def all_reduce(size: float, members: int) -> float:
    """Bytes each of so many devices sends to have the sum of `size` bytes in all."""
    return 2 * all_gather(size, members)


def all_gather(size: float, members: int) -> float:
    """Bytes each of so many devices sends until all have the `size` bytes of which each had a part.

    A reduce-scatter sends as much.
    """
    return size * (members - 1) / members


def traffic(
    parallel: Parallel, cluster: Cluster, gradients: float, gathered: float, gathers: int, scatters: int
) -> Traffic:
    """What a device sends in a step.

    gradients: bytes of all gradients. gathered: bytes of all weights as they are gathered. gathers, scatters: how often
    a step gathers all weights (in every forward and every backward pass), and adds up all gradients.
    """
    if parallel == "ddp":
        return _over_all(cluster, scatters * all_reduce(gradients, cluster.devices))
    if parallel == "fsdp":
        members = cluster.devices
        return _over_all(cluster, gathers * all_gather(gathered, members) + scatters * all_gather(gradients, members))
    shards, copies = shards_of("hsdp", cluster), cluster.devices / shards_of("hsdp", cluster)
    inside = gathers * all_gather(gathered, shards) + scatters * all_gather(gradients, shards)
    across = scatters * 2 * (gradients / shards) * (copies - 1) / copies
    link = cluster.link if shards <= cluster.per_node else min(cluster.link, cluster.between * cluster.per_node)
    seconds = inside / (1e9 * link) + across / (1e9 * min(cluster.between, cluster.link))
    return Traffic(inside, across, seconds)


def shards_of(parallel: Parallel, cluster: Cluster) -> int:
    """Over how many devices weights, gradients and optimizer state are divided."""
    if parallel == "hsdp":
        return cluster.group or min(cluster.per_node, cluster.devices)
    return cluster.devices if parallel == "fsdp" else 1


def _over_all(cluster: Cluster, size: float) -> Traffic:
    """A collective over all devices.

    On several nodes as many rings as a node has devices go through all of them, each with its part of the bytes, and
    leave each node through a network card of their own. So the slower one of a device's link and of all cards of a
    node sets the time.
    """
    if cluster.nodes == 1:
        return Traffic(size, 0.0, size / (1e9 * cluster.link))
    return Traffic(0.0, size, size / (1e9 * min(cluster.link, cluster.between * cluster.per_node)))
