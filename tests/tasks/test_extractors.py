"""Features that generated images are evaluated with say what they are, and are those of the classifier they name."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed
from torch import Tensor, nn

from hvit.data.preprocess import Preprocess
from hvit.errors import UserError
from hvit.models.build import build
from hvit.models.catalogue import change, entry
from hvit.models.timm_encoder import TimmConfig, TimmEncoder
from hvit.models.weights import teacher
from hvit.models.weights.save import save_weights
from hvit.tasks.extractors import classifier_extractor, full_name, open_extractor


def test_pixels_are_features_and_say_so() -> None:
    extractor = open_extractor("pixels")
    images = torch.rand(2, 3, 16, 16)
    expected = images.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5)).flatten(1)
    np.testing.assert_allclose(extractor.features(images), expected.numpy(), rtol=1e-5)
    assert extractor.source.measure == "Frechet distance in 8x8 pixel features"


def test_a_classifier_s_features_are_what_its_head_sees(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build(change(entry("nest_micro_32").config, dims=(8, 8, 8), heads=(1, 1, 1))).eval()  # pyright: ignore
    preprocess = Preprocess((32, 32), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), 1.0)
    extractor = classifier_extractor(model, preprocess, "small")
    images = torch.rand(2, 3, 32, 32)
    normalised = (images - torch.tensor([0.5, 0.4, 0.3])[:, None, None]) / torch.tensor([0.2, 0.3, 0.4])[:, None, None]
    features = torch.from_numpy(extractor.features(images)).float()
    torch.testing.assert_close(model.head(features), model(normalised))
    grey = images[:, :1, ::2, ::2]
    assert extractor.features(grey).shape == (2, 8)
    np.testing.assert_allclose(extractor.features(grey), extractor.features(grey.repeat(1, 3, 1, 1)))
    save_weights(model, tmp_path / "weights.safetensors", preprocess={"input_size": [32, 32], "mean": [0.5, 0.4, 0.3],
                                                                     "std": [0.2, 0.3, 0.4], "crop": 1.0})  # fmt: skip
    opened = open_extractor(str(tmp_path / "weights.safetensors"))
    np.testing.assert_allclose(opened.features(images), extractor.features(images), rtol=1e-5)
    assert opened.source.fingerprint == extractor.source.fingerprint
    with torch.no_grad():
        next(model.parameters()).add_(1e-3)
    assert classifier_extractor(model, preprocess, "small").source.fingerprint != opened.source.fingerprint


def test_paths_of_extractors_hold_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert full_name("pixels") == "pixels"
    assert full_name("teacher") == "teacher"
    assert full_name("dinov2:vit-s-14") == "dinov2:vit-s-14"
    assert full_name("runs/digits") == str(tmp_path / "runs" / "digits")
    assert full_name("inception:weights.pth") == f"inception:{tmp_path / 'weights.pth'}"


def test_inception_needs_its_library_and_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(UserError, match="FID needs torch-fidelity"):
        open_extractor(f"inception:{tmp_path / 'weights.pth'}")

    class Inception:
        """Stands for torch-fidelity's network: takes bytes in colour, gives a tuple."""

        def __init__(self, name: str, features_list: list[str], feature_extractor_weights_path: str) -> None:
            assert features_list == ["2048"]

        def to(self, device: torch.device) -> None: ...

        def __call__(self, images: Tensor) -> tuple[Tensor]:
            assert images.dtype == torch.uint8
            assert images.shape[1] == 3
            return (images.float().mean((2, 3)),)

    library: Any = ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    library.FeatureExtractorInceptionV3 = Inception
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", library)
    with pytest.raises(UserError, match="cannot be read"):
        open_extractor(f"inception:{tmp_path / 'weights.pth'}")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="it is a pipe"):
        open_extractor(f"inception:{tmp_path / 'pipe'}")
    (tmp_path / "weights.pth").write_bytes(b"weights")
    library.FeatureExtractorInceptionV3 = lambda *_, **__: pickle.loads(b"no pickle")
    with pytest.raises(UserError, match="holds no weights of torch-fidelity's Inception"):
        open_extractor(f"inception:{tmp_path / 'weights.pth'}")
    library.FeatureExtractorInceptionV3 = Inception
    extractor = open_extractor(f"inception:{tmp_path / 'weights.pth'}")
    assert extractor.source.measure == "FID"
    assert len(extractor.source.fingerprint) == 64
    np.testing.assert_allclose(extractor.features(torch.full((1, 1, 4, 4), 0.5)), [[128.0] * 3])


def test_the_teacher_is_an_extractor_whose_distance_is_no_fid(monkeypatch: pytest.MonkeyPatch) -> None:
    if teacher.teacher_file() is None:
        pytest.skip("the extra `teacher` is not installed")
    extractor = open_extractor("teacher")
    assert extractor.source.measure == "FD-EfficientNet-Lite0"
    assert extractor.source.fingerprint == teacher.SHA256
    assert extractor.classes == ()
    images = torch.rand(2, 1, 28, 28)
    features = extractor.features(images)
    assert features.shape == (2, 1280)
    # They are what the network's own head takes, of grey images in colour.
    network = TimmEncoder(TimmConfig(name=teacher.ARCHITECTURE))
    network.load_state_dict(teacher.teacher_state(network.config))
    inputs = torch.nn.functional.interpolate(images.expand(-1, 3, -1, -1), (224, 224), mode="bilinear", antialias=True)
    with torch.no_grad():
        own = network.eval()((inputs - 0.498) / 0.502)
        given = network.head(torch.from_numpy(features).float())
    torch.testing.assert_close(given, own, rtol=1e-4, atol=1e-4)
    monkeypatch.setattr(teacher, "teacher_file", lambda: None)
    with pytest.raises(UserError, match=r"install hvit\[teacher\]"):
        open_extractor("teacher")


def test_dinov2_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="there is no DINOv2 'vit-x'; name dinov2:vit-s-14"):
        open_extractor("dinov2:vit-x")
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_dinov2", None)
    with pytest.raises(UserError, match=r"DINOv2 needs torch-fidelity 0\.4"):
        open_extractor("dinov2:vit-s-14")

    class Dino(nn.Module):
        """Stands for torch-fidelity's network."""

        def __init__(self, name: str, features_list: list[str]) -> None:
            super().__init__()
            assert (name, features_list) == ("dinov2-vit-s-14", ["dinov2"])
            self.scale = nn.Parameter(torch.tensor(2.0))

        def forward(self, images: Tensor) -> tuple[Tensor]:
            assert images.dtype == torch.uint8
            return (images.float().mean((2, 3)) * self.scale,)

    library: Any = ModuleType("torch_fidelity.feature_extractor_dinov2")
    library.FeatureExtractorDinoV2 = Dino
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_dinov2", library)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UserError, match=r"there is no .*facebookresearch_dinov2_main: run torch\.hub\.load"):
        open_extractor("dinov2:vit-s-14")
    (tmp_path / "facebookresearch_dinov2_main").mkdir()
    with pytest.raises(UserError, match=r"there is no .*dinov2_vits14_pretrain\.pth: run"):
        open_extractor("dinov2:vit-s-14")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "dinov2_vits14_pretrain.pth").write_bytes(b"weights")
    extractor = open_extractor("dinov2:vit-s-14")
    assert extractor.source.measure == "FD-DINOv2 (vit-s-14)"
    np.testing.assert_allclose(extractor.features(torch.full((1, 3, 4, 4), 0.2)), [[102.0] * 3])
    library.FeatureExtractorDinoV2 = lambda *_: pickle.loads(b"no pickle")
    with pytest.raises(UserError, match=r"cannot be loaded \(.*\): load it anew"):
        open_extractor("dinov2:vit-s-14")
