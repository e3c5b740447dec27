"""The convolutional generator: as many parameters as the transposed NesT, and batch norm at evaluation."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from hvit.models.gan.config import (
    GAN_SIZES,
)
from hvit.models.gan.conv_generator import (
    CONVOLUTION_GENERATOR_SIZES,
    ConvolutionGenerator,
    ConvolutionGeneratorConfig,
    count_parameters,
    match_parameters,
)
from hvit.models.gan.nest_generator import (
    NEST_GENERATOR_SIZES,
    NestGenerator,
)

CONVOLUTION = ConvolutionGeneratorConfig(
    output_size=(16, 16), out_channels=1, latent_dim=6, dims=(8, 8, 4), attention_side=8
)


def number_of_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("size", ["64", "32", "micro_32", "digits_32"])
def test_a_nest_generator_and_its_convolutional_baseline_have_as_many_parameters(size: str) -> None:
    nest, baseline = (
        NEST_GENERATOR_SIZES[f"nest_generator_{size}"],
        CONVOLUTION_GENERATOR_SIZES[f"conv_generator_{size}"],
    )
    with torch.device("meta"):
        parameters = number_of_parameters(NestGenerator(nest))
    assert count_parameters(baseline) == pytest.approx(parameters, rel=0.01)
    assert (baseline.output_size, baseline.out_channels, baseline.latent_dim) == (
        nest.output_size, nest.out_channels, nest.latent_dim)  # fmt: skip
    games = GAN_SIZES[f"nest_gan_{size}"], GAN_SIZES[f"conv_gan_{size}"]
    assert games[0] == replace(games[1], generator=nest)


@pytest.mark.parametrize("config", [CONVOLUTION, replace(CONVOLUTION, num_classes=3, attention_side=16)])
def test_parameters_of_convolutional_generators_are_counted_without_building_them(config) -> None:
    assert count_parameters(config) == number_of_parameters(ConvolutionGenerator(config))


@pytest.mark.parametrize(
    ("wanted", "multiple", "within"), [(74_400_000, 8, 0.005), (77_800_000, 1, 0.002), (10**6, 4, 0.02)]
)
def test_widths_are_found_for_a_number_of_parameters(wanted: int, multiple: int, within: float) -> None:
    found = match_parameters(ConvolutionGeneratorConfig(), wanted, multiple)
    assert count_parameters(found) == pytest.approx(wanted, rel=within)
    assert all(dim % multiple == 0 for dim in found.dims)
    assert found.dims[0] / found.dims[2] == pytest.approx(2, rel=0.1)


def test_batch_norm_expects_what_it_sees_once_it_has_settled() -> None:
    torch.manual_seed(0)
    generator, latents = ConvolutionGenerator(replace(CONVOLUTION, num_classes=2)), torch.randn(128, 6)
    for parameter in generator.parameters():  # weights that no batch has been seen with
        parameter.data.mul_(1.5)
    labels = torch.arange(128) % 2
    layers = {name: value.clone() for name, value in generator.state_dict().items() if "weight.0." in name}
    generator.eval().settle(latents, labels)
    seen: list[Tensor] = []
    generator.norm.register_forward_hook(lambda module, inputs, output: seen.append(output))
    settled = generator(latents, labels)
    assert not generator.norm.training
    torch.testing.assert_close(seen[0].mean((0, 2, 3)), generator.norm.bias, atol=0.05, rtol=0)
    torch.testing.assert_close(seen[0].std((0, 2, 3)), generator.norm.weight, atol=0.05, rtol=0)
    generator.settle(latents, labels)
    assert torch.equal(generator(latents, labels), settled)
    state = generator.state_dict()
    assert all(torch.equal(state[name], value) for name, value in layers.items())  # spectral norm was left alone
