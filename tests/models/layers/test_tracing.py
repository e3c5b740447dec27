"""A function that is one step of a traced program runs when the program does, with what it was given."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hvit.models.layers.tracing import is_symbolic, one_step


@one_step
def multiplied_where_long(tensor: Tensor, least: int, *, factor: int = 2) -> Tensor:
    """Decides by a shape, which no placeholder has."""
    return tensor * factor if tensor.shape[0] >= least else tensor


class Model(nn.Module):
    def forward(self, tensor: Tensor) -> Tensor:
        self.traced = is_symbolic(tensor)
        return multiplied_where_long(tensor, 3, factor=5) + 1


def test_a_step_decides_when_the_program_runs() -> None:
    model = Model()
    program = torch.fx.symbolic_trace(model)
    assert model.traced
    for length, factor in ((2, 1), (3, 5)):
        assert torch.equal(program(torch.ones(length)), torch.ones(length) * factor + 1)
        assert torch.equal(model(torch.ones(length)), torch.ones(length) * factor + 1)
    assert not model.traced
    assert sum(node.target is multiplied_where_long for node in program.graph.nodes) == 1
