"""Neighbours, copies and wrong labels of a table of features, and what cannot be compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from hvit.cli.main import main
from hvit.data.feature_table import FeatureTable, read_features
from hvit.data.open import FolderData
from hvit.errors import UserError
from hvit.recipe import write_recipe
from hvit.recipes import get_recipe
from hvit.verbs.embed import Embedder, FileImages, embed, open_embedder
from hvit.verbs.neighbours import (
    embedder_of,
    find_problems,
    neighbours_of_images,
    neighbours_of_table,
    open_table,
    problems_of_folds,
    same_features,
)


@pytest.fixture
def embedder(weights: Path) -> Embedder:
    return open_embedder(str(weights), "cpu")


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Six different pictures, three of them in train, and copies of the first ones in val."""
    folder = tmp_path / "scenes"
    for number in range(6):
        random = np.random.default_rng(number)
        small = Image.fromarray(random.integers(0, 256, (9, 9, 3), dtype=np.uint8))
        image = small.resize((96, 80), Image.Resampling.BICUBIC)
        place = folder / "train" / ("a", "b")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        image.save(place / f"{number}.png")
        other = folder / "val" / ("a", "b")[number % 2]
        other.mkdir(parents=True, exist_ok=True)
        if number == 0:
            image.save(other / "compressed.jpg", quality=60)
        if number == 1:
            ImageOps.mirror(image).save(other / "mirrored.png")
        if number == 2:
            image.resize((60, 50)).save(other / "resized.png")
        if number == 3:
            image.save(other / "same.png")
    return folder


@pytest.fixture
def table(embedder: Embedder, scenes: Path, tmp_path: Path) -> FeatureTable:
    path = tmp_path / "features.npy"
    embed(embedder, FileImages([scenes]), path, 8, pytest.fail)
    return read_features(path)


def test_copies_are_found_with_their_kind_and_whether_parts_differ(table: FeatureTable) -> None:
    problems = find_problems(table, distance=0.0)
    found = {(Path(pair["first"]["file"]).name, Path(pair["second"]["file"]).name): pair for pair in problems["pairs"]}
    kinds = {names: pair["kind"] for names, pair in found.items()}
    assert kinds == {
        ("3.png", "same.png"): "same file",
        ("0.png", "compressed.jpg"): "same picture",
        ("2.png", "resized.png"): "same picture",
        ("1.png", "mirrored.png"): "mirrored",
    }
    assert all(pair["across_parts"] for pair in found.values())
    assert problems["across_parts"] == 4
    assert problems["images"] == 10


def test_the_nearest_images_of_an_image_are_not_itself(embedder: Embedder, table: FeatureTable, scenes: Path) -> None:
    asked = scenes / "val" / "a" / "resized.png"
    (answer,) = neighbours_of_images(table, embedder, [asked], 2, pytest.fail)
    assert answer["file"] == str(asked)
    names = [Path(one["file"]).name for one in answer["neighbours"]]
    assert len(names) == 2
    assert names[0] in ("2.png", "resized.png")
    among = neighbours_of_table(table, table, 3)
    assert all(one["file"] != row["file"] for row in among for one in row["neighbours"])
    same = next(row for row in among if row["file"].endswith("same.png"))
    assert same["neighbours"][0]["same_content"]
    assert same["neighbours"][0]["distance"] == pytest.approx(0, abs=1e-5)


def test_features_of_different_models_are_not_compared(table: FeatureTable, weights: Path) -> None:
    other = open_embedder(str(weights), "cpu", 0)
    with pytest.raises(UserError, match="cannot be compared"):
        same_features(table, other)
    assert embedder_of(table, None, "cpu").facts["fingerprint"] == table.facts["fingerprint"]
    weights.unlink()
    with pytest.raises(UserError, match="name it with --weights"):
        embedder_of(table, None, "cpu")


def test_labels_of_one_class_are_not_checked(table: FeatureTable) -> None:
    rows = {**table.rows, "class": ["a"] * len(table)}
    problems = find_problems(FeatureTable(table.features, rows, table.facts))
    assert problems["label_errors"] == []
    assert problems["notes"] == ["Labels were not checked: that takes one class an image, and two classes or more."]


def test_a_run_without_features_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="hvit embed"):
        open_table(tmp_path)


def test_a_cross_validation_finds_wrong_labels_by_its_own_predictions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cleanlab")
    recipe = get_recipe("nest_micro_folder")
    write_recipe(replace(recipe, data=FolderData(root=str(tmp_path), folds=2)), tmp_path)
    with pytest.raises(UserError, match=r"the folds in .* are not finished"):
        problems_of_folds(tmp_path)
    lines = ["name,group,fold,class,predicted,cat,dog"]
    for number in range(40):
        real = ("cat", "dog")[number % 2]
        stated = "dog" if number == 4 else real
        share = 0.99 if number == 4 else 0.9 + 0.002 * number if real == "cat" else 0.1 - 0.002 * number
        lines.append(f"{number}.png,,{number % 4 // 2 + 1},{stated},{real},{share:.6f},{1 - share:.6f}")
    (tmp_path / "out_of_fold.csv").write_text("\n".join(lines) + "\n")
    (found,) = problems_of_folds(tmp_path)["label_errors"]
    assert (found["file"], found["part"]) == ("4.png", "fold 1")
    assert (found["class"], found["predicted"]) == ("dog", "cat")
    assert found["probability"] == pytest.approx(0.01, abs=1e-4)
    main(["neighbours", str(tmp_path)])
    printed = capsys.readouterr()
    assert "Labels that are probably wrong: 1" in printed.out
    assert "fold 1: 4.png" in printed.out
    assert "Copies were not looked for" in printed.err
    assert "Pairs of nearly the same image" not in printed.out
    with pytest.raises(SystemExit, match="2"):
        main(["neighbours", str(tmp_path), "--map", str(tmp_path / "map.png")])
    (tmp_path / "out_of_fold.csv").write_text("name,class\n")
    with pytest.raises(UserError, match="is no table of predictions"):
        problems_of_folds(tmp_path)
