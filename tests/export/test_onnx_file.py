"""ONNX files take any batch, say what they are, and quantise the layers that have weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hvit.errors import UserError
from hvit.export.onnx_file import write_onnx
from hvit.runtime.open import open_exported
from tests.export.small import small_graph
from tests.models.test_export import TALKATIVE

pytestmark = TALKATIVE
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def test_any_batch_goes_through(tmp_path: Path) -> None:
    graph, file = small_graph(), tmp_path / "model.onnx"
    write_onnx(graph, file, [])
    for count in (1, 5):
        images = np.random.default_rng(0).standard_normal((count, 3, 16, 16)).astype(np.float32)
        np.testing.assert_allclose(open_exported(file).run(images)["logits"], graph.run(images)["logits"], atol=1e-5)
    assert open_exported(file).about == graph.about


def test_int8_stores_weights_in_a_byte(tmp_path: Path) -> None:
    graph, file = small_graph("int8"), tmp_path / "model.onnx"
    calibration = [np.random.default_rng(0).standard_normal((8, 3, 16, 16)).astype(np.float32)]
    write_onnx(graph, file, calibration)
    kinds = [one.data_type for one in onnx.load(str(file)).graph.initializer if len(one.dims) == 4]
    assert set(kinds) == {onnx.TensorProto.INT8}
    found, wanted = open_exported(file).run(calibration[0])["logits"], graph.run(calibration[0])["logits"]
    assert 0 < np.abs(found - wanted).max() < 0.2 * np.abs(wanted).max()
    assert [one.name for one in tmp_path.iterdir()] == ["model.onnx"]


def test_what_onnx_does_not_have_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="bfloat16"):
        write_onnx(small_graph("bfloat16"), tmp_path / "model.onnx", [])
    monkeypatch.setattr("hvit.export.onnx_file._MOST", 1000)
    with pytest.raises(UserError, match=r"do not fit into one ONNX file \(2 GB\)"):
        write_onnx(small_graph(), tmp_path / "model.onnx", [])
