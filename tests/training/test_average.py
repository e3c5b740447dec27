"""The running average is the one of torch, computed at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from hvit.training.average import RunningAverage


@pytest.mark.parametrize("decay", [0.05, 0.5, 0.999])
def test_it_equals_an_average_computed_weight_by_weight_bit_for_bit(decay: float) -> None:
    def one_weight(averaged: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
        return averaged.lerp(current, 1.0 - min(decay, (1.0 + int(updates)) / (10.0 + int(updates))))

    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Linear(5, 5))
    expected, found = AveragedModel(network, avg_fn=one_weight), RunningAverage(network, decay)
    for _ in range(30):
        for parameter in network.parameters():
            parameter.data += torch.randn_like(parameter)
        network[1](torch.randn(2, 3, 4, 4))
        for average in (expected, found):
            average.update_parameters(network)
    assert list(expected.state_dict()) == list(found.state_dict())
    assert all(map(torch.equal, expected.state_dict().values(), found.state_dict().values()))
    assert int(found.n_averaged) == 30
    assert not torch.equal(found.module[0].weight, network[0].weight)


def test_it_learns_no_gradient() -> None:
    network = nn.Linear(2, 2)
    average = RunningAverage(network, 0.9)
    average.update_parameters(network)
    average.update_parameters(network)
    assert all(parameter.grad_fn is None for parameter in average.parameters())
