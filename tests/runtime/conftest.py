"""A small exported classifier, its weights, and images."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hvit.data.preprocess import Preprocess
from hvit.models.build import build_network
from hvit.models.weights.save import save_weights
from hvit.verbs.export import ExportRequest, export
from tests.models.test_export import CONFIGS


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model.safetensors, model.onnx (preprocessing outside), inside.onnx, and `photos` of all sorts."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("exported")
    photos = folder / "photos"
    photos.mkdir()
    numbers = np.random.default_rng(0)
    rgb = Image.fromarray(numbers.integers(0, 256, (40, 30, 3), dtype=np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    rgb.save(photos / "turned.jpg", exif=turned, quality=95)
    Image.fromarray(numbers.integers(0, 256, (30, 44, 4), dtype=np.uint8), "RGBA").save(photos / "transparent.png")
    Image.fromarray(numbers.integers(0, 4000, (33, 33), dtype=np.uint16)).save(photos / "deep.png")
    torch.manual_seed(0)
    model = build_network(CONFIGS["hiera"])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    preprocess = asdict(Preprocess((16, 16), (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), grey_range=(0.0, 4095.0)))
    weights = folder / "model.safetensors"
    save_weights(
        model, weights, classes=("a", "b\x1b[31m", "c"), preprocess=preprocess,
        confidence={"temperature": 1.7, "unsure_below": 0.5, "outliers": None},
    )  # fmt: skip
    for name, inside in (("model", False), ("inside", True)):
        export(ExportRequest(weights, "onnx", folder / f"{name}.onnx", inside=inside, images=(photos,)))
    return folder
