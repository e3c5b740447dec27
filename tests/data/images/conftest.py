"""A folder of pictures that several tests open."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.images.made import make_pictures


@pytest.fixture
def two_classes(tmp_path: Path) -> Path:
    make_pictures(tmp_path / "cat", 10)
    make_pictures(tmp_path / "dog", 5, first=100)
    return tmp_path
