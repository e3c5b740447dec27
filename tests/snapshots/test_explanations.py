"""What a run shows of its explanations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from hvit.data.images.digits import DigitsData
from hvit.data.open import open_data
from hvit.data.preprocess import Preprocess
from hvit.explain.methods.gradcat import has_tree
from hvit.models import catalogue
from hvit.models.create import create_model
from hvit.models.layers.encoder import Encoder
from hvit.snapshots.explanations import digit_explanations, draw_mistakes, draw_samples


class Ink(Encoder):
    """Gives every class evidence where there is ink, so that its path leads to the quadrant with most of it."""

    config = replace(catalogue.entry("nest_micro_32").config, dims=(1, 1), heads=(1, 1), depths=(1, 1))

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1, 10)
        nn.init.ones_(self.head.weight)

    def _first_level(self, images: Tensor, mask: Any) -> Tensor:
        return images.unfold(2, 8, 8).unfold(3, 8, 8).mean(dim=(4, 5)).permute(0, 2, 3, 1)

    def _next_level(self, level: int, below: Tensor, visible: Any) -> Tensor:
        return below.unflatten(2, (2, 2)).unflatten(1, (2, 2)).mean(dim=(2, 4))

    def level_sizes(self, level: int) -> tuple[int, ...]:
        return (4 // 2**level,) * 2

    def classify(self, last_map: Tensor) -> Tensor:
        return self.head(last_map.mean(dim=(1, 2)))

    def level_of(self, parameter_name: str) -> int:
        return 0


PREPROCESS = Preprocess((32, 32), (0.0,), (1.0,), crop=1.0, interpolation="bilinear")


def test_a_model_that_looks_at_the_ink_finds_every_digit_that_is_alone() -> None:
    rates = digit_explanations(Ink(), PREPROCESS, DigitsData(), None, count=20)
    assert rates["single_object_hits"] == 1.0
    assert rates["asked"] == 80
    assert rates["quadrant_hits"] == pytest.approx(0.25), "it looks at one quadrant of each mosaic, whatever is asked"
    assert rates["flipped_sign"] == pytest.approx(0.25)


def test_samples_are_pictures_of_different_classes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = create_model("nest_micro_32", in_channels=1)
    splits = open_data(DigitsData(), 0, 1)
    described = draw_samples(model, PREPROCESS, splits, tmp_path / "new", count=2)
    names = ["explain_1.png", "explain_2.png"]
    assert sorted(path.name for path in (tmp_path / "new").glob("*.png")) == names
    assert sorted(path.name for path in (tmp_path / "new" / "dark").iterdir()) == names
    assert [one["picture"] for one in described] == ["explain_1", "explain_2"]
    assert [one["class"] for one in described] == ["0", "9"]
    for one in described:
        batch = PREPROCESS.tensor(splits.held_out.read(int(one["sample"]), int(one["sample"]))[0])[None]
        share, guess = model.eval()(batch)[0].softmax(0).max(0)
        assert (one["predicted"], one["confidence"]) == (str(int(guess)), pytest.approx(share.item(), abs=1e-4))


def test_a_sheet_for_dark_pages_is_dark_and_a_light_one_is_what_it_was(tmp_path: Path) -> None:
    model = create_model("nest_micro_32", in_channels=1)
    draw_samples(model, PREPROCESS, open_data(DigitsData(), 0, 1), tmp_path, count=1)
    corners = []
    for path in (tmp_path / "explain_1.png", tmp_path / "dark" / "explain_1.png"):
        with Image.open(path) as drawn:
            corners.append(drawn.convert("RGB").getpixel((2, 2)))
    assert corners == [(255, 255, 255), (0x17, 0x1D, 0x26)]


def test_the_surest_mistakes_come_first(tmp_path: Path) -> None:
    splits = open_data(DigitsData(), 0, 1)
    labels = splits.held_out.labels[:6].tolist()
    guesses = [label if number in (1, 4) else (label + 1) % 10 for number, label in enumerate(labels)]
    scores = {"labels": labels, "predictions": guesses, "confidences": [0.3, 1.0, 0.9, 0.5, 1.0, 0.7]}
    described = draw_mistakes(scores, splits, PREPROCESS, tmp_path, count=3)
    assert [(one["sample"], one["confidence"]) for one in described] == [("2", 0.9), ("5", 0.7), ("3", 0.5)]
    assert described[0]["class"] == str(labels[2])
    assert described[0]["predicted"] == str((labels[2] + 1) % 10)
    for number, one in enumerate(described, start=1):
        seen = np.asarray(PREPROCESS.shown(splits.held_out.read(int(one["sample"]), int(one["sample"]))[0]))
        with Image.open(tmp_path / f"mistake_{number}.png") as drawn:
            assert np.array_equal(np.asarray(drawn), seen)


def test_one_level_is_no_tree() -> None:
    assert has_tree(create_model("nest_micro_32"))
    assert not has_tree(create_model("vit_micro_32"))


def test_mosaics_are_drawn_where_a_folder_is_given(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = create_model("nest_micro_32", in_channels=1)
    rates = digit_explanations(model, PREPROCESS, DigitsData(), tmp_path / "p", count=3)
    assert [path.name for path in (tmp_path / "p").glob("*.png")] == ["explain_mosaic_1.png"]
    assert [(one["picture"], len(one["digits"])) for one in rates["pictures"]] == [("explain_mosaic_1", 4)]
    assert 0 <= rates["pictures"][0]["hits"] <= 4
    assert np.isfinite([rates["quadrant_hits"], rates["flipped_sign"]]).all()
