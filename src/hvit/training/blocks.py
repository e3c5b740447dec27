"""What the blocks of a network are: the unit in which it is sharded, compiled, and computed again."""

from __future__ import annotations

from torch import nn


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """The blocks of a network, in order: of NesT, Hiera, MViT and ViT their layers, of ResNets their bottlenecks.

    One rule declares them for all families, those of other libraries too: blocks are the innermost compound modules
    with weights that stand in a list or a sequence. A test has the blocks of every family.
    """
    members = {
        child: True
        for parent in network.modules()
        if isinstance(parent, nn.ModuleList | nn.Sequential)
        for child in parent.children()
        if any(True for _ in child.children()) and any(True for _ in child.parameters())
    }
    return [block for block in members if not any(inner in members for inner in block.modules() if inner is not block)]
