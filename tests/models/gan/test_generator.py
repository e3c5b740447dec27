"""What every generator does: images of latents and labels, each sample alone, initialised as documented."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from hvit.errors import UserError
from hvit.models.gan.config import (
    GENERATOR_SIZES,
    GeneratorConfig,
    build_discriminator,
    build_generator,
)
from hvit.models.gan.conv_generator import (
    ConvolutionGeneratorConfig,
)
from hvit.models.gan.discriminators import ResidualDiscriminatorConfig, SaganDiscriminatorConfig
from hvit.models.gan.nest_generator import (
    NEST_GENERATOR_SIZES,
    NestGenerator,
    NestGeneratorConfig,
)

NEST = NestGeneratorConfig(
    output_size=(16, 16), out_channels=1, latent_dim=6, dims=(16, 8, 8), heads=(2, 2, 1), depths=(1, 1, 1)
)
CONVOLUTION = ConvolutionGeneratorConfig(
    output_size=(16, 16), out_channels=1, latent_dim=6, dims=(8, 8, 4), attention_side=8
)
RESIDUAL = ResidualDiscriminatorConfig(input_size=(16, 16), in_channels=1, dims=(4, 6, 8))
SAGAN = SaganDiscriminatorConfig(input_size=(16, 16), in_channels=1, dims=(4, 6, 8), attention_side=8)
GENERATORS: list[GeneratorConfig] = [NEST, replace(NEST, attention_span="plane"), CONVOLUTION]


@pytest.mark.parametrize("config", GENERATORS)
def test_images_have_the_size_asked_for_and_lie_between_minus_one_and_one(config: GeneratorConfig) -> None:
    torch.manual_seed(0)
    generator = build_generator(config).eval()
    latents = 100 * torch.randn(3, 6)
    images = generator(latents)
    assert images.shape == (3, 1, 16, 16)
    assert images.abs().max() <= 1
    assert images.std(dim=0).max() > 0
    free = build_generator(replace(config, output_activation="none")).eval()
    free.load_state_dict(generator.state_dict())
    torch.testing.assert_close(free(latents).tanh(), images)
    free.get_parameter("to_pixels.bias").data.fill_(5.0)
    assert free(latents).max() > 1


@pytest.mark.parametrize("config", GENERATORS)
def test_a_label_is_a_shift_of_the_latent(config: GeneratorConfig) -> None:
    torch.manual_seed(0)
    generator = build_generator(replace(config, num_classes=3)).eval()
    latents, labels = torch.randn(2, 6), torch.tensor([2, 0])
    assert generator.classes is not None
    moved = latents + generator.classes.weight[labels]
    torch.testing.assert_close(generator(latents, labels), generator.generate(moved))
    assert not torch.allclose(generator(latents, labels), generator(latents, labels.flip(0)), atol=1e-3)
    with pytest.raises(UserError, match="needs a label"):
        generator(latents)
    with pytest.raises(UserError, match="no classes"):
        build_generator(config)(latents, labels)
    with pytest.raises(UserError, match=r"latents \(batch, 6\)"):
        generator(torch.randn(2, 7), labels)


@pytest.mark.parametrize("config", GENERATORS)
def test_a_sample_does_not_depend_on_those_beside_it(config: GeneratorConfig) -> None:
    torch.manual_seed(0)
    generator, latents = build_generator(config).eval(), torch.randn(4, 6)
    torch.testing.assert_close(generator(latents)[1:2], generator(latents[1:2]))


def test_new_weights_are_drawn_as_documented() -> None:
    torch.manual_seed(0)
    generator = NestGenerator(replace(NEST_GENERATOR_SIZES["nest_generator_digits_32"], num_classes=10))
    for name, parameter in generator.state_dict().items():
        if name.endswith("positions"):
            assert float(parameter.std()) == pytest.approx(0.0176, rel=0.1)
        elif name == "classes.weight":
            assert float(parameter.std()) == pytest.approx(1.0, rel=0.1)
        elif parameter.ndim == 2:
            bound = (6 / sum(parameter.shape)) ** 0.5
            assert 0.8 * bound < float(parameter.abs().max()) <= bound
        else:
            norm = ".norm" in name or name.startswith("norm")
            assert torch.equal(parameter, torch.full_like(parameter, float(norm and name.endswith("weight"))))


def test_gradients_reach_every_weight() -> None:
    torch.manual_seed(0)
    for config in [*GENERATORS, RESIDUAL, SAGAN]:
        is_judge = isinstance(config, (ResidualDiscriminatorConfig, SaganDiscriminatorConfig))
        network = build_discriminator(config) if is_judge else build_generator(config)
        network(torch.randn(4, 1, 16, 16) if is_judge else torch.randn(4, 6)).square().sum().backward()
        assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(
    "labels", [[0, 1], torch.tensor([0.0, 1.0]), torch.tensor([[0], [1]]), torch.tensor([0, 3]), torch.tensor([-1, 0])]
)
def test_labels_that_are_no_classes_are_refused(labels: Any) -> None:
    generator: Any = build_generator(replace(GENERATOR_SIZES["nest_generator_digits_32"], num_classes=3))
    with pytest.raises(UserError, match=r"labels must be a tensor|classes 0 to 2"):
        generator(torch.randn(2, 64), labels)
    with pytest.raises(UserError, match="latents must be a tensor of floating-point numbers; got int64"):
        generator(torch.zeros(2, 64, dtype=torch.int64), torch.tensor([0, 1]))
