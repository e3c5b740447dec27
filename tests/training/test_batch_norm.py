"""Batch norm over processes is torch's in one process; `benchmarks/processes.py` and its test compare several."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed
from timm.layers import BatchNormAct2d
from torch import nn

from hvit.training.batch_norm import SharedBatchNorm, has_batch_norm, share_batch_norm


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("layer", [nn.BatchNorm2d(3), nn.BatchNorm2d(3, momentum=None), BatchNormAct2d(3)])
def test_in_one_process_it_is_the_batch_norm_that_it_was(layer: nn.Module) -> None:
    mine = copy.deepcopy(layer)
    share_batch_norm(mine)
    assert isinstance(mine, SharedBatchNorm)
    assert isinstance(mine, type(layer))
    for step in range(2):
        inputs = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(step)) * 3 + 1
        one, other = inputs.clone().requires_grad_(), inputs.clone().requires_grad_()
        usual, shared = layer(one), mine(other)
        torch.testing.assert_close(shared, usual)
        usual.pow(3).sum().backward()
        shared.pow(3).sum().backward()
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-4, atol=1e-4)
    for name, value in layer.state_dict().items():
        torch.testing.assert_close(mine.state_dict()[name], value)
    assert torch.equal(mine.eval()(inputs), mine(inputs))
    torch.testing.assert_close(mine(inputs), layer.eval()(inputs))


def test_networks_with_batch_norm_are_known() -> None:
    assert has_batch_norm(nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)))
    assert not has_batch_norm(nn.LayerNorm(3))
