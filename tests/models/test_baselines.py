"""The residual networks that others are compared with are timm's, also in levels, explanations and weights files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from timm.models import resnet as timm_resnet
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.explain import class_activation_map_batch, grad_cam, methods_for
from hvit.explain.methods.request import normalised_map
from hvit.models import catalogue
from hvit.models.baselines import RESNET_SIZES, VIT_SIZES, Resnet, ResnetConfig, Vit, VitConfig
from hvit.models.build import build_empty, count_parameters
from hvit.models.create import create_model
from hvit.models.layers.blocks import DropPath
from hvit.models.layers.masking import Mask
from hvit.models.weights.load import load_weights, recognise
from hvit.models.weights.open import open_weights
from hvit.models.weights.save import save_weights

BOTTLENECK = ResnetConfig(input_size=(48, 64), num_classes=5, dims=(16, 24, 32, 40), depths=(1, 2, 1, 2))
BASIC = ResnetConfig(
    input_size=(16, 24), num_classes=5, dims=(64, 12, 16, 20), depths=(2, 1, 1, 2), block="basic", stem="conv3"
)


def shaken(model: Any) -> Any:
    """A model in evaluation mode whose norms, statistics and biases are moved off their start."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, mean=1.0, std=0.3)
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(module.running_mean, std=0.3)  # pyright: ignore[reportArgumentType]
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # pyright: ignore[reportArgumentType]
            module.num_batches_tracked = torch.tensor(7)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.3)
            nn.init.normal_(module.bias)
    return model.eval()


def timm_counterpart(config: ResnetConfig) -> Any:
    """timm's network of a configuration; for small images with the stem changed as is usual, 64 wide."""
    torch.manual_seed(0)
    block: Any = timm_resnet.Bottleneck if config.block == "bottleneck" else timm_resnet.BasicBlock
    theirs = timm_resnet.ResNet(
        block,
        layers=config.depths,  # pyright: ignore[reportArgumentType]
        channels=config.widths,
        num_classes=config.num_classes,
        in_chans=config.in_channels,
    )
    if config.stem == "conv3":
        theirs.conv1 = nn.Conv2d(config.in_channels, 64, 3, padding=1, bias=False)
        theirs.maxpool = nn.Identity()
    return shaken(theirs)


def torchvision_twin() -> Any:
    """torchvision's smallest residual network with basic blocks, one in each level."""
    from torchvision.models.resnet import BasicBlock, ResNet

    torch.manual_seed(0)
    return shaken(ResNet(BasicBlock, [1, 1, 1, 1], num_classes=5))


def photos(config: ResnetConfig, count: int = 2) -> Tensor:
    """Random images of the size that a configuration takes."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, config.in_channels, *config.input_size, generator=generator)


def micro() -> Any:
    """The small network with weights of its own."""
    torch.manual_seed(0)
    return shaken(create_model("resnet_micro_32"))


@pytest.mark.parametrize("config", [BOTTLENECK, BASIC], ids=["bottleneck", "basic"])
def test_the_weights_of_timm_give_its_logits_levels_and_gradients(config: ResnetConfig) -> None:
    theirs, ours = timm_counterpart(config), Resnet(config).eval()
    report = load_weights(ours, theirs.state_dict())
    assert (report.format, report.dropped, report.missing) == ("timm or torchvision ResNet", (), ())
    images = photos(config)
    features, maps = theirs.maxpool(theirs.act1(theirs.bn1(theirs.conv1(images)))), []
    for layer in (theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4):
        maps.append(features := layer(features))
    grids = ours.levels(images)
    torch.testing.assert_close(ours(images), theirs(images), rtol=0, atol=1e-5)
    slopes = torch.autograd.grad(ours.classify(grids[-1])[:, 2].sum(), grids)
    expected = torch.autograd.grad(theirs.forward_head(features)[:, 2].sum(), maps)
    for level in range(4):
        torch.testing.assert_close(grids[level], maps[level].movedim(1, -1), rtol=0, atol=1e-5)
        torch.testing.assert_close(slopes[level], expected[level].movedim(1, -1), rtol=0, atol=1e-5)
    assert tuple(grid.shape[-1] for grid in grids) == ours.level_dims == config.dims


@pytest.mark.parametrize("config", [BOTTLENECK, BASIC], ids=["bottleneck", "basic"])
def test_statistics_that_were_not_loaded_would_be_noticed(config: ResnetConfig) -> None:
    theirs, ours = timm_counterpart(config), Resnet(config).eval()
    load_weights(ours, theirs.state_dict())
    ours.state_dict()["network.bn1.running_mean"].zero_()
    assert (ours(photos(config)) - theirs(photos(config))).abs().max() > 1e-2


def test_the_weights_of_torchvision_open_as_the_network_they_are(tmp_path: Path) -> None:
    theirs = torchvision_twin()
    save_file(theirs.state_dict(), tmp_path / "resnet.safetensors")
    opened = open_weights(tmp_path / "resnet.safetensors")
    assert opened.model.config == ResnetConfig(
        num_classes=5, dims=(64, 128, 256, 512), depths=(1, 1, 1, 1), block="basic"
    )
    images = photos(opened.model.config, 1)
    torch.testing.assert_close(opened.model(images), theirs(images), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "changes"), [("resnet50", {}), ("resnet18", {"dims": (64, 128, 256, 512), "block": "basic"})]
)
def test_shapes_tell_the_published_sizes(name: str, changes: dict[str, Any]) -> None:
    import timm

    with torch.device("meta"):
        state = timm.create_model(name).state_dict()
    depths = {"resnet50": (3, 4, 6, 3), "resnet18": (2, 2, 2, 2)}[name]
    config = recognise(state)
    assert config == replace(RESNET_SIZES["resnet50_224"], depths=depths, **changes)
    assert {key: tensor.shape for key, tensor in build_empty(config).state_dict().items()} == {
        f"network.{key}": tensor.shape for key, tensor in state.items()
    }


def test_files_from_before_batches_were_counted_open_too() -> None:
    theirs, ours = timm_counterpart(BOTTLENECK), Resnet(BOTTLENECK).eval()
    old = {name: tensor for name, tensor in theirs.state_dict().items() if not name.endswith("num_batches_tracked")}
    load_weights(ours, old)
    torch.testing.assert_close(ours(photos(BOTTLENECK)), theirs(photos(BOTTLENECK)), rtol=0, atol=1e-5)


def test_weights_of_colour_images_and_other_classes_are_adapted() -> None:
    theirs = timm_counterpart(BOTTLENECK)
    ours: Any = Resnet(replace(BOTTLENECK, in_channels=1, num_classes=3))
    report = load_weights(ours, theirs.state_dict())
    assert report.reinitialised == ("network.fc.weight", "network.fc.bias")
    assert list(report.resized) == ["network.conv1.weight"]
    grey = photos(replace(BOTTLENECK, in_channels=1))
    expected = theirs.forward_features(grey.expand(-1, 3, -1, -1)).movedim(1, -1)
    torch.testing.assert_close(ours.eval().levels(grey)[-1], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet50d", "resnext50_32x4d", "wide_resnet50_2", "seresnet50"])
def test_weights_of_other_residual_networks_are_refused(name: str) -> None:
    import timm

    with torch.device("meta"):
        state, ours = timm.create_model(name).state_dict(), Resnet(RESNET_SIZES["resnet50_224"])
    with pytest.raises(UserError, match="does not fit this model"):
        load_weights(ours, state)


def test_saved_weights_open_with_their_statistics(tmp_path: Path) -> None:
    saved = shaken(Resnet(BASIC))
    save_weights(saved, tmp_path / "one")
    opened = open_weights(tmp_path / "one")
    assert (opened.name, opened.model.config) == ("custom resnet", BASIC)
    assert torch.equal(opened.model(photos(BASIC)), saved(photos(BASIC)))


def test_resnet50_has_the_published_number_of_parameters() -> None:
    assert count_parameters(build_empty(RESNET_SIZES["resnet50_224"])) == 25_557_032


def test_the_small_network_is_as_large_as_nest_and_as_costly_as_the_plain_transformer() -> None:
    ours, nest, vit = (catalogue.entry(f"{family}_micro_32") for family in ("resnet", "nest", "vit"))
    assert ours.parameters == pytest.approx(nest.parameters, rel=0.01)
    assert ours.multiply_adds == pytest.approx(vit.multiply_adds, rel=0.01)
    model = micro()
    with torch.no_grad():
        sides = [tuple(grid.shape[1:3]) for grid in model.levels(photos(model.config))]
    assert sides == [(32, 32), (16, 16), (8, 8), (4, 4)]


def test_class_activation_maps_are_exact_and_gradients_reach_every_level() -> None:
    model = micro()
    images = photos(model.config)
    assert methods_for(model) == ("block_shapley", "cam", "gradcam", "gradcam++")
    maps = class_activation_map_batch(model, images, range(10))
    assert maps.std((2, 3)).min() > 0.01, "the maps say where nothing is"
    total = maps.mean((2, 3)) + model.head.bias.numpy(force=True)
    assert total == pytest.approx(model(images).numpy(force=True), abs=1e-5)
    assert grad_cam(model, images, 3) == pytest.approx(np.maximum(maps[:, 3:4], 0) / 16, abs=1e-5)
    for level, side in enumerate((32, 16, 8)):
        assert grad_cam(model, images, 3, level=level).shape == (2, 1, side, side)


def test_the_depth_of_a_parameter_is_its_block() -> None:
    model = build_empty(BOTTLENECK)
    depths = {name.removeprefix("network."): model.level_of(name) for name, _ in model.named_parameters()}
    assert {depths["conv1.weight"], depths["bn1.bias"]} == {0}
    assert [depths[f"layer{place}.conv3.weight"] for place in ("1.0", "2.0", "2.1", "3.0", "4.0", "4.1")] == [
        *range(1, 7)
    ]
    assert depths["layer4.0.downsample.0.weight"] == depths["layer4.0.bn1.weight"] == 5
    assert {depths["fc.weight"], depths["fc.bias"]} == {7}
    assert list(depths.values()) == sorted(depths.values())


def test_stochastic_depth_grows_from_block_to_block_and_rests_in_evaluation() -> None:
    model = shaken(Resnet(replace(BASIC, drop_path=0.5)))
    rates = [module.rate for module in model.modules() if isinstance(module, DropPath)]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert torch.equal(model(photos(BASIC)), model(photos(BASIC)))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dims": (8, 16, 32)}, "four levels"),
        ({"depths": (1, 1, 1, 0)}, "1 or more"),
        ({"dims": (16, 24, 32, 42)}, "divisible by 4"),
        ({"dims": (12, 16, 20, 24), "stem": "conv3"}, "must be even"),
        ({"drop_path": 1.0}, "below 1"),
        ({"block": "wide"}, "bottleneck, basic"),
    ],
)
def test_impossible_sizes_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        replace(BOTTLENECK, **changes)


def test_masks_and_images_of_another_size_are_refused() -> None:
    model = Resnet(BASIC)
    with pytest.raises(UserError, match="takes no mask"):
        model.levels(photos(BASIC), Mask(torch.ones(2, 1, 1, dtype=torch.bool)))
    with pytest.raises(UserError, match="this model takes batches"):
        model(photos(BOTTLENECK))


DEIT = VitConfig(
    input_size=(16, 24), patch_size=(4, 4), num_classes=5, dims=(12,), heads=(2,), depths=(2,), distillation_token=True
)


def test_a_vit_with_a_distillation_token_is_timms_distilled_deit() -> None:
    from timm.models.deit import VisionTransformerDistilled

    torch.manual_seed(0)
    theirs: Any = VisionTransformerDistilled(
        img_size=(16, 24), patch_size=4, num_classes=5, embed_dim=12, depth=2, num_heads=2, global_pool="token"
    ).eval()
    nn.init.normal_(theirs.head.weight), nn.init.normal_(theirs.head_dist.weight)
    model = Vit(DEIT).eval()
    model.network.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 16, 24)
    assert torch.allclose(model(images), theirs(images), atol=1e-6)
    maps, tokens = model.encode(images)
    assert maps[0].shape == (2, 4, 6, 12)
    theirs.train().set_distilled_training(True)
    for own, wanted in zip(model.both_logits(tokens), theirs(images), strict=True):
        assert torch.allclose(own, wanted, atol=1e-6)
    with pytest.raises(UserError, match="classifies its tokens"):
        model.classify(maps[0])
    assert "rollout" in methods_for(model)


def test_the_weights_of_a_vit_with_a_token_open_again_and_fit_other_classes_and_sizes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    square = replace(DEIT, input_size=(16, 16))
    model = Vit(square).eval()
    save_weights(model, tmp_path / "deit.safetensors")
    images = torch.randn(1, 3, 16, 16)
    assert torch.equal(open_weights(tmp_path / "deit.safetensors").model(images), model(images))
    wider = Vit(replace(square, input_size=(24, 16), num_classes=3))
    report = load_weights(wider, tmp_path / "deit.safetensors")
    assert {"network.head.weight", "network.head_dist.weight"} <= set(report.reinitialised)
    assert torch.equal(wider.network.pos_embed[:, :2], model.network.pos_embed[:, :2])
    assert [wider.level_of(f"network.{name}") for name in ("dist_token", "blocks.1.x", "head_dist.weight")] == [0, 2, 3]


@pytest.mark.parametrize("norm_after_mean", [False, True])
def test_a_vit_whose_tokens_are_all_visible_is_the_vit_without_a_mask(norm_after_mean: bool) -> None:
    torch.manual_seed(0)
    model = shaken(Vit(replace(VIT_SIZES["vit_micro_32"], norm_after_mean=norm_after_mean)))
    nn.init.normal_(model.network.pos_embed)
    images, visible = torch.randn(2, 3, 32, 32), torch.ones(2, 8, 8, dtype=torch.bool)
    with torch.no_grad():
        (whole,) = model.levels(images)
        (sparse,) = model.levels(images, Mask(visible))
        (dense,) = model.levels(images, Mask(visible, torch.zeros(96)))
        torch.testing.assert_close(sparse[:, :, 0, 0], whole.flatten(1, 2))
        torch.testing.assert_close(dense, whole)
        torch.testing.assert_close(model.classify(whole), model(images))
        visible[:, :, 4:] = False
        (half,) = model.levels(images, Mask(visible))
    assert half.shape == (2, 32, 1, 1, 96)


def test_a_vits_norm_after_the_mean_is_what_explanations_follow() -> None:
    torch.manual_seed(0)
    model = shaken(Vit(replace(VIT_SIZES["vit_micro_32"], norm_after_mean=True)))
    nn.init.normal_(model.norm.weight)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        mean = normalised_map(model, model.levels(images)[0]).mean((1, 2))
        torch.testing.assert_close(model.head(mean), model(images), atol=1e-4, rtol=1e-4)
