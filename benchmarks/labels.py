"""Labels that are no class folders, measured: several classes on a canvas, and ten classes of unequal size.

    python benchmarks/labels.py pairs --fashion DIR --out DIR      pairs of Fashion-MNIST on canvases, multi-label
    python benchmarks/labels.py balance --photos DIR --out DIR     photos of ten classes made 100:20:5, four ways

Each run prints a line of JSON with its scores; a run that is there already is read and not trained again.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from hvit.data.augment_settings import AugmentConfig
from hvit.data.images.fashion import FashionData, open_fashion
from hvit.data.images.folders import FolderData
from hvit.data.images.listing import files_below, is_image_name
from hvit.recipe import Recipe
from hvit.recipes import get_recipe
from hvit.run_names import SCORES
from hvit.verbs.train import train

SEEDS = (42, 43)
TRAIN, HELD_OUT = 4_000, 1_000
SIZES = (100, 20, 5)
BALANCES = ("none", "weights", "sampling", "effective")


def make_pairs(fashion: Path, folder: Path) -> Path:
    """Canvases of 64 x 64 pixels with two garments of different classes, and a table of their classes."""
    table = folder / "labels.csv"
    if table.exists():
        return table
    splits = open_fashion(FashionData(root=str(fashion)), 0, 1)
    random = np.random.default_rng(0)
    lines: list[list[str]] = []
    for part, images, count in (("train", splits.train, TRAIN), ("val", splits.held_out, HELD_OUT)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            first, second = random.integers(0, len(images), 2)
            while images.labels[first] == images.labels[second]:
                second = random.integers(0, len(images))
            canvas = Image.new("L", (64, 64))
            quadrants = random.permutation(4)[:2]
            for index, quadrant in zip((int(first), int(second)), quadrants.tolist(), strict=True):
                image, _ = images.read(index, 0)
                left, top = 32 * (quadrant % 2) + 2, 32 * (quadrant // 2) + 2
                canvas.paste(image.convert("L"), (left, top))  # pyright: ignore[reportAttributeAccessIssue]
            name = f"{part}/{number:05}.png"
            canvas.save(folder / name)
            names = sorted(splits.classes[int(images.labels[index])] for index in (first, second))
            lines.append([name, "|".join(names), part])
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "labels", "split"], *lines])
    return table


def make_imbalanced(photos: Path, folder: Path) -> Path:
    """A table of the photos: of the training photos 100 of four classes, 20 of three, 5 of three; all held-out ones."""
    table = folder / "labels.csv"
    folder.mkdir(parents=True, exist_ok=True)
    classes = sorted(path.name for path in (photos / "train").iterdir() if path.is_dir())
    lines = []
    for number, name in enumerate(classes):
        kept = SIZES[number % len(SIZES)]
        for part, most in (("train", kept), ("val", 10**9)):
            files = [file for file in files_below(photos / part / name) if is_image_name(file)][:most]
            lines += [[str(file.resolve()), name, part] for file in files]
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "label", "split"], *lines])
    return table


def pairs_recipe(table: Path, seed: int, loss: str) -> Recipe:
    """The recipe nest_micro_folder on grey canvases, for six epochs."""
    recipe = get_recipe("nest_micro_folder")
    return replace(
        recipe,
        model=replace(recipe.model, in_channels=1),
        data=FolderData(table=str(table)),
        augment=AugmentConfig(flip=0.5),
        loss=loss,
        loop=replace(recipe.loop, epochs=6, evaluate_every=6, workers=0, device="cpu"),
        crop=1.0,
        seed=seed,
    )


def balance_recipe(table: Path, seed: int, balance: str) -> Recipe:
    """The recipe nest_micro_folder on photos, for 30 epochs."""
    recipe = get_recipe("nest_micro_folder")
    loop = replace(recipe.loop, epochs=30, batch_size=32, evaluate_every=30, workers=0, device="cpu")
    data = FolderData(table=str(table), balance=balance)  # pyright: ignore[reportArgumentType]
    return replace(recipe, data=data, loop=loop, seed=seed)


def scores_of(recipe: Recipe, folder: Path) -> dict[str, object]:
    """The scores of a run, which is made where it is not there."""
    if not (folder / SCORES).is_file():
        train(recipe, folder)
    scores = json.loads((folder / SCORES).read_text(encoding="utf-8"))
    return {key: value for key, value in scores.items() if isinstance(value, int | float)}


def main() -> None:
    """Runs one of the two measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pairs", "balance"))
    parser.add_argument("--fashion", type=Path, help="folder of Fashion-MNIST")
    parser.add_argument("--photos", type=Path, help="folder with train and val folders of classes")
    parser.add_argument("--out", type=Path, required=True, help="folder for images, tables and runs")
    given = parser.parse_args()
    for seed in SEEDS:
        if given.what == "pairs":
            table = make_pairs(given.fashion, given.out / "pairs")
            recipes = {loss: pairs_recipe(table, seed, loss) for loss in ("binary_cross_entropy", "asymmetric")}
        else:
            table = make_imbalanced(given.photos, given.out / "imbalanced")
            recipes = {balance: balance_recipe(table, seed, balance) for balance in BALANCES}
        for name, recipe in recipes.items():
            scores = scores_of(recipe, given.out / f"{given.what}_{name}_{seed}")
            print(json.dumps({"what": name, "seed": seed, **scores}), flush=True)


if __name__ == "__main__":
    main()
