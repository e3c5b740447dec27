"""The start of a run on pretrained weights is the best that there is, or is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hvit.data.open import FolderData
from hvit.errors import UserError
from hvit.models.probe import ProbeConfig
from hvit.models.timm_encoder import TimmConfig
from hvit.models.weights import teacher
from hvit.recipes import get_recipe
from hvit.runs import starting
from hvit.verbs.train import plan


def test_the_start_is_the_best_that_there_is(monkeypatch: pytest.MonkeyPatch, photo_folder: Path) -> None:
    probe = ProbeConfig(encoder=TimmConfig(num_classes=None))
    cached: set[str] = set()
    monkeypatch.setattr(starting, "cached_timm", lambda name: name if name in cached else None)
    monkeypatch.setattr(teacher, "teacher_file", lambda: Path(__file__))
    assert starting.choose_start(probe, "auto", download=False).weights == "teacher"
    asked: list[str] = []

    def refuse(name: str) -> str:
        asked.append(name)
        raise UserError("not connected")

    monkeypatch.setattr(starting, "download_timm", refuse)
    assert starting.choose_start(probe, None).weights == "teacher"
    assert asked == ["nest_tiny_224"]
    cached.add("hiera_tiny_224")
    assert starting.choose_start(probe, "auto").weights == "teacher", "weights that forbid some uses come last"
    cached.add("nest_tiny_224")
    start = starting.choose_start(probe, "auto")
    assert (start.encoder.family, start.weights) == ("nest", "timm")
    assert start.reason.endswith("licence of the weights: apache-2.0")
    cached.remove("nest_tiny_224")
    monkeypatch.setattr(teacher, "teacher_file", lambda: None)
    start = starting.choose_start(probe, "auto")
    assert (start.encoder.family, start.weights) == ("hiera", "timm")
    assert start.reason.endswith("licence of the weights: cc-by-nc-4.0")
    cached.clear()
    assert starting.choose_start(probe, "auto") is None
    lines = plan(replace(get_recipe("photos"), data=FolderData(root=str(photo_folder)), weights="auto"))
    assert "NO PRETRAINED WEIGHTS" in lines["start"]
    assert lines["recipe"].startswith("nest_micro_folder")
    with pytest.raises(UserError, match=r"hvit\[teacher\]"):
        starting.choose_start(probe, "teacher")
