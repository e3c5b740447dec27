"""torch programs take any batch, and carry their metadata."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hvit.errors import UserError
from hvit.export.program_file import ProgramFile, write_program
from hvit.runtime.about import KEY, read_about
from tests.export.small import small_graph
from tests.models.test_export import TALKATIVE

pytestmark = TALKATIVE


@pytest.mark.parametrize(("precision", "close"), [("float32", 1e-5), ("bfloat16", 0.1)])
def test_any_batch_goes_through(precision: str, close: float, tmp_path: Path) -> None:
    graph, file = small_graph(precision), tmp_path / "model.pt2"  # type: ignore[arg-type]
    write_program(graph, file, [])
    images = np.random.default_rng(0).standard_normal((5, 3, 16, 16)).astype(np.float32)
    for some in (images[:1], images):
        found = ProgramFile(file, graph).run(some)["logits"]
        np.testing.assert_allclose(found, graph.run(some)["logits"], atol=close)
    extra = {KEY: ""}
    torch.export.load(str(file), extra_files=extra)
    assert read_about(extra[KEY], "x") == graph.about


def test_int8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="for int8 use onnx or openvino"):
        write_program(small_graph("int8"), tmp_path / "model.pt2", [])
