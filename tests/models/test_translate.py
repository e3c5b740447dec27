"""Other people's weights give other people's numbers, and what does not fit is refused before anything changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.nest import Nest as TimmNest
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.models.baselines import VitConfig
from hvit.models.catalogue import build, create_model
from hvit.models.grids import resize_blocks
from hvit.models.nest import Nest, NestConfig
from hvit.models.translate import (
    detect,
    download_timm,
    load_weights,
    read_checkpoint,
    recognise,
    timm_arguments,
    to_timm,
)

SMALL = NestConfig(
    input_size=(32, 32), patch_size=(2, 2), num_classes=5, dims=(12, 24, 48), heads=(3, 6, 12), depths=(1, 2, 1)
)  # fmt: skip
MICRO = NestConfig(input_size=(16, 16), patch_size=(2, 2), num_classes=3, dims=(4, 8), heads=(2, 4), depths=(1, 1))


def shaken(model: Any, seed: int = 0, scale: float = 0.2) -> Any:
    """The model with every bias, norm and embedding away from its trivial start."""
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draws) * scale)
    return model.eval()


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh"])
@pytest.mark.parametrize("padding", ["same", "symmetric"])
def test_timm_and_ours_agree_in_both_directions(padding: Any, activation: Any) -> None:
    config = replace(SMALL, pool_padding=padding, activation=activation)
    ours = shaken(Nest(config), seed=1)
    theirs = TimmNest(**timm_arguments(ours)).eval()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))

    def compare() -> None:
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-5)
        levels = theirs.forward_intermediates(images, norm=True, intermediates_only=True)
        for grid, plane in zip(ours.levels(images), levels, strict=True):
            torch.testing.assert_close(grid, plane.permute(0, 2, 3, 1), rtol=1e-5, atol=1e-5)

    theirs.load_state_dict(to_timm(ours))
    compare()
    shaken(theirs, seed=3)
    report = load_weights(ours, theirs.state_dict())
    assert (report.format, len(report.matched)) == ("timm nest", len(ours.state_dict()))
    compare()


@pytest.mark.parametrize(("name", "padding"), [("nest_tiny_jx", "same"), ("nest_tiny", "symmetric")])
def test_timms_named_models_are_ours(name: str, padding: str) -> None:
    theirs = shaken(timm.create_model(name, num_classes=10), scale=0.05)
    ours = create_model(
        "nest_tiny_224", theirs.state_dict(), num_classes=10, pool_padding=padding, activation="gelu"
    ).eval()
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-5)
    found = recognise(theirs.state_dict())
    assert found == replace(ours.config, pool_padding="same", drop_path=0.0)


@pytest.mark.parametrize(
    "fields", [{"attention": "multi_query"}, {"aggregation": "max3"}, {"aggregation_plane": "block"}]
)
def test_what_timm_cannot_be_is_not_translated(fields: dict[str, Any]) -> None:
    model = Nest(replace(SMALL, **fields))
    for translate in (to_timm, timm_arguments):
        with pytest.raises(UserError, match=f"{next(iter(fields))}="):
            translate(model)
    with pytest.raises(UserError, match="only NesT, MViTv2 and Hiera"):
        to_timm(build(VitConfig(input_size=(32, 32), num_classes=2, dims=(12,), depths=(1,))))


@pytest.mark.parametrize(
    ("model", "depths", "attention", "words"),
    [
        (
            "imagenet_like",
            (1, 1, 2),
            "multi_head",
            r"made with heads \(3, 6, 12\), but this model has heads \(6, 12, 24\)",
        ),
        (
            "cifar_like",
            (1, 1, 1, 1),
            "multi_query",
            r"qkv\.weight is \(40, 24\) in the file and \(32, 24\) in the model",
        ),
    ],
)
def test_official_checkpoints_tell_their_model(
    fixtures: Path, model: str, depths: tuple[int, ...], attention: str, words: str
) -> None:
    state, metadata = read_checkpoint(fixtures / "nest_flax_fixture" / model / "ckpt-1.flax")
    assert (detect(state), metadata) == ("official NesT (Flax)", {})
    config = recognise(state)
    assert config is not None
    assert config.depths == depths
    assert config.attention == attention
    wrong = tuple(2 * heads for heads in config.heads)
    with pytest.raises(UserError, match=words):
        load_weights(Nest(replace(config, heads=wrong)), state)
    report = load_weights(Nest(replace(config, pool_padding="symmetric")), state)
    assert "pool_padding" in str(report)


@pytest.mark.parametrize("how", ["plane", "block"])
def test_224_becomes_384_by_resizing_positions(how: Any) -> None:
    small = NestConfig(dims=(4, 8, 16), heads=(1, 2, 4), depths=(1, 1, 1), num_classes=3)
    source, target = shaken(Nest(small)), Nest(replace(small, input_size=(384, 384)))
    report = load_weights(target, source.state_dict(), position_resize=how)
    assert list(report.resized) == [f"hierarchies.{level}.positions" for level in range(3)]
    assert report.resized["hierarchies.0.positions"] == ((1, 16, 196, 4), (1, 16, 576, 4))
    for name in report.resized:
        expected = resize_blocks(source.state_dict()[name], 24, how)
        assert torch.equal(target.state_dict()[name], expected)
    assert target(torch.randn(1, 3, 384, 384)).isfinite().all()


def test_a_head_for_other_classes_stays_fresh_and_a_missing_one_is_named() -> None:
    source, target = shaken(Nest(SMALL)), Nest(replace(SMALL, num_classes=7))
    before = target.head.weight.clone()
    report = load_weights(target, source.state_dict())
    assert (report.reinitialised, report.missing) == (("head.weight", "head.bias"), ())
    assert torch.equal(target.head.weight, before)
    assert torch.equal(target.norm.weight, source.norm.weight)
    headless = {name: tensor for name, tensor in source.state_dict().items() if not name.startswith("head")}
    report = load_weights(Nest(SMALL), headless | {"n_averaged": torch.tensor(3)})
    assert (report.missing, report.dropped) == (("head.weight", "head.bias"), ("n_averaged",))
    assert 2 <= len(str(report).splitlines()) <= 6


def test_colour_weights_see_grey_images_as_equal_colours_and_back() -> None:
    colour, grey = shaken(Nest(SMALL)), Nest(replace(SMALL, in_channels=1))
    assert "patch_embed.weight" in load_weights(grey, colour.state_dict()).resized
    images = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(grey(images), colour(images.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-4)
    back = Nest(SMALL)
    load_weights(back, grey.state_dict())
    torch.testing.assert_close(back(images.expand(-1, 3, -1, -1)), grey(images), rtol=1e-4, atol=1e-4)


def shapes_of(name: str) -> dict[str, Tensor]:
    """A state dict without memory."""
    with torch.device("meta"):
        return create_model(name).state_dict()


def without(name: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """Takes one tensor out of a state dict."""
    return lambda state: {key: tensor for key, tensor in state.items() if key != name}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (without("norm.bias"), r"norm\.bias is not in the file and \(48,\) in the model"),
        (without("hierarchies.1.layers.0.attention.qkv.weight"), r"qkv\.weight is not in the file"),
        (lambda state: Nest(replace(SMALL, depths=(1, 3, 1))).state_dict(), r"layers\.2\.\S+ is .* not in the model"),
        (lambda state: Nest(replace(SMALL, dims=(24, 48, 96))).state_dict(), r"patch_embed\.weight is \(24, 3, 2, 2\)"),
        (lambda state: {key: tensor.to(torch.int8) for key, tensor in state.items()}, r"torch\.int8 in the file"),
        (lambda state: {"model": {"network.pos_embed": torch.zeros(1)}}, "not in the file"),
        (lambda state: shapes_of("nest_tiny_224"), "looks like nest_tiny_224 at input 224"),
        (lambda state: {"conv1.weight": torch.zeros(1), "fc.bias": torch.zeros(1)}, r"first names are conv1\.weight"),
        (lambda state: {}, "holds no weights"),
    ],
)
def test_a_misfit_is_named_and_leaves_the_model_alone(spoil: Any, words: str) -> None:
    model = shaken(Nest(SMALL))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(UserError, match=words):
        load_weights(model, spoil(Nest(SMALL).state_dict()))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_published_weights_come_from_timms_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = shaken(TimmNest(**timm_arguments(Nest(SMALL))))
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    asked = []

    def download(repository: str, file: str, **_: Any) -> str:
        asked.append(repository)
        return str(tmp_path / file)

    class Session:
        def head(self, url: str, **_: Any) -> Any:
            assert url.endswith("timm/nest_tiny_jx.goog_in1k/resolve/main/model.safetensors")
            return type("Answer", (), {"status_code": 302})

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(huggingface_hub, "get_session", Session)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    sizes = {field: getattr(SMALL, field) for field in ("input_size", "patch_size", "dims", "heads", "depths")}
    model = create_model("nest_tiny_224", weights="timm", num_classes=4, **sizes)
    assert asked == ["timm/nest_tiny_jx.goog_in1k"]
    assert torch.equal(model.state_dict()["norm.weight"], theirs.state_dict()["norm.weight"])


def test_published_weights_offline_are_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"download model\.safetensors of \S+timm/nest_base_jx\.goog_in1k"):
        download_timm("nest_base_224")
    with pytest.raises(UserError, match="no weights for 'nest_micro_32'; it has for nest_tiny_224"):
        download_timm("nest_micro_32")


def test_formats_are_told_apart() -> None:
    model: nn.Module = Nest(MICRO)
    assert detect(model.state_dict()) == "hvit"
    assert recognise(model.state_dict()) is None
    assert detect(to_timm(Nest(MICRO))) == "timm nest"
    with pytest.raises(UserError, match=r"known format .*hvit.*timm nest, official NesT"):
        detect({"layer1.0.conv1.weight": torch.zeros(1)})
