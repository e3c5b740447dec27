"""Stochastic depth and truncated normal initialisation."""

from __future__ import annotations

import pytest
import torch

from hvit.models.layers.blocks import DropPath, drop_path_rates, truncated_normal_


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
