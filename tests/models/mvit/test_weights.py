"""MViT weights of timm, torchvision and the authors give their outputs, levels and gradients in our models."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.models.mvitv2 import MultiScaleVit, MultiScaleVitCfg
from torch import Tensor, nn
from torchvision.models.video import mvit_v1_b, mvit_v2_s
from torchvision.models.video.mvit import MSBlockConfig, MViT

from hvit.errors import UserError
from hvit.models.build import build_empty
from hvit.models.catalogue import entry
from hvit.models.mvit.config import MVIT_SIZES, MvitConfig, plan_blocks
from hvit.models.mvit.model import Mvit
from hvit.models.weights.load import detect, load_weights, recognise, timm_arguments, to_timm
from hvit.models.weights.open import open_weights

SMALL = MvitConfig(
    input_size=(64, 64), num_classes=5, dims=(8, 16, 32, 64), heads=(1, 2, 4, 8), depths=(1, 2, 1, 1),
)  # fmt: skip
CLIP = replace(
    MVIT_SIZES["mvitv2_small_16x224"], input_size=(4, 64, 64), num_classes=5, dims=SMALL.dims, heads=SMALL.heads,
    depths=SMALL.depths, head_dropout=0.0,
)  # fmt: skip
CLIP_V1 = replace(
    MVIT_SIZES["mvit_base_16x224"], input_size=(4, 64, 64), num_classes=5, dims=SMALL.dims, heads=SMALL.heads,
    depths=SMALL.depths, head_dropout=0.0,
)  # fmt: skip


def shaken(model: Any, seed: int = 0) -> Any:
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draws) * 0.2)
    return model.eval()


def some_images(config: MvitConfig) -> Tensor:
    return torch.randn(2, 3, *config.input_size, generator=torch.Generator().manual_seed(1))


def timm_twin(config: MvitConfig) -> MultiScaleVit:
    cfg = MultiScaleVitCfg(
        depths=config.depths, embed_dim=config.dims, num_heads=config.heads,
        expand_attn=config.expansion == "attention", use_cls_token=config.class_token,
    )  # fmt: skip
    return shaken(MultiScaleVit(cfg, img_size=config.input_size[0], num_classes=config.num_classes))  # pyright: ignore[reportArgumentType]


def torchvision_twin(config: MvitConfig) -> MViT:
    settings = []
    for plan in plan_blocks(config):
        query, key = plan.query_pooling, plan.key_pooling
        settings.append(
            MSBlockConfig(
                num_heads=plan.heads, input_channels=plan.dim, output_channels=plan.dim_out,
                kernel_q=list(query.kernel) if query else [], stride_q=list(query.stride) if query else [],
                kernel_kv=list(key.kernel) if key else [], stride_kv=list(key.stride) if key else [],
            )
        )  # fmt: skip
    second = config.positions == "relative"
    frames, *sides = config.input_size
    return shaken(
        MViT(
            spatial_size=(sides[0], sides[1]), temporal_size=frames, block_setting=settings, residual_pool=second,
            residual_with_cls_embed=False, rel_pos_embed=second, proj_after_attn=second,
            num_classes=config.num_classes,
        )
    )  # fmt: skip


TIMM = [
    SMALL,
    replace(SMALL, expansion="mlp"),
    replace(SMALL, class_token=True, class_token_residual=True),
]


@pytest.mark.parametrize("config", TIMM, ids=["attention", "mlp", "class token"])
def test_timm_and_ours_agree_in_logits_and_levels(config: MvitConfig) -> None:
    theirs, ours = timm_twin(config), Mvit(config).eval()
    report = load_weights(ours, theirs.state_dict())
    assert report.format == "timm mvitv2"
    assert not report.dropped
    images = some_images(config)
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-5)
    stages: list[Tensor] = []
    for stage in theirs.stages:
        stage.register_forward_hook(lambda _, __, output: stages.append(output[0]))
    theirs(images)
    stages[-1] = theirs.norm(stages[-1])
    for grid, tokens in zip(ours.levels(images), stages, strict=True):
        tokens = tokens[:, int(config.class_token) :].view_as(grid)
        torch.testing.assert_close(grid, tokens, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("config", [CLIP, CLIP_V1], ids=["v2", "v1"])
def test_torchvision_and_ours_agree_in_logits_and_levels(config: MvitConfig) -> None:
    theirs, ours = torchvision_twin(config), Mvit(config).eval()
    report = load_weights(ours, theirs.state_dict())
    assert report.format == "torchvision mvit"
    assert not report.dropped
    clips = some_images(config)
    torch.testing.assert_close(ours(clips), theirs(clips), rtol=1e-5, atol=1e-5)
    blocks: list[Tensor] = []
    for block in theirs.blocks:
        block.register_forward_hook(lambda _, __, output: blocks.append(output[0]))
    theirs(clips)
    ends = [sum(config.depths[: level + 1]) - 1 for level in range(4)]
    stages = [blocks[end] for end in ends]
    stages[-1] = theirs.norm(stages[-1])
    for grid, tokens in zip(ours.levels(clips), stages, strict=True):
        torch.testing.assert_close(grid, tokens[:, 1:].view_as(grid), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["image", "clip", "clip v1"])
def test_gradients_are_those_of_the_peer(kind: str) -> None:
    config = {"image": SMALL, "clip": CLIP, "clip v1": CLIP_V1}[kind]
    theirs: nn.Module = timm_twin(config) if kind == "image" else torchvision_twin(config)
    ours = Mvit(config).eval()
    load_weights(ours, theirs.state_dict())
    # In double precision: in single, max-pools of nearly equal values choose another in one of the two now and then.
    theirs, ours, images = theirs.double(), ours.double(), some_images(config).double()
    for model in (theirs, ours):
        model(images).square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    translated = Mvit(config).double()
    assert all(gradient is not None for gradient in gradients.values())
    load_weights(translated, gradients)  # gradients have the layout of their weights
    # Some gradients are zero but for rounding (a bias of all keys): differences are relative to the largest of all.
    largest = max(float(gradient.abs().max()) for gradient in gradients.values() if gradient is not None)
    for name, parameter in translated.named_parameters():
        gradient = ours.get_parameter(name).grad
        assert gradient is not None
        assert (gradient - parameter).abs().max() < 1e-5 * largest, name


def official_names(state: dict[str, Tensor], joint: bool = False) -> dict[str, Tensor]:
    """Our tensors as SlowFast stores them."""
    theirs = {}
    for name, tensor in state.items():
        for own, pattern in (
            ("patch_embed.", r"^patch_embed\."),
            ("cls_token", r"^class_token$"),
            ("pos_embed_class", r"^class_positions$"),
            ("pos_embed_temporal", r"^temporal_positions$"),
            ("pos_embed_spatial", r"^positions$"),
        ):
            name = re.sub(pattern, own if own != "patch_embed." else "patch_embed.proj.", name)
        name = name.replace(".attention.", ".attn.").replace("head.", "head.projection.").replace(".widen.", ".proj.")
        for short, axis in (("h", "row"), ("w", "column"), ("t", "time")):
            name = name.replace(f"relative_{axis}_positions", f"rel_pos_{short}")
        theirs[name] = tensor.flatten(1, 2) if name == "pos_embed_spatial" else tensor
    if joint:
        theirs["pos_embed"] = torch.cat((theirs.pop("pos_embed_class"), theirs.pop("pos_embed_spatial")), 1)
    return theirs


def test_the_authors_files_are_read_with_their_sections_and_one_frame_kernels(tmp_path: Path) -> None:
    config = replace(SMALL, positions="absolute", query_residual=False, expansion="mlp", class_token=True)
    source = shaken(Mvit(config))
    state = official_names(source.state_dict(), joint=True)
    for name, tensor in state.items():
        if ".attn.pool_" in name:
            state[name] = tensor.unsqueeze(2)
    torch.save({"model_state": state, "epoch": 3, "cfg": "MODEL: ..."}, tmp_path / "mvit.pyth")
    ours = Mvit(config).eval()
    report = load_weights(ours, tmp_path / "mvit.pyth")
    assert report.format == "official MViT (SlowFast, mvit)"
    assert not report.dropped
    torch.testing.assert_close(ours(some_images(config)), source(some_images(config)), rtol=0, atol=0)


@pytest.mark.parametrize("config", [CLIP, CLIP_V1], ids=["v2", "v1"])
def test_the_authors_clip_names_are_ours(config: MvitConfig) -> None:
    source = shaken(Mvit(config))
    ours = Mvit(config).eval()
    assert not load_weights(ours, official_names(source.state_dict())).dropped
    torch.testing.assert_close(ours(some_images(config)), source(some_images(config)), rtol=0, atol=0)


@pytest.mark.parametrize(
    "name", ["mvit_base_224", "mvit_base_16x224", "mvit_base24_32x224", "mvitv2_base_32x224", "mvitv2_large_40x312"]
)
def test_the_authors_files_tell_the_model_they_belong_to(name: str) -> None:
    config = entry(name).config
    state = official_names(build_empty(config).state_dict(), joint=name == "mvit_base_224")
    assert detect(state) == "official MViT (SlowFast, mvit)"
    assert recognise(state) == config


def test_torchvision_models_are_recognised() -> None:
    for make, name in ((mvit_v1_b, "mvit_base_16x224"), (mvit_v2_s, "mvitv2_small_16x224")):
        with torch.device("meta"):
            theirs = make()
        assert recognise(theirs.state_dict()) == entry(name).config


def test_a_file_of_timm_opens_as_the_model_it_is(tmp_path: Path) -> None:
    config = replace(MVIT_SIZES["mvitv2_tiny_224"], num_classes=7)
    theirs = shaken(
        MultiScaleVit(MultiScaleVitCfg(depths=config.depths, embed_dim=config.dims, num_heads=config.heads),
                      num_classes=7)
    )  # fmt: skip
    torch.save(theirs.state_dict(), tmp_path / "mvitv2.pth")
    opened = open_weights(tmp_path / "mvitv2.pth")
    assert opened.model.config == config
    assert opened.name == "mvitv2_tiny_224"


def test_another_number_of_classes_leaves_the_head_fresh() -> None:
    theirs = timm_twin(SMALL)
    ours = Mvit(replace(SMALL, num_classes=3))
    report = load_weights(ours, theirs.state_dict())
    assert set(report.reinitialised) == {"head.weight", "head.bias"}


def test_timms_class_token_is_noted() -> None:
    config = replace(SMALL, class_token=True)
    report = load_weights(Mvit(config), timm_twin(config).state_dict())
    assert "class_token_residual=True is timm's way" in str(report)


def test_a_misfit_names_both_sides() -> None:
    with pytest.raises(UserError, match=r"does not fit this model: .* the model has dims"):
        load_weights(Mvit(replace(SMALL, depths=(1, 1, 1, 1))), timm_twin(SMALL).state_dict())


@pytest.mark.parametrize("config", TIMM, ids=["attention", "mlp", "class token"])
def test_ours_goes_out_to_timm(config: MvitConfig) -> None:
    ours = shaken(Mvit(config))
    theirs = MultiScaleVit(**timm_arguments(ours)).eval()
    theirs.load_state_dict(to_timm(ours))
    torch.testing.assert_close(theirs(some_images(config)), ours(some_images(config)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"pool": "max"}, "pool="),
        ({"positions": "absolute"}, "positions="),
        ({"class_token": True}, "class_token_residual="),
        ({"input_size": (64, 96)}, "square images"),
    ],
)
def test_what_timm_cannot_be_is_not_translated(fields: dict[str, Any], words: str) -> None:
    for translate in (to_timm, timm_arguments):
        with pytest.raises(UserError, match=words):
            translate(Mvit(replace(SMALL, **fields)))
