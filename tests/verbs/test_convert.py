"""Converted weights open in the library they are for, compute the same there, and come back bit for bit."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import hvit
from hvit.data.preprocess import Preprocess
from hvit.errors import UserError
from hvit.models.build import build_network
from hvit.models.masked.config import MaskedConfig
from hvit.models.mvit.config import MVIT_SIZES
from hvit.models.weights.convert import WAYS, difference_from
from hvit.models.weights.open import open_any
from hvit.verbs import convert as verb
from hvit.verbs.convert import convert
from tests.models.hiera import test_weights as hiera
from tests.models.mvit import test_weights as mvit
from tests.models.weights.small import SMALL as NEST
from tests.models.weights.small import shaken

MAE = MaskedConfig(replace(hiera.SMALL, query_pools=2), decoder_dim=16, decoder_depth=1, decoder_heads=2)
CLIP_MAE = replace(MAE, encoder=replace(hiera.CLIP, query_pools=2))
V1 = replace(
    MVIT_SIZES["mvit_base_224"], input_size=(64, 64), num_classes=5, dims=mvit.SMALL.dims, heads=mvit.SMALL.heads,
    depths=mvit.SMALL.depths, head_dropout=0.0,
)  # fmt: skip
CASES: dict[str, tuple[Any, Any, str]] = {
    "nest, timm": (NEST, "timm", "model.safetensors"),
    "nest, official": (replace(NEST, activation="gelu_tanh", pool_padding="same"), "official", "ckpt-1.flax"),
    "nest, one key for all heads, official": (
        replace(NEST, attention="multi_query", activation="gelu_tanh", pool_padding="same"), "official", "ckpt-1.flax",
    ),
    "mvitv2, timm": (mvit.SMALL, "timm", "model.pth"),
    "mvitv2, official": (mvit.SMALL, "official", "model.pyth"),
    "mvit, official": (V1, "official", "model.pyth"),
    "mvitv2 clip, torchvision": (mvit.CLIP, "torchvision", "model.pth"),
    "mvit clip, torchvision": (mvit.CLIP_V1, "torchvision", "model.safetensors"),
    "mvitv2 clip, official": (mvit.CLIP, "official", "model.pyth"),
    "mvit clip, official": (mvit.CLIP_V1, "official", "model.pyth"),
    "hiera, timm": (hiera.SMALL, "timm", "model.safetensors"),
    "hiera window, timm": (hiera.TIMM["window"], "timm", "model.safetensors"),
    "hiera, official": (hiera.SMALL, "official", "model.pth"),
    "hiera clip, official": (hiera.CLIP, "official", "model.pth"),
    "hiera, transformers": (hiera.SMALL, "transformers", "folder"),
    "mae hiera, official": (MAE, "official", "model.pth"),
    "mae hiera clip, official": (CLIP_MAE, "official", "model.pth"),
    "mae hiera, transformers": (MAE, "transformers", "folder"),
}  # fmt: skip
UNRUN = ("google-research/nested-transformer", "facebookresearch/SlowFast")


def saved(config: Any, folder: Path, **more: Any) -> Path:
    file = folder / "weights.safetensors"
    hvit.save_weights(shaken(build_network(config), scale=0.1), file, **more)
    return file


@pytest.mark.parametrize("case", CASES)
def test_converted_weights_open_in_the_library_and_come_back(case: str, tmp_path: Path) -> None:
    config, target, name = CASES[case]
    source, out = saved(config, tmp_path), tmp_path / name
    way = WAYS[type(config), target]
    if way.package not in UNRUN:
        pytest.importorskip(way.package)
    made = convert(source, out, target)
    ours: Any = open_any(source).model
    assert (made["difference"] is None) is (way.package in UNRUN)
    if target == "transformers":
        kind = getattr(import_module("transformers"), json.loads((out / "config.json").read_text())["architectures"][0])
        assert difference_from(kind.from_pretrained(out), ours) < 1e-4
    elif way.peer is not None:
        peer = way.peer(ours)
        state = load_file(out) if name.endswith("safetensors") else torch.load(out, weights_only=True)
        peer.load_state_dict(state.get("model_state", state))
        assert difference_from(peer, ours) < 1e-4
    again: Any = build_network(config)
    report = hvit.load_weights(again, out)
    assert not report.format.startswith("hvit")
    for key, tensor in ours.state_dict().items():
        assert torch.equal(again.state_dict()[key], tensor), key


def test_every_way_is_tried() -> None:
    assert {(type(config), target) for config, target, _ in CASES.values()} == set(WAYS)


def test_weights_of_others_become_ours(tmp_path: Path) -> None:
    config = replace(hvit.create_model("hiera_micro_32").config, num_classes=5)
    source = saved(config, tmp_path)
    convert(source, tmp_path / "timm.safetensors", "timm")
    made = convert(tmp_path / "timm.safetensors", tmp_path / "ours.safetensors", "hvit")
    assert (made["from"], made["model"]) == ("timm hiera", "hiera_micro_32")
    assert made["difference"] < 1e-4
    assert json.dumps(asdict(hvit.open_weights(tmp_path / "ours.safetensors").model.config))
    first, second = open_any(source).model.state_dict(), open_any(tmp_path / "ours.safetensors").model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_folder_of_transformers_has_classes_and_preparation(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    preprocess = asdict(Preprocess((64, 64), (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), 0.8))
    source = saved(hiera.SMALL, tmp_path, classes=("a", "b", "c", "d", "e"), preprocess=preprocess)
    convert(source, tmp_path / "folder", "transformers")
    config = transformers.HieraConfig.from_pretrained(tmp_path / "folder")
    assert config.id2label[4] == "e"
    processor = json.loads((tmp_path / "folder" / "preprocessor_config.json").read_text())
    assert (processor["size"], processor["image_mean"]) == ({"shortest_edge": 80}, [0.4, 0.5, 0.6])


@pytest.mark.parametrize(
    ("config", "target", "name", "sentence"),
    [
        (NEST, "tim", "a.pth", "did you mean 'timm'"),
        (NEST, "transformers", "folder", "converted to timm, official"),
        (NEST, "official", "a.flax", "the official NesT has"),
        (NEST, "timm", "a.onnx", "end in .safetensors or"),
        (replace(NEST, aggregation="max3"), "timm", "a.pth", "timm's NesT has aggregation"),
        (hiera.TIMM["window"], "official", "a.pth", "positions='learned' only"),
        (hiera.CLIP, "transformers", "folder", "this model takes clips"),
        (mvit.SMALL, "torchvision", "a.pth", "torchvision's MViT"),
    ],
)
def test_what_a_library_does_not_have_is_refused(
    config: Any, target: str, name: str, sentence: str, tmp_path: Path
) -> None:
    source = saved(replace(config, pool_padding="symmetric") if config is NEST else config, tmp_path)
    with pytest.raises(UserError, match=sentence):
        convert(source, tmp_path / name, target)
    assert [file.name for file in tmp_path.iterdir()] == [source.name]


def test_a_model_that_computes_something_else_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verb, "BOUND", -1.0)
    source = saved(NEST, tmp_path)
    with pytest.raises(UserError, match="nothing was written"):
        convert(source, tmp_path / "model.safetensors", "timm")
    assert [file.name for file in tmp_path.iterdir()] == [source.name]


def test_a_missing_library_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hvit.verbs.convert.importlib.util.find_spec", lambda name: None)
    made = convert(saved(NEST, tmp_path), tmp_path / "model.safetensors", "timm")
    assert made["checked"] == "written, and read back by hvit; not run in timm, which is not installed"
