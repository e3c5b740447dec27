"""The grid of explanations continues where it was, measures what it says, and becomes tables."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hvit.data.preprocess import Preprocess
from hvit.explain.localization.mosaics import Scenes
from hvit.models.create import create_model
from hvit.recipes import get_recipe

Load = Callable[[str], Any]
GREY = Preprocess(input_size=(32, 32), mean=(0.0,), std=(1.0,), crop=1.0)


@pytest.fixture
def grid(load: Load, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The grid with one model, of random weights, whatever run is named."""
    module = load("explanation_grid")
    torch.manual_seed(0)
    opened = SimpleNamespace(
        model=create_model("nest_micro_32", in_channels=1).eval(),
        preprocess={"input_size": (32, 32), "mean": (0.0,), "std": (1.0,), "crop": 1.0},
        classes=tuple("0123456789"),
    )
    monkeypatch.setattr(module, "open_weights", lambda run: opened)
    monkeypatch.setattr(module, "read_recipe", lambda run: replace(get_recipe("nest_micro_digits"), seed=7))
    return module


def asked(out: Path, **changed: object) -> Namespace:
    given = {"out": out, "label": None, "count": 2, "curves": 1, "methods": ["cam", "chance", "rollout"]}
    given |= {"baselines": [], "budget": None, "pasted": None, "threads": torch.get_num_threads()}
    return Namespace(**(given | changed))


def test_a_grid_computes_only_what_is_missing(grid: Any, tmp_path: Path) -> None:
    def run(**changed: object) -> list[str]:
        return [cell.path.name for cell in grid.cells_of("NesT=runs/any", "alone", asked(tmp_path, **changed))]

    assert run() == ["cam.json", "chance.json"]  # a NesT has no rollout
    folder = tmp_path / "alone" / "NesT-7"
    stored = json.loads((folder / "cam.json").read_text())
    assert run() == []
    (folder / "cam.json").unlink()
    assert run() == ["cam.json"]
    again = json.loads((folder / "cam.json").read_text())
    assert again["samples"] == stored["samples"]
    assert set(again["samples"]) >= {"first", "second", "point", "insertion"}
    assert len(again["samples"]["point"]) == 2
    assert len(again["samples"]["insertion"]) == 1
    assert run(count=3) == ["cam.json", "chance.json"]  # other settings: measured again


def test_a_mosaic_asks_for_each_of_its_objects(grid: Any, tmp_path: Path) -> None:
    (cell,) = grid.cells_of("NesT=runs/any", "four_digits", asked(tmp_path, methods=["gradcat"], label="mosaics"))
    assert cell.path == tmp_path / "mosaics" / "NesT-7" / "gradcat.json"
    samples = json.loads(cell.path.read_text())["samples"]
    assert {name: len(values) for name, values in samples.items()} == {
        **dict.fromkeys(("found", "first", "second", "point", "overlap", "box", "quadrant"), 8),
        **dict.fromkeys(("deletion", "insertion"), 4),
    }


def test_a_map_that_is_right_is_measured_as_right(load: Load) -> None:
    module, methods = load("explanation_grid"), load("explanation_methods")
    places = [(0, 0), (2, 1), (3, 3)]  # row and column of the sixteenth that is white
    pixels, boxes = np.zeros((3, 32, 32), dtype=np.uint8), np.zeros((3, 1, 4), dtype=np.int64)
    for number, (row, column) in enumerate(places):
        pixels[number, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 255
        boxes[number] = 8 * column, 8 * row, 8 * column + 8, 8 * row + 8

    def network(images: torch.Tensor) -> torch.Tensor:
        light = images.mean((1, 2, 3))
        return torch.stack([0 * light, 100 * light], 1)

    model = SimpleNamespace(network=network, preprocess=GREY)
    images = torch.from_numpy(pixels[:, None] / np.float32(255))
    classes = np.ones((3, 1), dtype=np.int64)
    costliest = tuple(
        methods.costliest_squares(network, images, classes, parts, torch.zeros(1, 1, 1)) for parts in (2, 4)
    )
    assert [one.tolist() for one in costliest] == [[0, 2, 3], [0, 9, 15]]
    questions = module.Questions(model, Scenes(pixels, classes, boxes), images, pixels > 0, np.ones(3, bool), costliest)

    def measured(maps: np.ndarray) -> dict[str, float]:
        found = methods.Explained(
            maps, methods.squares(maps, 2, (32, 32)), methods.squares(maps, 4, (32, 32)), None, None
        )
        samples, _ = module.measures(questions, found, "alone", 3)
        return {name: float(values.mean()) for name, values in samples.items()}

    truth = pixels.astype(np.float32)
    right, wrong = measured(truth), measured(-truth)
    exact = {"found", "first", "second", "point", "overlap", "box", "mask"}
    assert {name: right[name] for name in exact} == dict.fromkeys(exact, 1.0)
    assert [wrong[name] for name in ("first", "second", "point", "box")] == [0, 0, 0, 0]
    assert wrong["mask"] < 0.1
    assert right["deletion"] < wrong["deletion"]
    assert right["insertion"] > wrong["insertion"]


def test_legrad_sees_the_same_vit(load: Load) -> None:
    pytest.importorskip("torchcam")
    rivals = load("rival_explanations")
    torch.manual_seed(0)
    network = create_model("vit_micro_32", in_channels=1, depths=(2,)).eval()
    images = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(rivals.TorchVit(network.network).eval()(images), network(images))
    maps = rivals.RIVALS["legrad"](network, images, np.array([[1, 2], [3, 4]]), "mean")
    assert maps.shape == (4, 8, 8)
    assert np.isfinite(maps).all()
    assert (maps.std((1, 2)) > 0).all()
    assert "legrad" in rivals.rivals_of(network)
    assert "refinecam" not in rivals.rivals_of(network)  # it multiplies the maps of several levels
    assert "legrad" not in rivals.rivals_of(create_model("nest_micro_32", in_channels=1))


def test_a_pasted_object_is_where_its_mask_says(load: Load, tmp_path: Path) -> None:
    module = load("pasted_objects")
    stamp, photo = Image.new("RGBA", (128, 64), (255, 0, 0, 255)), Image.new("RGB", (128, 128), (0, 0, 255))
    canvas, mask = module.paste(stamp, photo, Random(1))
    red = np.asarray(canvas)[..., 0] > 127
    assert (red == (np.asarray(mask) > 0)).all()
    assert 0.3 * 128 <= red.any(0).sum() <= 0.6 * 128
    for name in ("cat", "dog"):
        module.save(canvas, tmp_path / "images" / "val" / name / "0000.jpg")
        module.save(mask, tmp_path / "masks" / "val" / name / "0000.png")
    size = Preprocess(input_size=(64, 64), mean=(0.5,) * 3, std=(0.5,) * 3, crop=1.0)
    scenes, masks = module.read_pasted(tmp_path, ("cat", "dog"), size, 10)
    assert scenes.classes.tolist() == [[0], [1]]
    assert scenes.images.shape == (2, 64, 64, 3)
    left, top, right, bottom = scenes.boxes[1, 0]
    assert masks[1, top:bottom, left:right].mean() > 0.9
    assert masks[1].sum() == masks[1, top:bottom, left:right].sum()
    assert abs(masks[0].mean() - red.mean()) < 0.02


def stored(folder: Path, model: str, seed: int, method: str, **samples: Sequence[float]) -> None:
    settings = {"model": model, "seed": seed, "data": "alone", "method": method, "count": 4}
    path = folder / f"{model}-{seed}-{method}.json"
    path.write_text(json.dumps({"settings": settings, "samples": {"found": [1, 1, 1, 0]} | samples}))


def test_the_tables_have_both_seeds_and_say_what_is_missing(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables, page, folder = load("explanation_tables"), tmp_path / "page.md", tmp_path / "grid"
    folder.mkdir()
    for seed, first in ((1, [1, 1, 1, 1]), (2, [1, 1, 1, 0])):
        stored(folder, "NesT", seed, "block shapley", first=first, insertion=[0.9, 0.9, 0.8, 0.8])
        stored(folder, "NesT", seed, "occlusion", first=[1, 1, 0, 0], insertion=[1, 1, 0.9, 0.9])
    stored(folder, "ResNet", 1, "block shapley", first=[1, 0, 0, 0])
    page.write_text(f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n")
    monkeypatch.setattr(sys, "argv", ["explanation_tables.py", str(folder), "--write", str(page)])
    tables.main()
    lines = page.read_text().splitlines()
    assert lines[0] == "before"
    assert lines[-1] == "after"
    assert "old" not in lines
    assert "4 images. Recognised are: NesT 75 and 75 %, ResNet 75 %." in lines
    assert "| NesT | block Shapley | **100.0, 75.0 (51 to 100)** | 0.85, 0.85 (0.80 to 0.90) |" in lines
    assert "|  | occlusion (captum) | 50.0, 50.0 (15 to 85) | **0.95, 0.95 (0.90 to 1.00)** |" in lines
    assert "| ResNet | block Shapley | **25.0 (5 to 70)** |  |" in lines
    goal = next(line for line in lines if "insertion ahead of every rival" in line)
    assert "occlusion (captum): 0.95" in goal
    assert goal.endswith("| no, by 0.10 |")
    missing = " ".join(lines).partition("Not run: ")[2]
    assert "one digit alone with Hiera, MViTv2, ViT; one digit alone with a second seed of ResNet" in missing
