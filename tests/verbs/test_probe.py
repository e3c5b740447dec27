"""The recipe of a probe of any encoder on any data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hvit.errors import UserError
from hvit.verbs import probe
from hvit.verbs.probe import probe_recipe


def test_an_encoder_is_probed_as_it_was_trained_and_at_another_size(weights: Path, photo_folder: Path) -> None:
    recipe = probe_recipe(str(weights), root=str(photo_folder), heads=("network",), per_class=3, seed=7, device="cpu")
    model: Any = recipe.model
    assert (model.encoder.family, model.input_size) == ("nest", (32, 32))
    assert model.heads == ("linear", "network")
    assert (recipe.data.num_per_class, recipe.seed, recipe.loop.device) == (3, 7, "cpu")  # pyright: ignore
    larger = probe_recipe(str(weights), root=str(photo_folder), input_size=64)
    assert larger.model.input_size == (64, 64)


def test_labels_of_a_table_are_options(weights: Path, tmp_path: Path) -> None:
    options = {"table": "labels.csv", "label_columns": ("a", "b"), "task": "multi"}
    data: Any = probe_recipe(str(weights), root=str(tmp_path), labels=options).data
    assert (data.table, data.label_columns, data.task) == ("labels.csv", ("a", "b"), "multi")
    with pytest.raises(UserError, match="the data cifar10 has labels of its own"):
        probe_recipe(str(weights), "cifar10", labels=options)


def test_what_cannot_be_probed_is_refused(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="omit --per-class"):
        probe_recipe(str(weights), "moving_digits", per_class=3)
    with pytest.raises(UserError, match="nowhere"):
        probe_recipe("nowhere.safetensors")
    monkeypatch.setattr(probe, "choose_start", lambda *_: None)
    with pytest.raises(UserError, match="no pretrained weights are at hand"):
        probe_recipe("auto")
