"""ExecuTorch programs are written where the package is installed, and refused where it is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hvit.errors import UserError
from hvit.export.executorch_file import ExecutorchFile, write_executorch
from tests.export.small import small_graph


def test_fewer_bits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="in float32 only"):
        write_executorch(small_graph("int8"), tmp_path / "model.pte", [])


def test_without_the_package_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("hvit.runtime.open.import_silent", missing)
    with pytest.raises(UserError, match=r"'hvit\[executorch\]'"):
        write_executorch(small_graph(), tmp_path / "model.pte", [])


def test_inputs_go_through_one_by_one(tmp_path: Path) -> None:
    pytest.importorskip("executorch.exir")
    graph, file = small_graph(), tmp_path / "model.pte"
    write_executorch(graph, file, [])
    images = np.random.default_rng(0).standard_normal((3, 3, 16, 16)).astype(np.float32)
    found = ExecutorchFile(file, graph).run(images)["logits"]
    np.testing.assert_allclose(found, graph.run(images)["logits"], atol=1e-4)
