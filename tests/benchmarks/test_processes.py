"""Any number of processes, and of parts of a batch, trains the same: losses, scores and weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    [
        "classification",
        "classification, ResNet with batch norm",
        "masked pretraining",
        "distillation",
        "generation, batch norm",
    ],
)
def test_one_two_and_four_processes_train_the_same(load: Callable[[str], Any], tmp_path: Path, name: str) -> None:
    """As small runs of `benchmarks/processes.py`; but for the order in which numbers are summed up."""
    processes = load("processes")
    recipe = processes.recipes(processes.save_teacher(tmp_path), 3)[name]
    parts = replace(recipe, loop=replace(recipe.loop, accumulate=2))
    runs = {"one": (recipe, 1), "two": (recipe, 2), "four": (recipe, 4)}
    if "batch norm" not in name:  # which takes its statistics from a part
        runs["parts"] = (parts, 1)
    left = {}
    for folder, (one, count) in runs.items():
        processes.train_together(one, tmp_path / folder, count)
        left[folder] = processes.left_by(tmp_path / folder)
    whole = left.pop("one")
    assert len(whole.losses) >= 2
    for other in left.values():
        losses, scores, weights = processes.differences(whole, other)
        assert losses < 1e-4 * (1 + float(whole.losses.abs().max()))
        assert scores < 1e-3 * (1 + float(whole.scores.abs().max()))
        assert weights < 1e-4
    start = replace(recipe, loop=replace(recipe.loop, max_steps=1))
    processes.train_together(start, tmp_path / "start", 1)
    assert float((whole.weights - processes.left_by(tmp_path / "start").weights).abs().max()) > 1e-3, (
        "they have trained"
    )
    assert torch.isfinite(whole.weights).all()
