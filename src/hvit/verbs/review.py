"""What was found in the data of a run, written into its folder with pictures, for the report."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from hvit.data.feature_table import FeatureTable
from hvit.data.preprocess import Preprocess
from hvit.errors import UserError
from hvit.explain import block_shapley, draw_trees
from hvit.explain.drawing.canvas import save_in_both_themes
from hvit.files import JsonObject, replacing, write_text
from hvit.markup import DARK_PICTURES
from hvit.pictures import DARK, LIGHT, figure_to_png
from hvit.run_names import REVIEW, REVIEW_FILE
from hvit.snapshots.features import MOST_MAPPED, draw_feature_map
from hvit.verbs.classifier import Classifier, open_classifier
from hvit.verbs.embed import RunImages
from hvit.verbs.neighbours import class_numbers

_SIDE = 128  # pixels of the longer side of a picture
_QUALITY = 82
_WIDEST_EXPLANATION = 1000  # pixels
_SHOWN = 24
_EXPLAINED = 8


def draw_map(table: FeatureTable) -> tuple[bytes, bytes]:
    """The images of a table as points of a plane, as PNG files for light and for dark pages.

    At most 2,000 images, evenly from all over the table.
    """
    labels, names = class_numbers(table)
    rows = np.linspace(0, len(table) - 1, min(MOST_MAPPED, len(table))).round().astype(int)
    if names:
        rows = rows[labels[rows] >= 0]
    else:
        labels, names = np.zeros(len(table), np.int64), ["all images"]
    features = torch.from_numpy(np.asarray(table.features[rows], dtype=np.float32))
    drawn = [
        figure_to_png(draw_feature_map(features, torch.from_numpy(labels[rows]), names, theme), 100)
        for theme in (LIGHT, DARK)
    ]
    return drawn[0], drawn[1]


def write_review(
    run: Path, table: FeatureTable, problems: JsonObject, images: RunImages, step: Callable[[], None] = lambda: None
) -> None:
    """Writes `review/` into a run folder: what was found, small pictures of the images, and explanations of some.

    problems: as `find_problems` returns them; the pairs across parts and the first of the rest are drawn. An older
    review is replaced. step: called after each explanation.
    """
    folder = run / REVIEW
    shutil.rmtree(folder, ignore_errors=True)
    places = {images.row(index)[:2]: index for index in range(len(images))}
    classifier = _classifier(run)
    preprocess = classifier.preprocess if classifier is not None else None
    drawn: dict[int, str] = {}

    def index_of(found: JsonObject) -> int | None:
        return places.get((found["file"], found["part"]))

    def picture(found: JsonObject) -> str | None:
        index = index_of(found)
        if index is None or preprocess is None:
            return None
        if found["row"] not in drawn:
            name = f"image_{len(drawn) + 1}.jpg"
            shown = _read(images, index, preprocess)
            shown.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
            _save(shown, folder / name)
            drawn[found["row"]] = name
        return drawn[found["row"]]

    pairs = sorted(problems["pairs"], key=lambda pair: not pair["across_parts"])[:_SHOWN]
    errors = problems["label_errors"][:_SHOWN]
    shown_pairs = [
        pair | {"pictures": [name for one in ("first", "second") if (name := picture(pair[one]))]} for pair in pairs
    ]
    shown_errors = []
    for number, found in enumerate(errors, start=1):
        described = found | {"picture": picture(found)}
        index = index_of(found)
        if number <= _EXPLAINED and classifier is not None and index is not None:
            wanted = [classifier.classes.index(found[key]) for key in ("class", "predicted") if found[key]]
            shown = _read(images, index, classifier.preprocess)
            described["explanation"] = _explain(classifier, shown, wanted, folder, f"explanation_{number}")
            step()
        shown_errors.append(described)
    light, dark = draw_map(table)
    for name, content in (("map.png", light), ("map_dark.png", dark)):
        with replacing(folder / name) as file:
            file.write(content)
    review = {
        "images": problems["images"],
        "num_pairs": len(problems["pairs"]),
        "across_parts": problems["across_parts"],
        "num_label_errors": len(problems["label_errors"]),
        "model": table.facts.get("model"),
        "pairs": shown_pairs,
        "label_errors": shown_errors,
        "notes": problems["notes"],
    }
    write_text(folder / REVIEW_FILE, json.dumps(review) + "\n")


def _classifier(run: Path) -> Classifier | None:
    """The run's classifier; None for runs of another kind."""
    try:
        return open_classifier(run)
    except UserError:
        return None


def _read(images: RunImages, index: int, preprocess: Preprocess) -> Image.Image:
    return preprocess.shown(images.read(index, preprocess)[0])


def _explain(classifier: Classifier, shown: Image.Image, wanted: list[int], folder: Path, name: str) -> list[str]:
    """Draws the evidence for each of the classes; the names of the pictures for light and for dark pages."""
    batch = classifier.preprocess.normalised(shown)[None].to(classifier.device)
    with torch.inference_mode():
        shares = classifier.answers(batch)[0]
    chosen = list(dict.fromkeys(wanted))
    trees = block_shapley(classifier.model, batch, chosen, exact=False)[0]
    names, probabilities = [classifier.name(one) for one in chosen], [float(shares[one]) for one in chosen]
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "explanation.png")
        save_in_both_themes(
            lambda _: draw_trees(shown, trees, names, probabilities, all_names=classifier.classes), path
        )
        written = []
        for source, ending in ((path, ""), (path.parent / DARK_PICTURES / path.name, "_dark")):
            with Image.open(io.BytesIO(source.read_bytes())) as image:
                image.thumbnail((_WIDEST_EXPLANATION, 4 * _WIDEST_EXPLANATION), Image.Resampling.LANCZOS)
                _save(image.convert("RGB"), folder / f"{name}{ending}.jpg")
            written.append(f"{name}{ending}.jpg")
    return written


def _save(image: Image.Image, path: Path) -> None:
    with replacing(path) as file:
        image.save(file, "JPEG", quality=_QUALITY)
