"""Fixtures for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

torch.set_num_threads(2)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The optional folder of real photos, clips and CIFAR-10 beside the checkout; tests that need it skip without it."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the optional folder ../shared/data is not here")
    return folder


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The folder of small files that are part of the repository."""
    return Path(__file__).resolve().parent / "data"
