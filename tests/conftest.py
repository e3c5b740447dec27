"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is loaded, as the command line does

import numpy as np
import pytest
import torch
from PIL import Image

torch.set_num_threads(2)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The optional folder of real photos and CIFAR-10 beside the checkout; tests that need it skip without it."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the optional folder ../shared/data is not here")
    return folder


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The folder of small files that are part of the repository."""
    return Path(__file__).resolve().parent / "data"


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two classes of four clips each, as arrays of twelve frames: brighter and darker ones."""
    root = tmp_path_factory.mktemp("clips")
    random = np.random.default_rng(0)
    for light, name in ((30, "dark"), (150, "light")):
        (root / name).mkdir()
        for number in range(4):
            np.save(root / name / f"{number}.npy", random.integers(light, light + 80, (12, 40, 52, 3), dtype=np.uint8))
    return root


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two classes of six pictures each, red ones and blue ones."""
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for channel, name in ((0, "red"), (2, "blue")):
        (root / name).mkdir()
        for number in range(6):
            pixels = random.integers(0, 80, (40, 48, 3), dtype=np.uint8)
            pixels[..., channel] += 120
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root
