"""Whether wrong labels and copies that were planted in a folder of photos are found by features of the teacher.

python -m benchmarks.planted --photos ../shared/data/photos10/train
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from hvit.data.feature_table import FeatureTable, read_features
from hvit.metrics.label_errors import label_errors
from hvit.verbs.embed import FileImages, embed, open_embedder
from hvit.verbs.neighbours import SIMILAR, class_numbers, copies

COPIES = ("compressed again", "half the size", "mirrored", "mirrored, compressed again and smaller")


def main() -> None:
    """Prints a JSON object: precision and recall of planted label errors, and how many planted copies are found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True, help="folder with a folder of images for each class")
    parser.add_argument("--weights", default="teacher", help="what computes the features")
    parser.add_argument("--share", type=float, default=0.05, help="share of the labels that are made wrong")
    parser.add_argument("--seeds", type=int, default=3, help="times that others are made wrong")
    parser.add_argument("--copies", type=int, default=50, help="copies of each kind")
    arguments = parser.parse_args()
    embedder = open_embedder(arguments.weights, "cpu")
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        embed(embedder, FileImages([arguments.photos]), folder / "features.npy", 16, print)
        table = read_features(folder / "features.npy")
        seconds = time.perf_counter() - start
        found = {
            "images": len(table),
            "model": embedder.facts["model"],
            "seconds": round(seconds, 1),
            "label_errors": [planted_labels(table, arguments.share, seed) for seed in range(arguments.seeds)],
            "copies": planted_copies(table, arguments.copies, folder),
        }
    print(json.dumps(found, indent=2))


def planted_labels(table: FeatureTable, share: float, seed: int) -> dict[str, float]:
    """Makes a share of the labels wrong and looks for them."""
    labels, names = class_numbers(table)
    random = np.random.default_rng(seed)
    wrong = random.choice(len(labels), round(share * len(labels)), replace=False)
    changed = labels.copy()
    changed[wrong] = (labels[wrong] + random.integers(1, len(names), len(wrong))) % len(names)
    found = label_errors(table.features, changed)
    first = np.argsort(found.quality)[: len(wrong)]
    flagged = found.found
    hits = len(np.intersect1d(flagged, wrong))
    return {
        "planted": len(wrong),
        "precision_at_planted": len(np.intersect1d(first, wrong)) / len(wrong),
        "flagged": len(flagged),
        "precision": hits / max(1, len(flagged)),
        "recall": hits / len(wrong),
    }


def planted_copies(table: FeatureTable, count: int, folder: Path) -> dict[str, object]:
    """Adds copies of some images to the table and looks for them."""
    chosen = np.random.default_rng(0).choice(len(table), count, replace=False)
    place = folder / "copies"
    place.mkdir()
    names: dict[str, tuple[str, str]] = {}
    for number in chosen.tolist():
        source = table.rows["file"][number]
        with Image.open(source) as opened:
            image = opened.convert("RGB")
        smaller = image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.LANCZOS)
        turned = ImageOps.mirror(image)
        made = {
            COPIES[0]: (image, 40), COPIES[1]: (smaller, 90), COPIES[2]: (turned, 90),
            COPIES[3]: (turned.resize(smaller.size), 60),
        }  # fmt: skip
        for kind, (copy, quality) in made.items():
            path = place / f"{number}_{COPIES.index(kind)}.jpg"
            copy.save(path, quality=quality)
            names[str(path)] = source, kind
    embed(open_embedder(table.facts["weights"], "cpu"), FileImages([place]), folder / "copies.npy", 16, print)
    added = read_features(folder / "copies.npy")
    rows = {name: table.rows[name] + added.rows[name] for name in table.rows}
    everything = FeatureTable(np.concatenate([table.features, added.features]), rows, table.facts)
    found: dict[str, set[str]] = {kind: set() for kind in COPIES}
    others = 0
    for pair in copies(everything, SIMILAR):
        first, second = pair["first"]["file"], pair["second"]["file"]
        origins = [names.get(one, (one, ""))[0] for one in (first, second)]
        others += origins[0] != origins[1]
        for one, other in ((first, second), (second, first)):
            if other in names and names[other][0] == one:
                found[names[other][1]].add(other)
    before = copies(table, SIMILAR)
    shutil.rmtree(place)
    return {
        "planted_of_each_kind": count,
        **{kind: len(paths) for kind, paths in found.items()},
        "pairs_of_other_images": others,
        "pairs_before": [
            (pair["kind"], pair["distance"], pair["first"]["file"], pair["second"]["file"]) for pair in before
        ],
    }


if __name__ == "__main__":
    main()
