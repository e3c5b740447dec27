"""Any data are scored with the files read as the weights say."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from hvit.data.preprocess import Preprocess
from hvit.models.build import build_network
from hvit.models.weights.save import save_weights
from hvit.recipes import get_recipe
from hvit.runs import scoring
from hvit.verbs import evaluate
from tests.data.deep_files import make_deep_folder


def test_a_data_set_is_scored_as_its_weights_read_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep_folder = make_deep_folder(tmp_path)
    recipe = get_recipe("nest_micro_folder")
    model = build_network(replace(recipe.model, num_classes=2))  # pyright: ignore
    preprocess = asdict(Preprocess((64, 64), (0.5,) * 3, (0.5,) * 3, grey_range=(0, 900)))
    weights = deep_folder.parent / "weights.safetensors"
    save_weights(model, weights, classes=("dark", "light"), preprocess=preprocess)
    seen: list[Any] = []
    usual = scoring.open_data

    def watched(data: Any, *rest: Any, **more: Any) -> Any:
        seen.append(data)
        return usual(data, *rest, **more)

    monkeypatch.setattr(scoring, "open_data", watched)
    evaluate.evaluate(weights, root=str(deep_folder))
    assert seen[0].grey_range == (0.0, 900.0)
