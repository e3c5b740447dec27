"""The transposed NesT and what it is compared with do what their names and their papers say."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.models.gan.config import (
    GAN_SIZES,
    GENERATOR_SIZES,
    GanConfig,
    GeneratorConfig,
    build_discriminator,
    build_generator,
    build_networks,
)
from hvit.models.gan.conv_generator import (
    CONVOLUTION_GENERATOR_SIZES,
    ConvolutionGenerator,
    ConvolutionGeneratorConfig,
    count_parameters,
    match_parameters,
)
from hvit.models.gan.discriminators import BlurBlock, ResidualDiscriminatorConfig, SaganDiscriminatorConfig
from hvit.models.gan.layers import MapAttention, blur_pool, spectral
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
CONVOLUTION = ConvolutionGeneratorConfig(
    output_size=(16, 16), out_channels=1, latent_dim=6, dims=(8, 8, 4), attention_side=8
)
RESIDUAL = ResidualDiscriminatorConfig(input_size=(16, 16), in_channels=1, dims=(4, 6, 8))
SAGAN = SaganDiscriminatorConfig(input_size=(16, 16), in_channels=1, dims=(4, 6, 8), attention_side=8)
GENERATORS: list[GeneratorConfig] = [NEST, replace(NEST, attention_span="plane"), CONVOLUTION]
FUNCTIONS: tuple[Deaggregation, ...] = get_args(Deaggregation)


def number_of_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def largest_singular_value(weight: Tensor) -> float:
    return float(torch.linalg.matrix_norm(weight.detach().flatten(1), ord=2))


def spectral_layers(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if hasattr(module, "parametrizations")]


@pytest.mark.parametrize(("name", "millions"), [("nest_generator_64", 74.4), ("transgan_like_64", 82.6)])
def test_published_generators_have_the_published_numbers_of_parameters(name: str, millions: float) -> None:
    with torch.device("meta"):
        assert number_of_parameters(build_generator(GENERATOR_SIZES[name])) == pytest.approx(millions * 1e6, rel=0.01)


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


@pytest.mark.parametrize("config", [RESIDUAL, SAGAN])
def test_discriminators_give_one_logit_and_project_the_label(config) -> None:
    torch.manual_seed(0)
    images = torch.randn(3, 1, 16, 16)
    assert build_discriminator(config)(images).shape == (3,)
    discriminator = build_discriminator(replace(config, num_classes=4)).eval()
    features, labels = discriminator.features(images), torch.tensor([0, 3, 1])
    assert isinstance(discriminator.classes, nn.Embedding)
    expected = discriminator.head(features)[:, 0] + (features * discriminator.classes.weight[labels]).sum(1)
    torch.testing.assert_close(discriminator(images, labels), expected)
    assert not torch.allclose(discriminator(images, labels), discriminator(images, labels + 1 - 2 * (labels == 3)))
    with pytest.raises(UserError, match="needs a label"):
        discriminator(images)
    with pytest.raises(UserError, match=r"\(batch, 1, 16, 16\)"):
        discriminator(images[..., :8], labels)


@pytest.mark.parametrize("config", [CONVOLUTION, SAGAN])
def test_spectral_norm_keeps_every_largest_singular_value_at_one(config) -> None:
    torch.manual_seed(0)
    network = build_discriminator(config) if config is SAGAN else build_generator(config)
    layers = spectral_layers(network)
    assert len(layers) >= 10
    for parameter in network.parameters():  # far from where the power iteration was
        nn.init.normal_(parameter, std=0.5)
    network.train()
    for _ in range(60):
        weights = [layer.weight for layer in layers]
    for weight in weights:
        assert isinstance(weight, Tensor)
        assert largest_singular_value(weight) == pytest.approx(1, abs=0.02)
    buffers = [buffer.clone() for buffer in network.buffers()]
    network.eval()
    assert [layer.weight for layer in layers]
    assert all(torch.equal(*pair) for pair in zip(buffers, network.buffers(), strict=True))


def test_spectral_norm_is_in_float32_under_autocast_and_survives_two_passes() -> None:
    torch.manual_seed(0)
    layer = spectral(nn.Conv2d(3, 8, 3))
    expected = layer.eval().weight
    assert isinstance(expected, Tensor)
    images = torch.randn(1, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer.weight, expected)  # pyright: ignore[reportArgumentType]
        loss = layer.train()(images).float().sum() + layer(2 * images).float().square().sum()
    loss.backward()
    assert torch.isfinite(layer.get_parameter("parametrizations.weight.original").grad).all()  # pyright: ignore


def test_attention_on_a_plane_is_the_naive_formula_and_opens_from_nothing() -> None:
    torch.manual_seed(0)
    attention, planes = MapAttention(8).eval(), torch.randn(2, 8, 4, 6)
    assert torch.equal(attention(planes), planes)
    nn.init.constant_(attention.gain, 0.7)
    query = attention.query(planes).flatten(2)
    key, value = (F.max_pool2d(part(planes), 2).flatten(2) for part in (attention.key, attention.value))
    mixed = torch.zeros(2, 4, 24)
    for image in range(2):
        for place in range(24):
            weights = torch.softmax(query[image, :, place] @ key[image], dim=0)
            mixed[image, :, place] = value[image] @ weights
    expected = planes + 0.7 * attention.proj(mixed.view(2, 4, 4, 6))
    torch.testing.assert_close(attention(planes), expected, rtol=1e-4, atol=1e-5)


def test_blurred_halving_keeps_brightness_and_wipes_out_the_finest_stripes() -> None:
    inside = blur_pool(torch.ones(1, 2, 8, 8))[:, :, 1:-1, 1:-1]
    torch.testing.assert_close(inside, torch.ones_like(inside))
    stripes = torch.tensor([1.0, -1.0]).repeat(4).expand(1, 1, 8, 8)
    assert blur_pool(stripes)[..., 1:-1].abs().max() < 1e-6
    impulse = torch.zeros(1, 1, 8, 8)
    impulse[..., 4, 3] = 1
    row, column = torch.tensor([0, 1, 3, 0]) / 8, torch.tensor([0, 3, 1, 0]) / 8
    torch.testing.assert_close(blur_pool(impulse)[0, 0], torch.outer(row, column))


def test_residual_blocks_are_the_published_formula() -> None:
    torch.manual_seed(0)
    block, planes = BlurBlock(3, 5), torch.randn(2, 3, 8, 8)
    branch = F.leaky_relu(block.convolution1(planes), 0.2)
    branch = F.leaky_relu(block.convolution2(blur_pool(branch)), 0.2)
    torch.testing.assert_close(block(planes), (branch + block.skip(blur_pool(planes))) / 2**0.5)


@pytest.mark.parametrize("name", ["nest", "conv", "sagan"])
def test_a_game_and_its_weights_come_back_from_files(tmp_path: Path, name: str) -> None:
    config = {
        "nest": GanConfig(NEST, RESIDUAL, diff_augment=("color",)),
        "conv": GanConfig(CONVOLUTION, RESIDUAL),
        "sagan": GanConfig(CONVOLUTION, SAGAN, loss="hinge", r1_weight=0.0, conditional=True).with_classes(2),
    }[name]
    read = TypeAdapter(GanConfig).validate_json(json.dumps(asdict(config)))
    assert read == config
    labels = torch.tensor([0, 1]) if config.num_classes else None
    torch.manual_seed(0)
    for build, part, inputs in (
        (build_generator, "generator", torch.randn(2, 6)),
        (build_discriminator, "discriminator", torch.randn(2, 1, 16, 16)),
    ):
        network = build(getattr(config, part))
        network.train()(inputs, labels)
        save_file(network.state_dict(), tmp_path / f"{part}.safetensors")
        other = build(getattr(read, part))
        other.load_state_dict(load_file(tmp_path / f"{part}.safetensors"))
        for again in (other, copy.deepcopy(network)):
            assert torch.equal(again.eval()(inputs, labels), network.eval()(inputs, labels))


def test_the_number_of_classes_follows_from_the_data_only_where_the_game_has_labels() -> None:
    game = GanConfig(NEST, RESIDUAL)
    assert game.with_classes(10) == game
    labelled = replace(game, conditional=True).with_classes(10)
    assert labelled.generator.num_classes == labelled.discriminator.num_classes == labelled.num_classes == 10
    assert labelled.with_classes(0).num_classes == 0
    networks = build_networks(labelled)
    assert networks.generator.classes is not None
    assert networks.discriminator.classes is not None


def test_gradients_reach_every_weight() -> None:
    torch.manual_seed(0)
    for config in [*GENERATORS, RESIDUAL, SAGAN]:
        is_judge = isinstance(config, (ResidualDiscriminatorConfig, SaganDiscriminatorConfig))
        network = build_discriminator(config) if is_judge else build_generator(config)
        network(torch.randn(4, 1, 16, 16) if is_judge else torch.randn(4, 6)).square().sum().backward()
        assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("config", "fields", "words"),
    [
        (NEST, {"dims": (16, 8)}, "one entry per level"),
        (NEST, {"heads": (3, 2, 1)}, "divisible by heads"),
        (NEST, {"dims": (18, 8, 8)}, "divisible by 4"),
        (NEST, {"output_size": (18, 18)}, "multiple of 4, such as 16"),
        (NEST, {"output_size": (16, 32)}, "generates squares"),
        (NEST, {"latent_dim": 0}, "1 or more"),
        (NEST, {"deaggregation": "bilinear"}, "must be one of pixel_shuffle"),
        (CONVOLUTION, {"output_size": (32, 32)}, "images of 16 x 16"),
        (CONVOLUTION, {"attention_side": 4}, "one of 8, 16; got 4"),
        (RESIDUAL, {"dims": (4, 8)}, "images of 8 x 8"),
        (SAGAN, {"attention_side": 16}, "one of 8, 4; got 16"),
    ],
)
def test_impossible_sizes_are_refused(config, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        replace(config, **fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"discriminator": replace(RESIDUAL, in_channels=3)}, "in_channels"),
        ({"generator": replace(NEST, num_classes=3)}, "need conditional"),
        ({"generator": replace(NEST, num_classes=3), "conditional": True}, "and num_classes of the other alike"),
        ({"r1_weight": -1.0}, "0 or more"),
        ({"r1_every": 0}, "1 or more"),
        ({"diff_augment": ("colour",)}, r"color, translation, cutout; got \('colour',\)"),
        ({"consistency": 1.0, "consistency_augment": ()}, "needs consistency_augment"),
        ({"loss": "wasserstein"}, "logistic, hinge"),
    ],
)
def test_impossible_games_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        replace(GanConfig(NEST, RESIDUAL), **fields)


@pytest.mark.parametrize(
    "labels", [[0, 1], torch.tensor([0.0, 1.0]), torch.tensor([[0], [1]]), torch.tensor([0, 3]), torch.tensor([-1, 0])]
)
def test_labels_that_are_no_classes_are_refused(labels: Any) -> None:
    generator: Any = build_generator(replace(GENERATOR_SIZES["nest_generator_digits_32"], num_classes=3))
    with pytest.raises(UserError, match=r"labels must be a tensor|classes 0 to 2"):
        generator(torch.randn(2, 64), labels)
    with pytest.raises(UserError, match="latents must be a tensor of floating-point numbers; got int64"):
        generator(torch.zeros(2, 64, dtype=torch.int64), torch.tensor([0, 1]))
