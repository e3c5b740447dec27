"""The nearest images in a table of features, copies among them, and labels that are probably wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from hvit.data.feature_table import FeatureTable, read_features
from hvit.data.images.perceptual_hash import mirrored, perceptual_hash, pictures_of
from hvit.errors import UserError
from hvit.files import JsonObject
from hvit.metrics.label_errors import doubtful, label_errors
from hvit.metrics.nearest import Pair, near_duplicates, nearest
from hvit.run_names import fold_folder
from hvit.verbs import folds
from hvit.verbs.embed import Embedder, FileImages, open_embedder

SIMILAR = 0.02
"""Distance between features up to which two images count as near-duplicates."""


def same_features(table: FeatureTable, others: FeatureTable | Embedder) -> None:
    """Raises UserError where two tables have features of different models or levels, which are never compared."""
    for name in ("fingerprint", "level"):
        if table.facts.get(name) != others.facts.get(name):
            theirs, own = (f"{one.facts.get('model')}, level {one.facts.get('level')}" for one in (others, table))
            raise UserError(
                f"features of different models cannot be compared: the table has those of {own}, the images those of "
                f"{theirs}; embed both with the same weights and --level"
            )


def embedder_of(table: FeatureTable, weights: str | None = None, device: str = "auto") -> Embedder:
    """The model that a table's features come from. weights: where it is now; default: where it was.

    Raises UserError where it is not there, and where it is another model.
    """
    source = weights or str(table.facts.get("weights", ""))
    level = table.facts.get("level")
    if level is not None and not isinstance(level, int):
        raise UserError(f"the table's features are of level {level!r}, which is no level")
    try:
        embedder = open_embedder(source, device, level)
    except UserError as error:
        raise UserError(f"the model of the table's features cannot be opened ({error}); name it with --weights") from (
            error
        )
    same_features(table, embedder)
    return embedder


def neighbours_of_images(
    table: FeatureTable, embedder: Embedder, paths: list[Path], count: int, refused: Callable[[str], None]
) -> list[JsonObject]:
    """The nearest images of the table for each image in some files and folders, as `neighbours_of_table`.

    refused: called with one sentence for each image that cannot be read.
    """
    import torch

    images, answers = FileImages(paths), []
    for index in range(len(images)):
        try:
            image, content = images.read(index, embedder.preprocess)
            shown = embedder.preprocess.shown(image)
        except UserError as error:
            refused(str(error))
            continue
        features = embedder.features(torch.stack([embedder.preprocess.normalised(shown)]))
        name, part, label = images.row(index)
        row = {"file": [name], "sha256": [content], "perceptual_hash": [perceptual_hash(shown)], "part": [part]}
        asked = FeatureTable(features, row | {"class": [label]}, embedder.facts)
        answers += neighbours_of_table(table, asked, count)
    return answers


def neighbours_of_table(table: FeatureTable, asked: FeatureTable, count: int) -> list[JsonObject]:
    """The nearest images of a table for each image of another one.

    Returns {"file", "part", "class", "neighbours": [{"file", "part", "class", "distance", "same_content"}, ...]}, the
    nearest first; the distance is 1 - cosine of the angle between features, and an image is no neighbour of itself.
    """
    same_features(table, asked)
    distances, indices = nearest(asked.features, table.features, count + 1)
    answers = []
    for row in range(len(asked)):
        found = [
            _described(table, int(index))
            | {
                "distance": round(float(distance), 6),
                "same_content": table.rows["sha256"][index] == asked.rows["sha256"][row],
            }
            for distance, index in zip(distances[row], indices[row], strict=True)
            if not _is_same(table, int(index), asked, row)
        ]
        answers.append(_described(asked, row) | {"neighbours": found[:count]})
    return answers


def _is_same(table: FeatureTable, index: int, asked: FeatureTable, row: int) -> bool:
    return all(table.rows[name][index] == asked.rows[name][row] for name in ("file", "part", "sha256"))


def _described(table: FeatureTable, index: int) -> JsonObject:
    return {name: table.rows[name][index] for name in ("file", "part", "class")}


def find_problems(table: FeatureTable, distance: float = SIMILAR) -> JsonObject:
    """Copies among the images of a table, and labels that are probably wrong, the surest first.

    distance: between features, up to which images count as similar.
    Returns {"images", "pairs": [{"kind", "distance", "across_parts", "first", "second"}, ...], "across_parts",
    "label_errors": [{"file", "part", "class", "predicted", "probability", "row"}, ...], "notes"}; first and second have
    "file", "part", "class" and "row", the place in the table.
    """
    pairs = copies(table, distance)
    wrong, notes = _wrong_labels(table)
    return {
        "images": len(table),
        "pairs": pairs,
        "across_parts": sum(pair["across_parts"] for pair in pairs),
        "label_errors": wrong,
        "notes": notes,
    }


def copies(table: FeatureTable, distance: float) -> list[JsonObject]:
    """Pairs of images that are nearly the same, as `find_problems` has them."""
    pictures = pictures_of(table.rows["perceptual_hash"])
    found: list[Pair] = near_duplicates(table.features, table.rows["sha256"], pictures, mirrored, distance)
    described = []
    for pair in found:
        both = [_described(table, index) | {"row": index} for index in (pair.first, pair.second)]
        described.append(
            {
                "kind": pair.kind,
                "distance": round(pair.distance, 6),
                "across_parts": both[0]["part"] != both[1]["part"],
                "first": both[0],
                "second": both[1],
            }
        )
    return described


def class_numbers(table: FeatureTable) -> tuple[np.ndarray, list[str]]:
    """The class of each image as a number, -1 where it is not known, and the names of the classes."""
    names = sorted({name for name in table.rows["class"] if name})
    places = {name: place for place, name in enumerate(names)}
    return np.array([places.get(name, -1) for name in table.rows["class"]]), names


def _wrong_labels(table: FeatureTable) -> tuple[list[JsonObject], list[str]]:
    labels, names = class_numbers(table)
    if len(names) < 2:
        return [], ["Labels were not checked: that takes one class an image, and two classes or more."]
    try:
        found = label_errors(table.features, labels)
    except UserError as error:
        return [], [f"Labels were not checked: {error}."]
    return [
        _described(table, index)
        | {
            "predicted": names[found.predicted[index]],
            "probability": round(float(found.quality[index]), 6),
            "row": index,
        }
        for index in found.found.tolist()
    ], []


def problems_of_folds(folder: Path) -> JsonObject:
    """Labels of a cross-validation that are probably wrong, by the models that did not train on the sample.

    Returns what `find_problems` does, without pairs; "part" is the fold that held the sample out. Raises UserError
    where the folder has no table of predictions yet, and for labels that are not one class a sample.
    """
    classes, rows = folds.read_out_of_fold(folder)
    number = {name: index for index, name in enumerate(classes)}
    shares = np.array([[float(row[f"p {name}"]) for name in classes] for row in rows])
    found = doubtful(shares, np.array([number[row["class"]] for row in rows]))
    wrong = [
        {
            "file": rows[index]["name"], "part": f"fold {rows[index]['fold']}", "class": rows[index]["class"],
            "predicted": classes[found.predicted[index]], "probability": round(float(found.quality[index]), 6),
            "row": index,
        }
        for index in found.found.tolist()
    ]  # fmt: skip
    note = f"Copies were not looked for: that takes features, which `hvit embed {folder / fold_folder(1)}` computes."
    return {"images": len(rows), "pairs": [], "across_parts": 0, "label_errors": wrong, "notes": [note]}


def open_table(target: Path) -> FeatureTable:
    """The table in a file, or the one that `hvit embed RUN` has left in a run folder."""
    from hvit.verbs.embed import features_of_run

    if not target.is_dir():
        return read_features(target)
    found = features_of_run(target)
    if found is None:
        raise UserError(f"{target} has no features yet: `hvit embed {target}` computes them")
    return found
