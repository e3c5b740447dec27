"""Stochastic depth and truncated normal initialisation."""

from __future__ import annotations

import pytest
import torch
from timm.layers import DropPath as TimmDropPath
from torch import nn
from torchvision.ops import StochasticDepth

from hvit.models.baselines import Resnet, ResnetConfig
from hvit.models.layers.blocks import Dropout, DropPath, draw_by_sample, drop_path_rates, truncated_normal_
from hvit.randomness import Share, drawing_for


def test_rates_grow_linearly_from_nothing_to_the_last() -> None:
    assert drop_path_rates(0.3, 4) == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert drop_path_rates(0.3, 1) == [0.0]


def test_drop_path_drops_whole_samples_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    layer, branch = DropPath(0.25), torch.ones(4000, 2, 3)
    dropped = layer(branch)
    values = dropped.flatten(1)
    assert torch.equal(values.amin(1), values.amax(1))
    assert sorted(set(values[:, 0].tolist())) == pytest.approx([0.0, 4 / 3])
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.05)
    assert torch.equal(layer.eval()(branch), branch)


def test_initial_weights_are_cut_at_two_standard_deviations() -> None:
    weight = torch.empty(100, 100)
    truncated_normal_(weight)
    assert float(weight.abs().max()) <= 0.04
    assert float(weight.std()) == pytest.approx(0.0176, abs=0.001)


@pytest.mark.parametrize(
    "layer", [nn.Dropout(0.3), TimmDropPath(0.3), StochasticDepth(0.3, "row")], ids=["dropout", "timm", "torchvision"]
)
def test_layers_of_other_libraries_draw_for_samples_the_numbers_that_they_drew(layer: nn.Module) -> None:
    network, inputs = nn.Sequential(layer), torch.ones(12, 5)
    torch.manual_seed(0)
    theirs = network(inputs)
    draw_by_sample(network)
    assert isinstance(network[0], Dropout | DropPath)
    assert network[0].training
    places = torch.tensor([3, 8])
    for share in (None, Share(torch.arange(12), 12), Share(places, 12)):
        seen = torch.arange(12) if share is None else share.places
        torch.manual_seed(0)
        with drawing_for(share):
            assert torch.equal(network(inputs[seen]), theirs[seen])
    assert torch.equal(network.eval()(inputs), inputs)


def test_models_of_timm_drop_by_sample() -> None:
    config = ResnetConfig(input_size=(32, 32), num_classes=3, dims=(8, 8, 8, 8), depths=(1, 1, 1, 1), drop_path=0.2)
    model = Resnet(config)
    kinds = {type(module) for module in model.modules() if type(module).__name__ == "DropPath"}
    assert kinds == {DropPath}
