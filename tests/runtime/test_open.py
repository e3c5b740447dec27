"""Exported files open with the package that runs them, and everything else is refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hvit.errors import UserError
from hvit.runtime import open as opening
from hvit.runtime.about import KEY
from hvit.runtime.open import is_exported, open_exported
from tests.models.test_export import TALKATIVE

pytestmark = TALKATIVE


def test_a_file_is_known_by_its_suffix() -> None:
    assert is_exported("a/b.ONNX")
    assert is_exported(Path("b.xml"))
    assert not is_exported("b.safetensors")


def test_probabilities_are_those_of_the_temperature_inside_and_outside(exported: Path) -> None:
    outside, inside = (open_exported(exported / f"{name}.onnx") for name in ("model", "inside"))
    levels = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    mean, std = np.array((0.4, 0.5, 0.6)), np.array((0.2, 0.25, 0.3))
    pixels = ((levels / 255 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)
    np.testing.assert_allclose(inside.answers(levels), outside.answers(pixels), atol=1e-5)
    logits = outside.run(pixels)["logits"] / 1.7
    wanted = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(outside.answers(pixels), wanted, atol=1e-6)


@pytest.mark.parametrize("name", ["model.onnx", "model.xml"])
def test_damaged_files_are_refused(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime" if name.endswith("onnx") else "openvino")
    with pytest.raises(UserError, match="there is no file"):
        open_exported(tmp_path / name)
    (tmp_path / name).write_bytes(b"\x08\x07garbage")
    with pytest.raises(UserError, match="cannot be opened by"):
        open_exported(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "was not written by `hvit export`"),
        ("{", "its metadata cannot be read"),
        ('{"format": 7}', "is of another version of hvit"),
        ('{"format": 1, "kind": "classifier"}', "are not those of an exported model"),
    ],
)
def test_files_of_other_programs_are_refused(text: str | None, sentence: str, exported: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(exported / "model.onnx"))
    del model.metadata_props[:]
    if text is not None:
        entry = model.metadata_props.add()
        entry.key, entry.value = KEY, text
    onnx.save(model, str(tmp_path / "other.onnx"))
    with pytest.raises(UserError, match=sentence):
        open_exported(tmp_path / "other.onnx")


def test_a_missing_package_is_named(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(opening, "import_silent", missing)
    with pytest.raises(UserError, match=r"needs the package onnxruntime.*'hvit\[runtime\]'"):
        open_exported(exported / "model.onnx")


def test_wrong_inputs_are_one_sentence(exported: Path) -> None:
    with pytest.raises(UserError, match="cannot be run by onnxruntime"):
        open_exported(exported / "model.onnx").run(np.zeros((1, 3, 15, 16), np.float32))
