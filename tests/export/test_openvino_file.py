"""OpenVINO files take any batch, say what they are, and store fewer bits when asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hvit.export.openvino_file import pooling_convolutions, write_openvino
from hvit.models.inference.ways import without_warnings
from hvit.runtime.open import open_exported
from tests.export.small import small_graph
from tests.models.test_export import TALKATIVE

pytestmark = TALKATIVE
pytest.importorskip("openvino")


def test_any_batch_goes_through_and_float16_takes_half_the_space(tmp_path: Path) -> None:
    sizes = []
    for precision, close in (("float32", 1e-5), ("float16", 1e-2)):
        graph, file = small_graph(precision), tmp_path / f"{precision}.xml"  # type: ignore[arg-type]
        write_openvino(graph, file, [])
        images = np.random.default_rng(0).standard_normal((5, 3, 16, 16)).astype(np.float32)
        for some in (images[:1], images):
            found = open_exported(file).run(some)["logits"]
            np.testing.assert_allclose(found, graph.run(some)["logits"], atol=close)
        assert open_exported(file).about == graph.about
        sizes.append(file.with_suffix(".bin").stat().st_size)
    assert sizes[1] < 0.6 * sizes[0]


@pytest.mark.slow  # NNCF takes seconds to import
def test_int8_is_close_and_quiet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("nncf")
    graph, file = small_graph("int8"), tmp_path / "model.xml"
    images = np.random.default_rng(0).standard_normal((8, 3, 16, 16)).astype(np.float32)
    write_openvino(graph, file, [images])
    found, wanted = open_exported(file).run(images)["logits"], graph.run(images)["logits"]
    assert 0 < np.abs(found - wanted).max() < 0.2 * np.abs(wanted).max()
    assert "i8" in file.read_text()
    assert capsys.readouterr().out == ""


@pytest.mark.slow  # NNCF takes seconds to import
def test_an_mvit_in_int8_answers_the_same_each_time_it_is_opened(tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    graph, file = small_graph("int8", "mvitv2"), tmp_path / "model.xml"
    images = np.random.default_rng(0).standard_normal((8, 3, 16, 16)).astype(np.float32)
    write_openvino(graph, file, [images])
    first, *others = [open_exported(file).run(images)["logits"] for _ in range(4)]
    for found in others:
        np.testing.assert_allclose(found, first, atol=1e-5)
    assert np.abs(first - graph.run(images)["logits"]).max() < 0.5 * np.abs(first).max()


@pytest.mark.long
def test_the_pooling_convolutions_of_an_mvit_and_no_others_stay_in_float32() -> None:
    import openvino

    for name, has_pools in (("mvitv2", True), ("resnet", False)):
        graph = small_graph("int8", name)
        with without_warnings():
            network = openvino.convert_model(graph.module, example_input=graph.inputs[0][1])
        found = pooling_convolutions(network)
        assert bool(found) == has_pools
        assert all("attention" in one for one in found)
