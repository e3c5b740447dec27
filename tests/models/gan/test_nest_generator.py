"""The transposed NesT: its published size, its tree of blocks, and how a block becomes four."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch import nn

from hvit.models.gan.config import (
    GENERATOR_SIZES,
    build_generator,
)
from hvit.models.gan.nest_generator import (
    NEST_GENERATOR_SIZES,
    BlockDeaggregation,
    Deaggregation,
    GeneratorLevel,
    NestGenerator,
    NestGeneratorConfig,
)

NEST = NestGeneratorConfig(
    output_size=(16, 16), out_channels=1, latent_dim=6, dims=(16, 8, 8), heads=(2, 2, 1), depths=(1, 1, 1)
)
FUNCTIONS: tuple[Deaggregation, ...] = get_args(Deaggregation)


def number_of_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("name", "millions"), [("nest_generator_64", 74.4), ("transgan_like_64", 82.6)])
def test_published_generators_have_the_published_numbers_of_parameters(name: str, millions: float) -> None:
    with torch.device("meta"):
        assert number_of_parameters(build_generator(GENERATOR_SIZES[name])) == pytest.approx(millions * 1e6, rel=0.01)


def test_every_level_has_twice_the_side_and_its_own_width() -> None:
    grids = NestGenerator(replace(NEST, dims=(16, 8, 4), heads=(2, 2, 2))).levels(torch.randn(2, 6))
    assert [tuple(grid.shape) for grid in grids] == [(2, 4, 4, 16), (2, 8, 8, 8), (2, 16, 16, 4)]


def test_the_published_size_has_nest_s_tree_of_blocks() -> None:
    with torch.device("meta"):
        generator = NestGenerator(NEST_GENERATOR_SIZES["nest_generator_64"])
    positions = [tuple(level.get_parameter("positions").shape) for level in generator.hierarchies]
    assert positions == [(1, 1, 64, 1024), (1, 4, 64, 256), (1, 16, 64, 64), (1, 64, 64, 16)]


@pytest.mark.parametrize("next_dim", [2, 5])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_deaggregation_doubles_the_side_with_its_documented_parameters(function, next_dim: int) -> None:
    layer = BlockDeaggregation(8, next_dim, function)
    expected = {
        "pixel_shuffle": 0 if next_dim == 2 else 2 * next_dim + next_dim,
        "pixel_shuffle_conv3": 9 * 2 * next_dim + next_dim,
        "nearest_conv3": 9 * 8 * next_dim + next_dim,
        "transposed_conv3": 9 * 8 * next_dim + next_dim,
    }
    assert number_of_parameters(layer) == expected[function]
    assert layer(torch.randn(2, 4, 6, 8)).shape == (2, 8, 12, next_dim)


def test_pixel_shuffle_lays_the_quarters_of_a_token_where_it_was() -> None:
    grid = torch.randn(1, 2, 3, 8)
    fine = BlockDeaggregation(8, 2, "pixel_shuffle")(grid)
    for row in range(4):
        for column in range(6):
            quarter = 2 * (row % 2) + column % 2
            token = grid[0, row // 2, column // 2]
            assert torch.equal(fine[0, row, column], token[quarter::4])


@pytest.mark.parametrize("span", ["block", "plane"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_blocks_meet_in_deaggregation_by_convolution_only(function: Deaggregation, span: Any) -> None:
    torch.manual_seed(0)
    level = GeneratorLevel(replace(NEST, deaggregation=function, attention_span=span), 1)
    for parameter in level.parameters():
        nn.init.normal_(parameter, std=0.3)
    grid = torch.randn(1, 4, 4, 16, requires_grad=True)
    block = level(grid)[:, :4, :4]  # the first of four blocks, made of the first 2 x 2 tokens above
    (gradient,) = torch.autograd.grad((block * torch.randn_like(block)).sum(), grid)
    reached = gradient.abs().amax(dim=(0, 3)) > 0
    assert reached[:2, :2].all()
    near = function != "pixel_shuffle"
    assert bool(reached[2, :2].any()) == (near or span == "plane")
    assert bool(reached[3, 3]) == (span == "plane")
