"""Any number of processes, and of parts of a batch, trains the same: losses, scores and weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hvit.machine import missing_compiler


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


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    [
        "running average",
        "gradient clipping",
        "layer decay",
        "frozen layers",
        "mean of evaluations",
        "SGD, two parts, recomputed activations",
        "bfloat16",
        "compiled blocks",
        "batch norm",
        "MViTv2",
        "masked pretraining",
        "distillation",
    ],
)
def test_sharded_weights_train_as_those_of_one_process(load: Callable[[str], Any], tmp_path: Path, name: str) -> None:
    """The weights that a run delivers; in bfloat16 they differ by what its rounding makes of them."""
    if name == "compiled blocks" and missing_compiler():
        pytest.skip(f"torch.compile needs a C++ compiler, and there is no {missing_compiler()} here")
    processes = load("processes")
    recipe = processes.divided(processes.recipes(processes.save_teacher(tmp_path), 4))[name]
    sharded = replace(recipe, loop=replace(recipe.loop, parallel="fsdp"))
    left = []
    for folder, one, count in (("one", recipe, 1), ("two", sharded, 2)):
        processes.train_together(one, tmp_path / folder, count)
        left.append(processes.left_by(tmp_path / folder, delivered=True))
    losses, scores, weights = processes.differences(*left)
    print(f"| {name} | {losses:.1e} | {scores:.1e} | {weights:.1e} |")
    rounding = 300 if name == "bfloat16" else 1
    assert losses < rounding * 1e-4 * (1 + float(left[0].losses.abs().max()))
    assert scores < rounding * 1e-3 * (1 + float(left[0].scores.abs().max()))
    assert weights < rounding * 1e-4
