"""Positions of third-party weights keep their rows and columns, or are refused; the report has what was assumed."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from timm.models.hiera import Hiera as TimmHiera
from torch import Tensor

from hvit.errors import UserError
from hvit.models.baselines import VitConfig
from hvit.models.build import build_empty, build_network
from hvit.models.catalogue import entry
from hvit.models.create import create_model
from hvit.models.hiera.config import HieraConfig
from hvit.models.input_sizes import grid_at, stated_input_size, with_input_size
from hvit.models.masked.config import MaskedConfig
from hvit.models.mvit.config import MvitConfig
from hvit.models.nest.config import NestConfig
from hvit.models.weights.load import fit, load_weights, recognise, timm_arguments, to_timm
from hvit.models.weights.open import open_weights
from hvit.models.weights.save import save_weights
from hvit.recipes import get_recipe
from hvit.runs.kinds import kind_of
from hvit.runs.prepare import new_model

SMALL: dict[str, Any] = {"num_classes": 3, "dims": (8, 16), "heads": (1, 2), "depths": (1, 1)}
HIERA = HieraConfig(**SMALL, unit_size=(2, 2), query_pools=1, unit_attention=(True, False), input_size=(64, 64))
HIERA_CLIP = replace(
    HIERA, input_size=(4, 64, 64), patch_size=(2, 4, 4), patch_kernel=(3, 7, 7), unit_size=(1, 2, 2),
    query_stride=(1, 2, 2),
)  # fmt: skip
WINDOW = replace(HIERA, positions="window", position_grid=(3, 5), position_antialias=True)
MVIT = MvitConfig(
    **SMALL, unit_attention=(False, False), positions="absolute", class_token=True, query_residual=False,
    query_pooling="strided", expansion="mlp", input_size=(64, 64),
)  # fmt: skip
MVIT_CLIP = replace(
    MVIT, input_size=(4, 64, 64), patch_size=(2, 4, 4), patch_kernel=(3, 7, 7), query_stride=(1, 2, 2),
    key_stride=(1, 4, 4),
)  # fmt: skip
MVITV2 = MvitConfig(**SMALL, unit_attention=(False, False), input_size=(64, 64))
NEST = NestConfig(**SMALL, input_size=(64, 64))
VIT = VitConfig(num_classes=3, dims=(8,), heads=(1,), depths=(1,), patch_size=(4, 4), input_size=(64, 64))
DECODER: dict[str, Any] = {"decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 1}

# Pixels; in tokens 8 x 32, 32 x 8, 16 x 16, 8 x 8, 16 x 32 and 32 x 16: the first three have as many.
SIZES = [(32, 128), (128, 32), (64, 64), (32, 32), (64, 128), (128, 64)]
PAIRS = list(product(SIZES, SIZES))


def sized(config: Any, size: tuple[int, ...]) -> Any:
    if isinstance(config, MaskedConfig):
        return replace(config, encoder=sized(config.encoder, size))
    return replace(config, input_size=(*config.input_size[:-2], *size))


def made(config: Any) -> Any:
    """A model whose every entry of every table of positions is another number."""
    model = build_network(config)
    draws = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draws))
    return model.eval()


def models_at_every_size(config: Any) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """By size: models to take weights from, and models to load them into."""
    return (
        {size: made(sized(config, size)) for size in SIZES},
        {size: build_network(sized(config, size)) for size in SIZES},
    )


def as_hiera_of_the_authors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors under the authors' names, also of a masked autoencoder, with the tables flat as theirs are."""
    clip = any(name.endswith("temporal_positions") for name in state)
    theirs = {}
    for name, tensor in state.items():
        for own, other in (
            (r"^encoder\.", ""),
            (r"^patch_embed\.", "patch_embed.proj."),
            (r"^positions$", "pos_embed_spatial" if clip else "pos_embed"),
            (r"^temporal_positions$", "pos_embed_temporal"),
            (r"^(blocks\.\d+)\.widen\.", r"\1.proj."),
            (r"^(blocks\.\d+)\.attention\.", r"\1.attn."),
            (r"^head\.", "head.projection."),
            (r"^fusion\.", "multi_scale_fusion_heads."),
            (r"^embed\.", "decoder_embed."),
            (r"^decoder_positions$", "decoder_pos_embed"),
            (r"^decoder\.(\d+)\.(qkv|proj)\.", r"decoder_blocks.\1.attn.\2."),
            (r"^decoder\.(\d+)\.", r"decoder_blocks.\1."),
            (r"^tell\.", "decoder_pred."),
        ):
            name = re.sub(own, other, name)
        if "multi_scale_fusion_heads.0.weight" in theirs or any(part.startswith("fusion.") for part in state):
            name = re.sub(r"^norm\.", "encoder_norm.", name)
        flat = name in ("pos_embed", "pos_embed_spatial", "decoder_pos_embed")
        theirs[name] = tensor.flatten(1, -2) if flat else tensor.view(1, 1, -1) if name == "mask_token" else tensor
    return theirs


def as_mvit_of_the_authors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    theirs = {}
    for name, tensor in state.items():
        for own, other in (
            (r"^patch_embed\.", "patch_embed.proj."),
            (r"^class_token$", "cls_token"),
            (r"^class_positions$", "pos_embed_class"),
            (r"^temporal_positions$", "pos_embed_temporal"),
            (r"^positions$", "pos_embed_spatial"),
            (r"^head\.", "head.projection."),
            (r"\.attention\.", ".attn."),
            (r"\.widen\.", ".proj."),
            (r"relative_row_positions$", "rel_pos_h"),
            (r"relative_column_positions$", "rel_pos_w"),
        ):
            name = re.sub(own, other, name)
        theirs[name] = tensor.flatten(1, 2) if name == "pos_embed_spatial" else tensor
    return theirs


def as_mvit_of_the_authors_jointly(state: dict[str, Tensor]) -> dict[str, Tensor]:
    theirs = as_mvit_of_the_authors(state)
    theirs["pos_embed"] = torch.cat((theirs.pop("pos_embed_class"), theirs.pop("pos_embed_spatial")), 1)
    return theirs


def as_mvit_of_torchvision(state: dict[str, Tensor]) -> dict[str, Tensor]:
    theirs = {}
    for name, tensor in as_mvit_of_the_authors(state).items():
        for own, other in (
            (r"^patch_embed\.proj\.", "conv_proj."),
            (r"^cls_token$", "pos_encoding.class_token"),
            (r"^pos_embed_(spatial|temporal|class)$", r"pos_encoding.\1_pos"),
            (r"\.attn\.proj\.", ".attn.project.0."),
            (r"\.pool_([qkv])\.", r".pool_\1.pool."),
            (r"\.norm_([qkv])\.", r".pool_\1.norm_act.0."),
            (r"\.mlp\.fc1\.", ".mlp.0."),
            (r"\.mlp\.fc2\.", ".mlp.3."),
            (r"^(blocks\.\d+)\.proj\.", r"\1.project."),
            (r"^head\.projection\.", "head.1."),
        ):
            name = re.sub(own, other, name)
        theirs[name] = tensor[0] if name.startswith("pos_encoding.") and tensor.ndim == 3 else tensor
    return theirs


def as_hiera_of_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors under transformers' names; of a Hiera with one layer in each of two levels."""
    theirs = {}
    for name, tensor in state.items():
        for own, other in (
            (r"^patch_embed\.", "hiera.embeddings.patch_embeddings.projection."),
            (r"^positions$", "hiera.embeddings.position_embeddings"),
            (r"^blocks\.(\d+)\.widen\.", r"blocks.\1.proj."),
            (r"^blocks\.(\d+)\.attention\.", r"blocks.\1.attn."),
            (r"^blocks\.(\d+)\.norm1\.", r"blocks.\1.layernorm_before."),
            (r"^blocks\.(\d+)\.norm2\.", r"blocks.\1.layernorm_after."),
            (r"^blocks\.(\d+)\.", r"hiera.encoder.stages.\1.layers.0."),
            (r"^norm\.", "hiera.pooler.layernorm."),
            (r"^head\.", "classifier."),
        ):
            name = re.sub(own, other, name)
        theirs[name] = tensor.flatten(1, 2) if name.endswith("position_embeddings") else tensor
    return theirs


Rename = Callable[[dict[str, Tensor]], dict[str, Tensor]]
FLAT: dict[str, tuple[Any, Rename]] = {
    "hiera, authors": (HIERA, as_hiera_of_the_authors),
    "hiera clip, authors": (HIERA_CLIP, as_hiera_of_the_authors),
    "hiera, transformers": (HIERA, as_hiera_of_transformers),
    "autoencoder, authors": (MaskedConfig(HIERA, **DECODER), as_hiera_of_the_authors),
    "autoencoder of clips, authors": (MaskedConfig(HIERA_CLIP, **DECODER), as_hiera_of_the_authors),
    "mvit, authors": (MVIT, as_mvit_of_the_authors),
    "mvit, authors, joint with the class token": (MVIT, as_mvit_of_the_authors_jointly),
    "mvit clip, authors": (MVIT_CLIP, as_mvit_of_the_authors),
    "mvit clip, torchvision": (MVIT_CLIP, as_mvit_of_torchvision),
    "vit, ours": (VIT, dict),
}
EVERY_FLAT = pytest.mark.parametrize(("config", "rename"), FLAT.values(), ids=list(FLAT))


def on_its_grid(name: str, tensor: Tensor, config: Any) -> Tensor:
    """A table with its axes of rows and columns; the plain ViT's is flat in our model, too."""
    return tensor.unflatten(1, [side // 4 for side in config.input_size]) if name == "network.pos_embed" else tensor


def assert_positions(target: Any, source: Any, how: Any = "auto") -> bool:
    """Whether every table of positions of a model is another model's, resized from its rows and columns to ours."""
    how = target.position_resizes[0] if how == "auto" else how
    for name, wanted in source.state_dict().items():
        if not name.endswith(("positions", "pos_embed")):
            continue
        found = target.state_dict()[name]
        maps = on_its_grid(name, wanted, source.config)
        if maps.shape != on_its_grid(name, found, target.config).shape:
            wanted = target.resize_positions(name, maps, tuple(found.shape), how)
        if not torch.equal(found, wanted):
            return False
    return True


@EVERY_FLAT
def test_a_table_that_states_its_input_size_arrives_at_its_rows_and_columns(config: Any, rename: Rename) -> None:
    sources, targets = models_at_every_size(config)
    for theirs, ours in PAIRS:
        source, target = sources[theirs], targets[ours]
        report = load_weights(target, with_input_size(rename(source.state_dict()), source.config.input_size))
        assert assert_positions(target, source), (theirs, ours)
        assert not any("lie" in note for note in report.notes)


@EVERY_FLAT
def test_the_caller_can_name_the_input_size(config: Any, rename: Rename) -> None:
    for theirs, ours in (SIZES[:2], SIZES[1:3], SIZES[5:3:-1]):
        source, target = made(sized(config, theirs)), build_network(sized(config, ours))
        load_weights(target, rename(source.state_dict()), weights_input_size=theirs)
        assert assert_positions(target, source), (theirs, ours)


@EVERY_FLAT
def test_a_table_that_states_nothing_is_exact_or_refused_or_reported(config: Any, rename: Rename) -> None:
    outcomes = {}
    sources, targets = models_at_every_size(config)
    for theirs, ours in PAIRS:
        source, target = sources[theirs], targets[ours]
        try:
            report = load_weights(target, rename(source.state_dict()))
        except UserError as error:
            outcomes[theirs, ours] = "refused" if "weights_input_size" in str(error) else str(error)
            continue
        assert sum("does not say how the" in note for note in report.notes) == 1, (theirs, ours)
        outcomes[theirs, ours] = "exact" if assert_positions(target, source) else "reported"
    # The same size again: a square, and what can only be the model's own token grid.
    assert all(outcomes[size, size] == "exact" for size in [(64, 64), (32, 32), (64, 128), (128, 64)])
    # As many tokens as a square has: nothing is guessed for a model that is no square.
    for theirs, ours in product(SIZES[:3], SIZES[:2]):
        assert outcomes[theirs, ours] == "refused"
    # Squares to any other size are resized.
    assert {outcomes[(64, 64), size] for size in SIZES[3:]} == {"exact"}
    assert {outcomes[(32, 32), size] for size in SIZES} == {"exact"}


@pytest.mark.parametrize("how", ["unit", "plane"])
@pytest.mark.parametrize("config", [HIERA, HIERA_CLIP], ids=["image", "clip"])
def test_ours_to_timm_and_back_is_exact_at_every_pair_of_sizes(config: HieraConfig, how: Any) -> None:
    sources, targets = models_at_every_size(config)
    for theirs, ours in PAIRS:
        source, target = sources[theirs], targets[ours]
        load_weights(target, to_timm(source), position_resize=how)
        assert assert_positions(target, source, how), (theirs, ours)


@pytest.mark.parametrize("config", [WINDOW, MVITV2], ids=["window", "relative"])
def test_tables_by_axis_and_planes_need_no_statement(config: Any) -> None:
    rename = as_mvit_of_the_authors if config is MVITV2 else dict
    sources, targets = models_at_every_size(config)
    for theirs, ours in PAIRS:
        source, target = sources[theirs], targets[ours]
        report = load_weights(target, dict(to_timm(source)) if config is WINDOW else rename(source.state_dict()))
        assert assert_positions(target, source)
        assert report.notes == ()


@pytest.mark.parametrize("how", ["plane", "block"])
def test_blocks_of_nest_go_to_timm_and_come_back(how: Any) -> None:
    for theirs, ours in product((32, 64, 96), repeat=2):
        source, target = made(sized(NEST, (theirs, theirs))), build_network(sized(NEST, (ours, ours)))
        load_weights(target, to_timm(source), position_resize=how)
        assert assert_positions(target, source, how)


def test_the_same_logits_come_back_from_timm_at_sizes_that_are_no_square() -> None:
    images = torch.randn(2, 3, 32, 128, generator=torch.Generator().manual_seed(2))
    ours: Any = build_network(sized(HIERA, (32, 128))).eval()
    theirs = TimmHiera(**timm_arguments(ours)).eval()
    theirs.load_state_dict(to_timm(ours))
    again = build_network(ours.config).eval()
    with pytest.raises(UserError, match=r"256 entries of positions in the state dict .* may be 8 x 32 or 16 x 16"):
        load_weights(again, theirs.state_dict())
    report = load_weights(again, theirs.state_dict(), weights_input_size=(32, 128))
    assert report.notes == ()
    with torch.no_grad():
        assert torch.equal(again(images), ours(images))
        torch.testing.assert_close(theirs(images), ours(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", [HIERA, MVIT, MVITV2, VIT, MaskedConfig(HIERA, **DECODER)])
def test_files_of_ours_say_their_size(config: Any, tmp_path: Path) -> None:
    for theirs, ours in product(SIZES[:3], repeat=2):
        source, target = made(sized(config, theirs)), build_network(sized(config, ours))
        save_weights(source, tmp_path / "ours.safetensors")
        assert not any("lie" in note for note in load_weights(target, tmp_path / "ours.safetensors").notes)
        assert assert_positions(target, source), (theirs, ours)


def test_an_input_size_that_does_not_fit_the_table_is_refused() -> None:
    source = made(sized(HIERA, (32, 128)))
    for size, words in (
        ((96, 128), "256 entries .* are no token grid of an input of 96 x 128 pixels"),
        ((32,), "is a height and a width in pixels"),
        ((32, 0), "is a height and a width in pixels"),
        ((32, "a"), "is a height and a width in pixels"),
    ):
        with pytest.raises(UserError, match=words):
            load_weights(build_network(HIERA), dict(to_timm(source)), weights_input_size=size)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match=r"512 entries .* are neither a square nor this model's token grid"):
        load_weights(build_network(HIERA), dict(to_timm(made(sized(HIERA, (64, 128))))))


def test_one_table_for_time_and_space_is_refused() -> None:
    # 2 x 8 x 16 positions: as many as a square of 16 x 16 has.
    config = sized(HIERA_CLIP, (32, 64))
    theirs = as_hiera_of_the_authors(made(config).state_dict())
    time, space = theirs.pop("pos_embed_temporal"), theirs.pop("pos_embed_spatial")
    theirs["pos_embed"] = (time[:, :, None] + space[:, None]).flatten(1, 2)
    with pytest.raises(UserError, match="one table for all 256 positions in time and space"):
        load_weights(build_network(config), theirs)
    config = sized(MVIT_CLIP, (32, 64))
    theirs = as_mvit_of_the_authors(made(config).state_dict())
    time, space = theirs.pop("pos_embed_temporal"), theirs.pop("pos_embed_spatial")
    joint = (time[:, :, None] + space[:, None]).flatten(1, 2)
    theirs["pos_embed"] = torch.cat((theirs.pop("pos_embed_class"), joint), 1)
    with pytest.raises(UserError, match="one table for all 256 positions in time and space"):
        load_weights(build_network(config), theirs)


def test_files_keep_the_statement_or_have_a_configuration_beside_them(tmp_path: Path) -> None:
    source = made(sized(HIERA, (32, 128)))
    theirs = to_timm(source)
    torch.save({"model": theirs}, tmp_path / "timm.pth")
    save_file(dict(theirs), tmp_path / "model.safetensors")
    target = build_network(HIERA)
    load_weights(target, tmp_path / "timm.pth")
    assert assert_positions(target, source)
    # Without a word it would be a square.
    assert "read as 16 x 16" in str(load_weights(target, tmp_path / "model.safetensors"))
    for stated in (
        {"image_size": [32, 128]},
        {"input_size": [32, 128]},
        {"model_args": {"img_size": [32, 128]}, "pretrained_cfg": {"input_size": [3, 224, 224]}},
    ):
        (tmp_path / "config.json").write_text(json.dumps(stated))
        assert "read as" not in str(load_weights(target, tmp_path / "model.safetensors"))
        assert assert_positions(target, source)
    # What contradicts the table, or cannot be read, states nothing.
    for text in ('{"image_size": 64', "[" * 100_000, "[1]", '{"image_size": [0, 1e9]}', '{"image_size": 96}'):
        (tmp_path / "config.json").write_text(text)
        assert "read as 16 x 16" in str(load_weights(target, tmp_path / "model.safetensors"))


def test_a_checkpoint_states_its_size_in_its_arguments() -> None:
    assert stated_input_size({"state_dict": {}, "args": argparse.Namespace(img_size=192, model="x")}) == (192, 192)
    assert stated_input_size({"args": {"img_size": None, "input_size": [3, 64, 128]}}) == (64, 128)
    assert stated_input_size({"config": {"input_size": (16, 224, 192)}}) == (224, 192)
    assert stated_input_size({"state_dict": with_input_size({}, (4, 32, 96))}) == (32, 96)
    assert stated_input_size({"input_size": torch.zeros(2), "img_size": True, "image_size": "224"}) is None
    assert stated_input_size([1, 2]) is None


def test_a_file_opens_as_the_model_of_the_size_that_it_states(tmp_path: Path) -> None:
    config = replace(entry("hiera_micro_64").config, input_size=(32, 128), num_classes=3)
    source: Any = made(config)
    torch.save(to_timm(source), tmp_path / "timm.pth")
    opened = open_weights(tmp_path / "timm.pth")
    assert opened.model.config.input_size == (32, 128)
    assert torch.equal(opened.model.state_dict()["positions"], source.positions)
    torch.save(dict(to_timm(source)), tmp_path / "bare.pth")
    opened = open_weights(tmp_path / "bare.pth")
    assert opened.model.config.input_size == (64, 64)
    assert "read as 16 x 16 tokens" in str(opened.report)


def test_published_sizes_are_known_and_need_no_note() -> None:
    for name, rename in (
        ("hiera_tiny_224", as_hiera_of_the_authors),
        ("mae_hiera_tiny_224", as_hiera_of_the_authors),
        ("mvit_base_16x224", as_mvit_of_the_authors),
    ):
        model = build_empty(entry(name).config)
        state = {name: torch.zeros(()).expand(tensor.shape) for name, tensor in model.state_dict().items()}
        _, report = fit(model, rename(state), "the state dict", {}, "plane")
        assert not any("does not say how" in note for note in report.notes)


def test_relative_tables_of_both_axes_show_the_input_size() -> None:
    config = replace(entry("mvitv2_tiny_224").config, input_size=(128, 224))
    assert recognise(as_mvit_of_the_authors(build_empty(config).state_dict())) == config


def test_the_input_size_reaches_a_model_by_name_and_a_recipe(tmp_path: Path) -> None:
    source: Any = made(replace(entry("hiera_micro_64").config, input_size=(32, 128)))
    weights = dict(to_timm(source))
    model: Any = create_model("hiera_micro_64", weights, weights_input_size=(32, 128))
    wanted = model.resize_positions("positions", source.positions.detach(), (1, 16, 16, 32), "unit")
    assert torch.equal(model.positions, wanted)
    torch.save(weights, tmp_path / "weights.pth")
    recipe = get_recipe("hiera_micro_folder")
    recipe = replace(
        recipe, model=replace(source.config, input_size=(64, 64)), weights=str(tmp_path / "weights.pth"),
        weights_input_size=(32, 128),
    )  # fmt: skip
    started: Any = new_model(recipe, kind_of(recipe.model))
    assert torch.equal(started.positions, wanted)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 32))
def test_the_grid_of_an_input_size_is_found_again(height: int, width: int, patch: int) -> None:
    grid = (-(-height // patch), -(-width // patch))
    assert grid_at(grid[0] * grid[1], (height, width)) == grid
    assert grid_at(grid[0] * grid[1], (8, height, width), (2, patch, patch)) == grid
