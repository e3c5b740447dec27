"""Third-party checkpoints give the numbers of their own code, and misfits are refused before anything changes."""

from __future__ import annotations

import hashlib
import re
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models.nest import Nest as TimmNest
from torch import Tensor, nn

from hvit.errors import UserError
from hvit.models.baselines import VitConfig
from hvit.models.build import build
from hvit.models.create import create_model
from hvit.models.layers.grids import resize_blocks
from hvit.models.nest.config import NestConfig
from hvit.models.nest.model import Nest
from hvit.models.weights import timm as timm_weights
from hvit.models.weights.load import (
    detect,
    download_timm,
    load_weights,
    read_checkpoint,
    recognise,
    timm_arguments,
    to_timm,
)
from hvit.models.weights.timm import Pin

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
        for ours_map, their_map in zip(ours.levels(images), levels, strict=True):
            torch.testing.assert_close(ours_map, their_map.permute(0, 2, 3, 1), rtol=1e-5, atol=1e-5)

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
def test_official_checkpoints_show_their_model(
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


class Hub:
    """A hub with one file, which remembers what it was asked."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, cached: bool = False) -> None:
        self.file = folder / "blobs" / "model.safetensors"
        self.file.parent.mkdir()
        save_file(shaken(TimmNest(**timm_arguments(Nest(SMALL)))).state_dict(), self.file)
        self.sha256 = hashlib.sha256(self.file.read_bytes()).hexdigest()
        self.etag: str | None = self.sha256
        self.asked: list[Any] = []
        self.cached = cached
        if cached:
            self.file = self.file.rename(self.file.with_name(self.sha256))
        for name in ("try_to_load_from_cache", "get_hf_file_metadata", "hf_hub_download"):
            monkeypatch.setattr(huggingface_hub, name, getattr(self, name))

    def try_to_load_from_cache(self, repository: str, file: str, revision: str | None) -> str | None:
        return str(self.file) if self.cached else None

    def get_hf_file_metadata(self, url: str, **_: Any) -> Any:
        self.asked.append(url.removeprefix("https://huggingface.co/"))
        return types.SimpleNamespace(commit_hash="c" * 40, etag=self.etag)

    def hf_hub_download(self, repository: str, file: str, revision: str | None, **_: Any) -> str:
        self.asked.append((repository, revision))
        return str(self.file)


def pin(monkeypatch: pytest.MonkeyPatch, name: str, pinned: Pin) -> None:
    monkeypatch.setitem(timm_weights.PINNED, name, pinned)


def test_published_weights_come_from_one_commit_of_timms_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(tmp_path, monkeypatch)
    sizes = {field: getattr(SMALL, field) for field in ("input_size", "patch_size", "dims", "heads", "depths")}
    model = create_model("nest_small_224", weights="timm", num_classes=4, **sizes)
    repository = "timm/nest_small_jx.goog_in1k"
    assert hub.asked == [f"{repository}/resolve/main/model.safetensors", (repository, "c" * 40)]
    assert torch.equal(model.state_dict()["norm.weight"], load_file(hub.file)["norm.weight"])


def test_a_pinned_revision_and_hash_are_what_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(tmp_path, monkeypatch)
    pin(monkeypatch, "nest_small_jx.goog_in1k", Pin("a" * 40, hub.sha256))
    assert download_timm("nest_small_224") == str(hub.file)
    repository = "timm/nest_small_jx.goog_in1k"
    assert hub.asked == [f"{repository}/resolve/{'a' * 40}/model.safetensors", (repository, "a" * 40)]
    pin(monkeypatch, "nest_small_jx.goog_in1k", Pin("a" * 40, "0" * 64))
    with pytest.raises(UserError, match=f"names {hub.sha256} .* should be {'0' * 64}; nothing was downloaded"):
        download_timm("nest_small_224")


@pytest.mark.parametrize("cached", [False, True])
def test_content_that_is_not_what_the_hub_names_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    hub = Hub(tmp_path, monkeypatch, cached)
    assert download_timm("nest_small_224") == str(hub.file)
    with hub.file.open("ab") as file:
        file.write(b"more")
    with pytest.raises(UserError, match=f"its SHA-256 is .* should be {hub.sha256}; delete it"):
        download_timm("nest_small_224")


def test_a_file_without_a_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(tmp_path, monkeypatch)
    hub.etag = '"an-etag-of-a-small-file"'
    with pytest.raises(UserError, match="should be a SHA-256; nothing was downloaded"):
        download_timm("nest_small_224")
    hub.cached = True
    with pytest.raises(UserError, match="nothing says which hash it should have"):
        download_timm("nest_small_224")


def test_pins_are_whole_hashes_of_weights_that_are_offered() -> None:
    for name, pinned in timm_weights.PINNED.items():
        assert name in timm_weights.DOWNLOADS.values()
        assert pinned.revision is None or re.fullmatch("[0-9a-f]{40}", pinned.revision)
        assert pinned.sha256 is None or re.fullmatch("[0-9a-f]{64}", pinned.sha256)


def test_published_weights_offline_are_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"download model\.safetensors of \S+timm/nest_base_jx\.goog_in1k"):
        download_timm("nest_base_224")
    with pytest.raises(UserError, match="no weights for 'nest_micro_32'; it has for nest_tiny_224"):
        download_timm("nest_micro_32")


def test_formats_are_recognised() -> None:
    model: nn.Module = Nest(MICRO)
    assert detect(model.state_dict()) == "hvit"
    assert recognise(model.state_dict()) is None
    assert detect(to_timm(Nest(MICRO))) == "timm nest"
    with pytest.raises(UserError, match=r"known format .*hvit.*timm nest, official NesT"):
        detect({"layer1.0.conv1.weight": torch.zeros(1)})


@pytest.mark.parametrize(
    "name", ["nest_micro_32", "mvit_micro_32", "mvitv2_micro_32", "hiera_micro_32", "vit_micro_32"]
)
def test_positions_of_nothing_are_not_resized(name: str) -> None:
    model: Any = create_model(name)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    positions = [key for key in before if "pos" in key]
    assert positions
    for key in positions:
        empty = {**before, key: before[key][:, :0] if before[key].ndim > 2 else before[key][:0]}
        with pytest.raises(UserError, match=rf"{re.escape(key)} is \(.*\) in the file"):
            load_weights(model, empty)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
