"""Folders of clips that several tests open."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.clips.made import make_clips


@pytest.fixture
def two_classes(tmp_path: Path) -> Path:
    make_clips(tmp_path / "jump", 10)
    make_clips(tmp_path / "wave", 5, first=100)
    return tmp_path


@pytest.fixture
def kinetics(tmp_path: Path) -> Path:
    make_clips(tmp_path / "clips", 3)
    make_clips(tmp_path / "some clips 7", 3, first=100)
    return tmp_path
