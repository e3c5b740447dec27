"""Hiera weights of the authors, timm, transformers and SAM 2 give their outputs, levels and gradients in our models."""

from __future__ import annotations

import importlib
import warnings
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import timm
import torch
from timm.models.hiera import Hiera as TimmHiera
from timm.models.hieradet_sam2 import HieraDet
from torch import Tensor

from hvit.errors import UserError
from hvit.models.build import build, build_empty
from hvit.models.create import create_model
from hvit.models.hiera.config import HIERA_SIZES
from hvit.models.hiera.model import Hiera, HieraConfig
from hvit.models.hiera.weights import HIERA_FORMATS, hiera_timm_arguments, hiera_to_timm
from hvit.models.layers.masking import Mask
from hvit.models.weights.load import detect, load_weights, recognise

SMALL = HieraConfig(
    input_size=(64, 64), num_classes=5, dims=(8, 16, 32, 64), heads=(1, 2, 4, 8), depths=(1, 2, 2, 1)
)  # fmt: skip
OBLONG = replace(SMALL, input_size=(64, 160))
CLIP = replace(
    SMALL, input_size=(4, 64, 96), patch_size=(2, 4, 4), patch_kernel=(3, 7, 7), unit_size=(1, 8, 8),
    query_stride=(1, 2, 2),
)  # fmt: skip
ABSWIN = replace(SMALL, positions="window", position_grid=(5, 5), position_antialias=True, layer_scale=True)
TIMM = {
    "learned": SMALL,
    "oblong": OBLONG,
    "clip": CLIP,
    "window": replace(ABSWIN, input_size=(64, 96)),
    "mean_max": replace(ABSWIN, expansion="mean_max", dims=(16, 32, 64, 128)),
    "two_pools": replace(SMALL, query_pools=2),
    "micro": replace(
        SMALL, input_size=(32, 32), patch_size=(2, 2), patch_kernel=(3, 3), dims=(8, 16, 32), heads=(1, 2, 4),
        depths=(1, 1, 2), unit_size=(4, 4), query_pools=2, unit_attention=(True, False, False), in_channels=1,
    ),
}  # fmt: skip


def shaken(model: Any, seed: int = 0, scale: float = 0.2) -> Any:
    """The model with every bias, norm and embedding away from its trivial start."""
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draws) * scale)
    return model.eval()


def some_images(config: HieraConfig, count: int = 2) -> Tensor:
    return torch.randn(count, config.in_channels, *config.input_size, generator=torch.Generator().manual_seed(1))


def assert_alike(ours: Any, theirs: Any) -> None:
    """Equal to 1e-5 of the largest value."""
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        assert float((one - other).abs().max()) < 1e-5 * float(other.abs().max())


def official() -> Any:
    """The authors' package, which imports names that timm will remove."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("hiera", reason="hiera-transformer is not installed")


def official_arguments(config: HieraConfig) -> dict[str, Any]:
    return {
        "input_size": config.input_size, "embed_dim": config.dims[0], "num_heads": config.heads[0],
        "num_classes": config.num_classes, "stages": config.depths, "q_pool": config.query_pools,
        "q_stride": config.query_stride, "mask_unit_size": config.unit_size, "patch_kernel": config.patch_kernel,
        "patch_stride": config.patch_size, "patch_padding": tuple(side // 2 for side in config.patch_kernel),
        "sep_pos_embed": len(config.input_size) == 3,
    }  # fmt: skip


def official_twin(config: HieraConfig) -> Any:
    """The authors' model of a configuration, giving logits; as published it gives probabilities when it evaluates."""
    theirs = shaken(official().Hiera(**official_arguments(config)))
    theirs.head.act_func = lambda logits: logits
    return theirs


@pytest.mark.parametrize("config", [SMALL, OBLONG, CLIP, replace(SMALL, query_pools=2)])
def test_official_weights_give_the_official_logits_and_levels(config: HieraConfig) -> None:
    theirs, ours = official_twin(config), Hiera(config).eval()
    report = load_weights(ours, theirs.state_dict())
    assert (report.format, len(report.matched)) == ("official Hiera", len(ours.state_dict()))
    assert (report.resized, report.dropped) == ({}, ())
    images = some_images(config)
    with torch.no_grad():
        logits, levels = theirs(images, return_intermediates=True)
        assert_alike([ours(images), *ours.levels(images)], [logits, *levels])


@pytest.mark.parametrize("config", [SMALL, CLIP])
def test_official_weights_give_the_official_gradients(config: HieraConfig) -> None:
    theirs, ours = official_twin(config), Hiera(config).eval()
    load_weights(ours, theirs.state_dict())
    images = some_images(config)
    gradients = []
    for model in (theirs, ours):
        model.zero_grad()
        model(images).square().sum().backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    # Translated by the same names, so that every gradient meets its own.
    translated = HIERA_FORMATS[-1].translate(gradients[0], config)
    assert set(translated) == set(gradients[1])
    for name, gradient in gradients[1].items():
        assert_alike([gradient], [translated[name].reshape_as(gradient)])


@pytest.mark.parametrize("pools", [2, 3])
@pytest.mark.parametrize("config", [replace(SMALL, input_size=(96, 64)), CLIP])
def test_masked_official_models_give_the_same_kept_units(config: HieraConfig, pools: int) -> None:
    config = replace(config, query_pools=pools)
    theirs, ours = official_twin(config), Hiera(config).eval()
    load_weights(ours, theirs.state_dict())
    draws = torch.rand(2, config.units, generator=torch.Generator().manual_seed(2))
    kept, images = draws.argsort(1) < 2, some_images(config)
    with torch.no_grad():
        _, expected = theirs(images, mask=kept, return_intermediates=True)
        assert_alike(ours.levels(images, Mask(kept.reshape(2, *config.unit_grid))), expected)


@pytest.mark.parametrize("config", [SMALL, CLIP])
def test_an_official_autoencoder_gives_its_encoder_and_its_norm(config: HieraConfig) -> None:
    official()
    builder = importlib.import_module("hiera.hiera_mae").MaskedAutoencoderHiera
    config = replace(config, query_pools=2)
    arguments = {"decoder_embed_dim": 16, "decoder_depth": 1, "decoder_num_heads": 2}
    theirs = shaken(builder(**official_arguments(config), **arguments))
    ours = Hiera(config).eval()
    report = load_weights(ours, {"model_state": theirs.state_dict()})
    assert (report.format, report.missing) == ("official Hiera MAE", ("head.weight", "head.bias"))
    assert {name.split(".")[0] for name in report.dropped} == {
        "multi_scale_fusion_heads", "decoder_embed", "mask_token", "decoder_pos_embed", "decoder_blocks",
        "decoder_norm", "decoder_pred",
    }  # fmt: skip
    assert "norm" in report.notes[0]
    assert torch.equal(ours.norm.weight, theirs.encoder_norm.weight)
    images = some_images(config)
    kept = torch.zeros(2, config.units, dtype=torch.bool)
    kept[0, 1] = kept[1, 0] = True
    with torch.no_grad():
        _, expected = official().Hiera.forward(theirs, images, kept, return_intermediates=True)
        assert_alike(ours.levels(images, Mask(kept.reshape(2, *config.unit_grid))), expected)


@pytest.mark.parametrize("config", TIMM.values(), ids=TIMM)
def test_timm_and_ours_agree_in_both_directions(config: HieraConfig) -> None:
    ours = shaken(Hiera(config), seed=1)
    theirs = TimmHiera(**hiera_timm_arguments(ours)).eval()
    images = some_images(config)

    def compare() -> None:
        with torch.no_grad():
            _, levels = theirs.forward_features(images, return_intermediates=True)
            assert_alike([ours(images), *ours.levels(images)], [theirs(images), *levels])

    theirs.load_state_dict(hiera_to_timm(ours))
    compare()
    shaken(theirs, seed=3)
    report = load_weights(ours, theirs.state_dict())
    assert (report.format, len(report.matched)) == ("timm hiera", len(ours.state_dict()))
    assert (report.resized, report.dropped) == ({}, ())
    # A flat table does not show its rows and columns; a plane does.
    assert len(report.notes) == (config.positions == "learned")
    compare()


@pytest.mark.parametrize("name", ["hiera_tiny_224", pytest.param("hiera_small_abswin_256", marks=pytest.mark.slow)])
def test_timms_named_models_are_ours(name: str) -> None:
    theirs = shaken(timm.create_model(name, num_classes=10), scale=0.05)
    ours = create_model(name, theirs.state_dict(), num_classes=10).eval()
    images = some_images(ours.config, 1)
    with torch.no_grad():
        levels = theirs.forward_intermediates(images, output_fmt="NHWC", intermediates_only=True)
        assert_alike([ours(images), *ours.levels(images)], [theirs(images), *levels])
    assert recognise(theirs.state_dict()) == replace(ours.config, drop_path=0.0)


def test_what_timm_cannot_be_is_not_translated() -> None:
    for fields, words in (
        ({"unit_size": (16, 16)}, "unit_size="),
        ({"heads": (1, 1, 1, 1)}, "heads="),
        ({"positions": "window", "position_grid": (7, 7)}, "position_antialias="),
    ):
        for translate in (hiera_to_timm, hiera_timm_arguments):
            with pytest.raises(UserError, match=words):
                translate(Hiera(replace(SMALL, **fields)))
    with pytest.raises(UserError, match="only Hiera"):
        hiera_to_timm(build_empty(create_model("nest_micro_32").config))


def transformers_config(config: HieraConfig) -> Any:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    return transformers.HieraConfig(
        embed_dim=config.dims[0], image_size=list(config.input_size), depths=list(config.depths),
        num_heads=list(config.heads), num_query_pool=config.query_pools, num_labels=config.num_classes,
        decoder_hidden_size=16, decoder_depth=1, decoder_num_heads=2, mask_ratio=0.5,
    )  # fmt: skip


def test_transformers_classifier_gives_its_logits_and_levels() -> None:
    configuration = transformers_config(SMALL)
    theirs = shaken(importlib.import_module("transformers").HieraForImageClassification(configuration))
    ours = Hiera(SMALL).eval()
    report = load_weights(ours, theirs.state_dict())
    assert (report.format, len(report.matched), report.dropped) == ("transformers Hiera", len(ours.state_dict()), ())
    images = some_images(SMALL)
    with torch.no_grad():
        found = theirs(images, output_hidden_states=True)
        assert_alike([ours(images), *ours.levels(images)], [found.logits, *found.reshaped_hidden_states[1:]])


def test_transformers_autoencoder_gives_its_encoder_and_its_norm() -> None:
    config = replace(SMALL, query_pools=2)
    configuration = transformers_config(config)
    theirs = shaken(importlib.import_module("transformers").HieraForPreTraining(configuration))
    ours = Hiera(config).eval()
    report = load_weights(ours, theirs.state_dict())
    assert (report.format, report.missing) == ("transformers Hiera MAE", ("head.weight", "head.bias"))
    assert {name.split(".")[0] for name in report.dropped} == {"multiscale_fusion", "decoder"}
    assert torch.equal(ours.norm.bias, theirs.encoder_norm.bias)
    noise = torch.rand(2, config.units, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        found = theirs(some_images(config), noise=noise, output_hidden_states=True)
        kept = noise.argsort(1).argsort(1) < config.units // 2
        levels = ours.levels(some_images(config), Mask(kept.reshape(2, *config.unit_grid)))
    assert_alike(levels, found.reshaped_hidden_states[1:])


def test_transformers_backbone_brings_the_weights_of_its_levels() -> None:
    configuration = transformers_config(SMALL)
    transformers = importlib.import_module("transformers")
    backbone = shaken(transformers.HieraBackbone(configuration))
    ours = Hiera(SMALL).eval()
    report = load_weights(ours, backbone.state_dict())
    assert (report.format, report.missing) == ("transformers Hiera backbone", ("head.weight", "head.bias"))
    assert all(name.startswith("hidden_states_norms.") for name in report.dropped)
    assert "start fresh" in report.notes[0]
    # The backbone itself forgets to unroll its tokens (transformers 5.23); the model with the same weights does not.
    theirs = transformers.HieraModel(configuration, add_pooling_layer=False).eval()
    theirs.load_state_dict({name: one for name, one in backbone.state_dict().items() if "norms" not in name})
    with torch.no_grad():
        found = theirs(some_images(SMALL), output_hidden_states=True)
        assert_alike(ours.levels(some_images(SMALL)), found.reshaped_hidden_states[1:])


def as_sam2(theirs: HieraDet) -> dict[str, Tensor]:
    """timm's copy of SAM 2's image encoder under the names of SAM 2's own checkpoints, with a part of the rest."""
    state = {}
    for name, tensor in theirs.state_dict().items():
        name = name.replace("mlp.fc1", "mlp.layers.0").replace("mlp.fc2", "mlp.layers.1")
        if not name.startswith("head."):
            state[f"image_encoder.trunk.{name}"] = tensor
    return state | {"image_encoder.neck.convs.0.conv.weight": torch.zeros(1), "no_mem_embed": torch.zeros(1)}


def assert_levels_of_sam2(ours: Hiera, theirs: HieraDet) -> None:
    images = some_images(ours.config, 1)
    with torch.no_grad():
        levels = theirs.forward_intermediates(images, output_fmt="NHWC", intermediates_only=True)
        assert_alike(ours.levels(images), levels)


@pytest.mark.parametrize("prefix", ["image_encoder.trunk.", ""])
def test_the_image_encoder_of_sam2_gives_its_levels(prefix: str) -> None:
    config = replace(SMALL, positions="window", position_grid=(3, 3))
    theirs = shaken(
        HieraDet(
            embed_dim=8, stages=config.depths, window_spec=(8, 4, 4, 2), global_att_blocks=(4,), global_pos_size=(3, 3)
        )
    )
    ours = Hiera(config).eval()
    state = {name.replace("image_encoder.trunk.", prefix): tensor for name, tensor in as_sam2(theirs).items()}
    report = load_weights(ours, state)
    assert (report.format, report.missing) == ("SAM 2 image encoder", ("head.weight", "head.bias"))
    assert report.dropped == ("image_encoder.neck.convs.0.conv.weight", "no_mem_embed")
    assert "start fresh" in report.notes[0]
    assert_levels_of_sam2(ours, theirs)
    # Learned positions can say the same: the plane and the window are added up once and for all.
    learned = Hiera(SMALL).eval()
    assert load_weights(learned, state).resized == {}
    assert_levels_of_sam2(learned, theirs)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "side"), [("tiny", 224), ("small", 224), ("base_plus", 224), ("large", 256)])
def test_image_encoders_of_sam2_are_exact_at_the_size_in_their_name(size: str, side: int) -> None:
    theirs = shaken(timm.create_model(f"sam2_hiera_{size}", num_classes=10), scale=0.05)
    ours: Any = create_model(f"hiera_{size}_sam2_{side}", as_sam2(theirs)).eval()
    assert_levels_of_sam2(ours, theirs)
    ours = create_model(f"hiera_{size}_sam2_{side}", theirs.state_dict(), num_classes=10).eval()
    images = some_images(ours.config, 1)
    with torch.no_grad():
        assert_alike([ours(images)], [theirs(images)])


def test_sam2_at_another_size_is_told_to_differ() -> None:
    note = HIERA_FORMATS[0].note
    for name in ("hiera_tiny_sam2_224", "hiera_large_sam2_256"):
        config = HIERA_SIZES[name]
        side = config.input_size[0]
        assert "inside windows" not in note(config)
        assert f"at inputs other than ({side}, {side}) SAM 2" in note(replace(config, input_size=(512, 512)))


def empty_official(name: str, **fields: Any) -> dict[str, Tensor]:
    """The state dict of an official model, without memory; it needs some numbers for its stochastic depth, though."""
    package = official()
    with torch.device("meta"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "linspace", partial(torch.linspace, device="cpu"))
        return getattr(package, name)(**fields).state_dict()


@pytest.mark.parametrize(
    "name", [name for name in HIERA_SIZES if not {"micro", "abswin", "sam2"} & set(name.split("_"))]
)
def test_published_files_tell_their_model(name: str) -> None:
    expected = replace(HIERA_SIZES[name], drop_path=0.0)
    assert recognise(empty_official(name)) == expected
    assert recognise(empty_official(name, num_classes=7)) == replace(expected, num_classes=7)
    autoencoder = empty_official(f"mae_{name}")
    assert (detect(autoencoder), recognise(autoencoder)) == ("official Hiera MAE", expected)


@pytest.mark.parametrize("name", ["hiera_small_abswin_256", "hiera_base_abswin_256"])
def test_timms_window_models_tell_their_model(name: str) -> None:
    with torch.device("meta"):
        state = timm.create_model(name).state_dict()
    assert (detect(state), recognise(state)) == ("timm hiera", replace(HIERA_SIZES[name], drop_path=0.0))


def test_sam2_files_tell_their_model() -> None:
    for size, side in (("tiny", 224), ("small", 224), ("base_plus", 224), ("large", 256)):
        with torch.device("meta"):
            state = as_sam2(timm.create_model(f"sam2_hiera_{size}", num_classes=0))
        assert recognise(state) == replace(HIERA_SIZES[f"hiera_{size}_sam2_{side}"], drop_path=0.0)


def test_unknown_widths_are_no_model_and_a_misfit_is_named() -> None:
    theirs = TimmHiera(**hiera_timm_arguments(Hiera(SMALL)))
    assert recognise(theirs.state_dict()) is None
    with pytest.raises(UserError, match=r"positions is \(1, 256, 8\) in the file and \(1, 5, 5, 16\) in the model"):
        load_weights(Hiera(TIMM["mean_max"]), theirs.state_dict())
    with pytest.raises(UserError, match=r"blocks\.1\.widen\.weight is not in the file"):
        load_weights(Hiera(replace(SMALL, dims=(16, 32, 64, 128))), hiera_to_timm(Hiera(TIMM["mean_max"])))
    with torch.device("meta"):
        state = timm.create_model("hiera_tiny_224").state_dict()
    with pytest.raises(UserError, match="looks like hiera_tiny_224 at input 224x224"):
        load_weights(Hiera(SMALL), state)


@pytest.mark.parametrize("how", ["auto", "unit", "plane"])
def test_weights_for_another_input_size_are_resized(how: Any) -> None:
    theirs = shaken(TimmHiera(**hiera_timm_arguments(Hiera(SMALL))))
    ours = Hiera(OBLONG)
    report = load_weights(ours, theirs.state_dict(), position_resize=how)
    assert report.resized == {"positions": ((1, 16, 16, 8), (1, 16, 40, 8))}
    positions = theirs.state_dict()["pos_embed"].unflatten(1, (16, 16))
    way = "plane" if how == "plane" else "unit"
    expected = ours.resize_positions("positions", positions, (1, 16, 40, 8), way)
    torch.testing.assert_close(ours.positions, expected)
    clip = Hiera(replace(CLIP, input_size=(8, 64, 64)))
    assert set(load_weights(clip, Hiera(CLIP).state_dict()).resized) == {"positions", "temporal_positions"}


def test_a_model_made_with_other_choices_is_told_to_be() -> None:
    state = hiera_to_timm(Hiera(ABSWIN))
    report = load_weights(Hiera(replace(ABSWIN, position_antialias=False)), state)
    assert report.notes == ("made with position_antialias=True, but this model has False",)


def test_a_head_for_other_classes_stays_fresh() -> None:
    report = load_weights(build(replace(SMALL, num_classes=9)), official_twin(SMALL).state_dict())
    assert report.reinitialised == ("head.weight", "head.bias")


@pytest.mark.parametrize("shape", [(1, 8, 3, 3), (1, 4, 8, 8), (1, 8, 0, 8), (1, 8, 8, 8, 1), (8,), ()])
def test_a_window_and_a_plane_that_do_not_fit_together_are_refused(shape: tuple[int, ...]) -> None:
    theirs = HieraDet(
        embed_dim=8, stages=SMALL.depths, window_spec=(8, 4, 4, 2), global_att_blocks=(4,), global_pos_size=(3, 3)
    )
    state = as_sam2(theirs)
    name = "image_encoder.trunk.pos_embed_window"
    for odd in (torch.zeros(shape), torch.zeros(state[name].shape, device="meta")):
        ours = Hiera(SMALL)
        with pytest.raises(UserError, match=r"fit|no values"):
            load_weights(ours, {**state, name: odd})
