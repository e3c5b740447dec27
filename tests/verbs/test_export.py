"""Exported files compute what the model does, carry what it needs, and are written whole or not at all."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import hvit
from hvit.data.preprocess import Preprocess
from hvit.errors import UserError
from hvit.export import agreement
from hvit.models.build import build_network
from hvit.models.weights.save import save_weights
from hvit.runtime.open import open_exported
from hvit.verbs.export import ExportRequest, export
from tests.models.test_export import CONFIGS, TALKATIVE

pytestmark = TALKATIVE
FORMATS = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}


def weights_of(config: Any, folder: Path, name: str = "model", **more: Any) -> Path:
    """A weights file of a small model whose logits are not all alike."""
    torch.manual_seed(0)
    model: Any = build_network(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    file = folder / f"{name}.safetensors"
    save_weights(model, file, **more)
    return file


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images of other sizes than the model's input."""
    folder, numbers = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for place in range(6):
        values = numbers.integers(0, 256, (20 + place, 30, 3), dtype=np.uint8)
        Image.fromarray(values).save(folder / f"{place}.png")
    return folder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    preprocess = asdict(Preprocess((16, 16), (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)))
    return weights_of(
        CONFIGS["nest"], tmp_path_factory.mktemp("weights"), classes=("a", "b", "c"), preprocess=preprocess,
        confidence={"temperature": 1.7, "unsure_below": 0.4, "outliers": None},
    )  # fmt: skip


@pytest.mark.parametrize(("format", "inside"), [("onnx", False), ("onnx", True), ("openvino", True), ("torch", True)])
def test_a_classifier_leaves_in_every_format(
    format: str, inside: bool, classifier: Path, photos: Path, tmp_path: Path
) -> None:
    if format != "torch":
        pytest.importorskip(format)
    out = tmp_path / f"model{FORMATS[format]}"
    made = export(ExportRequest(classifier, format, out, inside=inside, images=(photos,)))
    assert made["difference"] <= 1e-4
    assert (made["compared"], made["same_answers"], made["first_step"]) == (6, 1.0, 1.0)
    assert made["outputs"] == ["probabilities" if inside else "logits"]
    assert made["size"] == sum(file.stat().st_size for file in tmp_path.iterdir())


def test_the_levels_of_an_encoder_leave_with_its_logits(classifier: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    made = export(ExportRequest(classifier, "onnx", out, outputs=("logits", "levels"), images=(photos,)))
    assert made["outputs"] == ["logits", "level_0", "level_1"]
    assert made["cam_correlation"] > 0.9999
    model: Any = hvit.open_weights(classifier).model
    images = torch.randn(5, 3, 16, 16)
    found = open_exported(out).run(images.numpy())
    with torch.no_grad():
        for level, wanted in enumerate(model.levels(images)):
            np.testing.assert_allclose(found[f"level_{level}"], wanted.numpy(), atol=1e-4)


@pytest.mark.parametrize("name", ["hiera clip", "mvit", "mvitv2", "resnet"])
def test_other_families_and_clips_leave_too(name: str, tmp_path: Path, clip_folder: Path, photos: Path) -> None:
    file, out = weights_of(CONFIGS[name], tmp_path), tmp_path / "model.onnx"
    given: dict[str, Any] = {"images": (photos,)}
    if "clip" in name:
        given = {"data": "clips", "root": str(clip_folder)}
    made = export(ExportRequest(file, "onnx", out, compare=3, **given))
    assert made["difference"] <= 1e-4
    assert made["first_step"] == 1.0


def test_a_masked_autoencoder_leaves_as_its_encoder(photos: Path, tmp_path: Path) -> None:
    file = weights_of(CONFIGS["autoencoder"], tmp_path)
    request = ExportRequest(file, "onnx", tmp_path / "model.onnx", images=(photos,))
    with pytest.raises(UserError, match="--outputs levels"):
        export(request)
    made = export(replace(request, outputs=("levels",)))
    assert made["outputs"] == ["level_0", "level_1"]
    assert made["same_answers"] is None


@pytest.mark.parametrize("inside", [False, True])
def test_a_generator_leaves(inside: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    file = tmp_path / "generator.safetensors"
    hvit.save_weights(hvit.create_model("nest_generator_digits_32", num_classes=10), file)
    made = export(ExportRequest(file, "onnx", tmp_path / "model.onnx", inside=inside, compare=3))
    assert made["inputs"] == {"latents": [64], "labels": []}
    images = open_exported(tmp_path / "model.onnx").run(
        np.random.default_rng(0).standard_normal((5, 64)).astype(np.float32), np.arange(5)
    )["images"]
    assert images.shape == ((5, 32, 32, 1) if inside else (5, 1, 32, 32))
    assert images.dtype == (np.uint8 if inside else np.float32)


def test_an_executorch_program_gives_the_logits(classifier: Path, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("executorch.runtime")
    made = export(ExportRequest(classifier, "executorch", tmp_path / "model.pte", images=(photos,)))
    assert made["difference"] <= 1e-4


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_fewer_bits_make_smaller_files(precision: Any, classifier: Path, photos: Path, tmp_path: Path) -> None:
    made = export(ExportRequest(classifier, "onnx", tmp_path / "m.onnx", precision=precision, images=(photos,)))
    assert made["same_answers"] >= 0.9
    assert 1e-6 < made["difference"] < 0.2


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": "onx"}, "did you mean 'onnx'"),
        ({"out": Path("model.bin")}, "end in .onnx"),
        ({"format": "executorch", "out": Path("model.pte")}, r"pip install 'hvit\[executorch\]'"),
        ({"precision": "bfloat16"}, "not written in bfloat16"),
        ({"images": ()}, "say what to compare on"),
        ({"outputs": ("logits", "logits")}, "logits, levels or both"),
        ({"compare": 0}, "--compare must be 1 or more"),
        ({"out": Path("/dev/null/model.onnx")}, "cannot be written"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_leaves_nothing(
    change: dict[str, Any],
    sentence: str,
    classifier: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = find_spec  # wherever the tests run, as if executorch were not installed
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "executorch" else there(name))
    folder = tmp_path / "out"
    folder.mkdir()
    request = ExportRequest(classifier, "onnx", Path("model.onnx"), images=(photos,))
    request = replace(request, **change)
    if not request.out.is_absolute():
        request = replace(request, out=folder / request.out)
    with pytest.raises(UserError, match=sentence):
        export(request)
    assert list(folder.iterdir()) == []


def test_a_file_that_computes_something_else_is_not_written(
    classifier: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(agreement.BOUNDS, "float32", -1.0)
    (tmp_path / "model.onnx").write_bytes(b"older")
    with pytest.raises(UserError, match="was not written: its outputs differ"):
        export(ExportRequest(classifier, "onnx", tmp_path / "model.onnx", images=(photos,)))
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("model.onnx", b"older")]


def test_a_missing_package_is_named_with_its_extra(
    classifier: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hvit.export.formats.importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the package onnx: pip install 'hvit\[export\]'"):
        export(ExportRequest(classifier, "onnx", tmp_path / "model.onnx", images=(photos,)))


def test_the_file_says_what_the_weights_say(classifier: Path, photos: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    out = tmp_path / "model.onnx"
    export(ExportRequest(classifier, "onnx", out, images=(photos,)))
    stored = json.loads(onnx.load(str(out)).metadata_props[0].value)
    assert stored["classes"] == ["a", "b", "c"]
    assert stored["temperature"] == 1.7
    assert stored["preprocess"]["mean"] == [0.4, 0.5, 0.6]
