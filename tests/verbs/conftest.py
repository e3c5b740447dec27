"""A run on clips that several verbs are asked about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import hvit
from hvit.data.clips.settings import ClipData
from hvit.models.inference import ways
from hvit.models.weights.save import save_weights
from hvit.recipes import get_recipe
from hvit.verbs import train
from tests.verbs.published import photo_run


@pytest.fixture(scope="session")
def clip_run(tmp_path_factory: pytest.TempPathFactory, clip_folder: Path) -> Path:
    """A run of two steps on the folder of clips, whose frames are taken two apart."""
    recipe = get_recipe("hiera_micro_actions")
    model = replace(recipe.model, input_size=(4, 32, 32), dims=(8, 16, 32), depths=(1, 1, 1), heads=(1, 1, 1))
    loop = replace(recipe.loop, batch_size=4, max_steps=2, epochs=1, workers=0, device="cpu")
    folder = tmp_path_factory.mktemp("run") / "clips"
    data = ClipData(root=str(clip_folder), stride=2, temporal_views=3, spatial_views=3)
    train.train(replace(recipe, model=model, data=data, loop=loop), folder)
    return folder


@pytest.fixture(scope="session")
def published_run(tmp_path_factory: pytest.TempPathFactory, photo_folder: Path) -> Path:
    """A finished run of a small NesT on photos of two classes."""
    return photo_run(tmp_path_factory.mktemp("published") / "nest", photo_folder)


@pytest.fixture
def only_what_torch_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO takes seconds for each model; tests of it are in tests/models/inference/test_prepare.py."""
    monkeypatch.setattr(ways.importlib.util, "find_spec", lambda name: None)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = hvit.create_model("nest_micro_32", num_classes=2)
    file = tmp_path / "weights.safetensors"
    save_weights(model, file, classes=("blue", "red"))
    return file
