"""Masked autoencoders: the official one exactly, every masking strategy, and nothing masked that leaks."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from hvit.errors import UserError
from hvit.models.baselines import VitConfig
from hvit.models.build import build
from hvit.models.hiera.config import HIERA_SIZES
from hvit.models.hiera.model import Hiera, HieraConfig
from hvit.models.layers.masking import Mask, spread_mask, zero_masked
from hvit.models.masked.config import MaskedConfig
from hvit.models.masked.masks import sample_visible
from hvit.models.masked.model import MaskedAutoencoder
from hvit.models.masked.targets import make_targets
from hvit.models.mvit.config import MVIT_SIZES
from hvit.models.mvit.simplification import SIMPLIFIED
from hvit.models.nest.config import NestConfig
from hvit.models.weights.load import load_weights

IMAGE = replace(
    HIERA_SIZES["hiera_tiny_224"], input_size=(64, 96), dims=(8, 16, 32, 64), depths=(1, 1, 2, 1), query_pools=2,
    num_classes=5, drop_path=0.0,
)  # fmt: skip
CLIP = replace(
    HIERA_SIZES["hiera_base_16x224"], input_size=(8, 64, 64), dims=(8, 16, 32, 64), depths=(1, 1, 2, 1), query_pools=2,
    num_classes=5, drop_path=0.0,
)  # fmt: skip
NEST = NestConfig(
    input_size=(32, 32), patch_size=(2, 2), num_classes=3, dims=(8, 16, 32), heads=(1, 2, 4), depths=(1, 1, 1)
)  # fmt: skip
VIT = VitConfig(input_size=(16, 32), patch_size=(4, 4), num_classes=3, dims=(16,), heads=(2,), depths=(2,))
SMALL: dict[str, Any] = {"decoder_dim": 16, "decoder_depth": 2, "decoder_heads": 4}
STRATEGIES: dict[str, MaskedConfig] = {
    "hiera, sparse": MaskedConfig(IMAGE, **SMALL),
    "hiera clip, tubes": MaskedConfig(CLIP, mask_ratio=0.75, mask_pattern="tube", **SMALL),
    "hiera, dense": MaskedConfig(IMAGE, encoding="dense", **SMALL),
    "mvitv2, dense": MaskedConfig(MVIT_SIZES["mvitv2_micro_32"], encoding="dense", **SMALL),
    "mvitv2 clip, dense, hog": MaskedConfig(
        MVIT_SIZES["mvitv2_micro_16x64"], encoding="dense", target="hog", decoder_depth=0
    ),
    "mvitv2 clip, mean, maskfeat": MaskedConfig(
        replace(
            MVIT_SIZES["mvitv2_micro_16x64"], expansion="mlp", norm_after_mean=True, query_pools=1, class_token=False
        ),
        encoding="dense",
        mask_ratio=0.4,
        mask_pattern="block",
        target="hog",
        multi_scale=False,
        decoder_depth=0,
    ),
    "vit, sparse": MaskedConfig(VIT, mask_ratio=0.75, multi_scale=False, **SMALL),
    "vit, mean and norm, sparse": MaskedConfig(replace(VIT, norm_after_mean=True), multi_scale=False, **SMALL),
    "vit, dense": MaskedConfig(VIT, encoding="dense", mask_unit=(1, 1), target="hog", decoder_depth=0),
    "mvitv2, separate and pad": MaskedConfig(SIMPLIFIED["mvitv2_micro_64_step_a"], **SMALL),
    "mvitv2, kernel = stride": MaskedConfig(SIMPLIFIED["mvitv2_micro_64_step_e"], **SMALL),
    "nest, whole blocks": MaskedConfig(NEST, mask_pattern="nested", mask_ratio=0.5, **SMALL),
    "nest, dense": MaskedConfig(NEST, encoding="dense", target="pixels", **SMALL),
}
EVERY_STRATEGY = pytest.mark.parametrize("config", STRATEGIES.values(), ids=list(STRATEGIES))


def shaken(model: Any, seed: int = 0) -> Any:
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draws) * 0.1)
    return model.eval()


def make(config: MaskedConfig) -> MaskedAutoencoder:
    torch.manual_seed(0)
    return shaken(MaskedAutoencoder(config, build(config.encoder)))


def inputs(config: MaskedConfig, count: int = 2) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(1)
    images = torch.randn(count, config.in_channels, *config.input_size, generator=draws)
    return images, sample_visible(count, config.unit_grid, config.mask_ratio, config.mask_pattern, generator=draws)


def official(config: HieraConfig) -> Any:
    """The authors' autoencoder of the same sizes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hiera_mae = pytest.importorskip("hiera.hiera_mae", reason="hiera-transformer is not installed")
    return shaken(
        hiera_mae.MaskedAutoencoderHiera(
            input_size=config.input_size, embed_dim=config.dims[0], num_heads=1, stages=config.depths,
            q_pool=config.query_pools, q_stride=config.query_stride, mask_unit_size=config.unit_size,
            patch_kernel=config.patch_kernel, patch_stride=config.patch_size,
            patch_padding=tuple(side // 2 for side in config.patch_kernel), sep_pos_embed=len(config.input_size) == 3,
            decoder_embed_dim=16, decoder_depth=2, decoder_num_heads=4,
        )
    )  # fmt: skip


@pytest.mark.parametrize("encoder", [IMAGE, CLIP], ids=["image", "clip"])
def test_predictions_loss_and_gradients_are_those_of_the_official_code(encoder: HieraConfig) -> None:
    config = MaskedConfig(encoder, **SMALL)
    theirs, ours = official(encoder), make(config)
    report = load_weights(ours, theirs.state_dict())
    assert report.format == "official Hiera MAE"
    assert not report.dropped
    assert not report.missing
    images, visible = inputs(config)
    loss, _, wanted, _ = theirs(images, mask=visible.flatten(1))
    predictions = ours(images, visible)
    masked = ours.masked_patches(visible)
    torch.testing.assert_close(make_targets(images, config.patch, "normalised_pixels")[masked], wanted)
    our_loss = ours.loss(predictions, images, visible)
    torch.testing.assert_close(our_loss, loss, rtol=1e-5, atol=1e-6)
    _, their_predictions, _, _ = theirs(images, mask=visible.flatten(1))
    torch.testing.assert_close(predictions[masked], their_predictions, rtol=1e-5, atol=1e-5)
    loss.backward()
    our_loss.backward()
    gradients = MaskedAutoencoder(config, build(encoder))
    load_weights(gradients, {name: parameter.grad for name, parameter in theirs.named_parameters()})
    largest = max(float(parameter.detach().abs().max()) for parameter in gradients.parameters())
    for name, parameter in gradients.named_parameters():
        gradient = ours.get_parameter(name).grad
        assert gradient is not None
        assert (gradient - parameter).abs().max() < 1e-5 * largest, name


def test_transformers_autoencoder_gives_the_same_loss() -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    encoder = replace(IMAGE, input_size=(64, 64), num_classes=1000)
    config = MaskedConfig(encoder, mask_ratio=0.5, **SMALL)
    theirs = transformers.HieraForPreTraining(
        transformers.HieraConfig(
            embed_dim=8, image_size=[64, 64], patch_size=[7, 7], patch_stride=[4, 4], patch_padding=[3, 3],
            depths=list(encoder.depths), num_heads=list(encoder.heads), num_query_pool=2, query_stride=[2, 2],
            masked_unit_size=[8, 8], decoder_hidden_size=16, decoder_depth=2, decoder_num_heads=4, mask_ratio=0.5,
            drop_path_rate=0.0, layer_norm_eps=1e-6, normalize_pixel_loss=True,
        )
    )  # fmt: skip
    theirs = shaken(theirs)
    ours = make(config)
    assert load_weights(ours, theirs.state_dict()).format == "transformers Hiera MAE"
    images, visible = inputs(config)
    # Their noise is sorted, and the lowest are visible.
    answer = theirs(images, noise=(~visible).float().flatten(1) + torch.rand(visible.flatten(1).shape) * 0.1)
    torch.testing.assert_close(ours.loss(ours(images, visible), images, visible), answer.loss, rtol=1e-5, atol=1e-6)


@EVERY_STRATEGY
def test_every_strategy_predicts_all_patches_and_trains_every_weight(config: MaskedConfig) -> None:
    model = make(config)
    images, visible = inputs(config)
    predictions = model(images, visible)
    assert predictions.shape[:-1] == (2, *config.patch_grid)
    model.loss(predictions, images, visible).backward()
    # No prediction depends on a class token's or a deleted part's weights: there are none.
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@EVERY_STRATEGY
def test_predicting_the_masked_patches_only_changes_neither_loss_nor_gradients(config: MaskedConfig) -> None:
    model = make(config).double()
    images, visible = inputs(config)
    images, gradients, losses = images.double(), [], []
    for masked_only in (False, True):
        model.zero_grad()
        predictions = model(images, visible, masked_only)
        losses.append(model.loss(predictions, images, visible))
        losses[-1].backward()
        gradients.append({name: one.grad for name, one in model.named_parameters() if one.grad is not None})
    assert predictions.ndim == 2
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-6, atol=1e-7)
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-5, atol=1e-7, msg=name)


@EVERY_STRATEGY
def test_masked_content_reaches_nothing(config: MaskedConfig) -> None:
    model = make(config)
    images, visible = inputs(config)
    other = zero_masked(images, visible) + zero_masked(torch.randn_like(images) * 10, ~visible)
    assert not torch.equal(images, other)
    torch.testing.assert_close(model(other, visible), model(images, visible), rtol=0, atol=0)


def test_naive_deletion_leaks_masked_content() -> None:
    """Deleting tokens after the dense network, as Figure 4 b of the paper warns: the others know what was deleted."""
    encoder = shaken(build(replace(MVIT_SIZES["mvitv2_micro_32"], drop_path=0.0)))
    images = torch.randn(1, 3, 32, 32)
    visible = sample_visible(1, (4, 4), 0.5)
    other = zero_masked(images, visible) + zero_masked(torch.randn_like(images) * 10, ~visible)
    for grid, changed in zip(encoder.levels(images), encoder.levels(other), strict=True):
        seen = spread_mask(visible, tuple(grid.shape[1:3]))
        assert (grid[seen] - changed[seen]).abs().max() > 1e-3


@pytest.mark.parametrize("function", ["conv3_norm_max3", "conv3_norm_avg3", "max3", "strided_conv3", "merge2"])
def test_visible_blocks_of_nest_see_visible_neighbours_and_zeros(function: Any) -> None:
    encoder = shaken(build(replace(NEST, aggregation=function)))
    images = torch.randn(1, 3, 32, 32)
    everything = torch.ones(1, 4, 4, dtype=torch.bool)
    for dense, visible_only in zip(encoder.levels(images), encoder.levels(images, Mask(everything)), strict=True):
        side = visible_only.shape[2]
        laid = visible_only.unflatten(1, (4, 4)).permute(0, 1, 3, 2, 4, 5).reshape(1, 4 * side, 4 * side, -1)
        torch.testing.assert_close(laid, dense, rtol=1e-5, atol=1e-5)
    visible = sample_visible(1, (4, 4), 0.5, "nested", generator=torch.Generator().manual_seed(3))
    assert all(torch.isfinite(grid).all() for grid in encoder.levels(images, Mask(visible)))
    # Inside a block of the first level nothing differs from the dense model; from the second on neighbours count.
    first = encoder.levels(images, Mask(visible))[0]
    alone = encoder.levels(zero_masked(images, visible))[0]
    cut = alone.unflatten(1, (4, 4)).unflatten(3, (4, 4)).permute(0, 1, 3, 2, 4, 5).flatten(1, 2)
    torch.testing.assert_close(first[0], cut[visible.flatten(1)].view_as(first[0]), rtol=1e-5, atol=1e-5)


def test_nest_refuses_masks_under_which_its_tree_is_not_regular() -> None:
    encoder = build(NEST)
    visible = torch.zeros(1, 4, 4, dtype=torch.bool)
    visible[0, 0] = True
    with pytest.raises(UserError, match="every two by two"):
        encoder.levels(torch.randn(1, 3, 32, 32), Mask(visible))


@pytest.mark.parametrize(
    "config", [STRATEGIES["hiera, sparse"], STRATEGIES["nest, whole blocks"], STRATEGIES["mvitv2, dense"]], ids=str
)
def test_a_classifier_takes_the_encoder_over(config: MaskedConfig) -> None:
    source = make(config)
    encoder = config.encoder
    full = replace(encoder, query_pools=3) if isinstance(encoder, HieraConfig) else encoder
    classifier = build(full)
    report = load_weights(classifier, source.state_dict())
    assert report.format == "hvit masked autoencoder"
    assert {name.split(".")[0] for name in report.missing} == {"head"}
    assert all(name.startswith("autoencoder.") for name in report.dropped)
    for name, parameter in classifier.named_parameters():
        if not name.startswith(("head", "norm")):
            assert torch.equal(parameter, source.encoder.get_parameter(name))
    own = source.norm if isinstance(encoder, HieraConfig) else source.encoder.norm
    assert torch.equal(classifier.get_parameter("norm.weight"), own.weight)


def test_official_autoencoders_are_taken_over_by_a_classifier() -> None:
    theirs = official(IMAGE)
    classifier = Hiera(replace(IMAGE, query_pools=3))
    report = load_weights(classifier, theirs.state_dict())
    assert {name.split(".")[0] for name in report.missing} == {"head"}
    assert torch.equal(classifier.norm.weight, theirs.encoder_norm.weight)
