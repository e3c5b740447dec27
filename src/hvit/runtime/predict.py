"""Images in, classes out, by an exported model: the answers that `hvit predict` gives with the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from hvit.data.images.reading import read_image
from hvit.data.images.tiles import tile_boxes
from hvit.data.preprocess import Preprocess
from hvit.errors import UserError
from hvit.files import JsonObject
from hvit.labels import best_of_levels, present_classes
from hvit.runtime.answers import ranked
from hvit.runtime.open import Exported


def predict(
    exported: Exported, files: list[Path], top_k: int, batch_size: int, refused: Callable[[str], None]
) -> Iterator[JsonObject]:
    """The most probable classes of every image, in the order of the files; as `verbs.predict.predict`.

    refused: called with one sentence for each file that cannot be read; the others go on.
    Yields {"file", "classes": [{"class", "index", "probability"}, ...]}, and "unsure" where the file has a threshold.
    Raises UserError for a model that gives no classes, or takes clips.
    """
    preprocess = _of_images(exported)
    for start in range(0, len(files), batch_size):
        read = [
            (file, _input(exported, preprocess, image))
            for file, image in _images(files[start : start + batch_size], preprocess, refused)
        ]
        if read:
            answers = exported.answers(np.stack([pixels for _, pixels in read]))
            for (file, _), row in zip(read, answers, strict=True):
                yield {"file": str(file), **answer_of(exported, row, top_k), **remarks_of(exported, row)}


def predict_tiles(
    exported: Exported,
    files: list[Path],
    top_k: int,
    batch_size: int,
    refused: Callable[[str], None],
    size: int,
    overlap: int,
) -> Iterator[JsonObject]:
    """The most probable classes of every image, as the mean over its tiles, and of each tile; as `verbs.tiles`.

    size, overlap: of `tile_boxes`. Raises UserError as `predict`.
    """
    whole = replace(_of_images(exported), crop=1.0)
    names = ("left", "top", "right", "bottom")
    for file, image in _images(files, whole, refused):
        try:
            boxes = tile_boxes(image.width, image.height, size, overlap)
        except UserError as error:
            refused(f"{file}: {error}")
            continue
        answers = []
        for start in range(0, len(boxes), batch_size):
            tiles = [_input(exported, whole, image.crop(box)) for box in boxes[start : start + batch_size]]
            answers.append(exported.answers(np.stack(tiles)))
        each = np.concatenate(answers)
        mean = each.mean(0)
        yield {
            "file": str(file),
            **answer_of(exported, mean, top_k),
            **remarks_of(exported, mean),
            "tiles": [
                dict(zip(names, box, strict=True)) | answer_of(exported, one, top_k)
                for box, one in zip(boxes, each, strict=True)
            ],
        }


def preparation(exported: Exported) -> Preprocess:
    """How images or clips are prepared. Raises UserError for a model that gives no classes."""
    about = exported.about
    if about.kind != "classifier":
        raise UserError(f"{exported.where} holds {_KINDS[about.kind]}, which predicts no classes")
    return about.preparation(exported.where)


def _of_images(exported: Exported) -> Preprocess:
    preprocess = preparation(exported)
    if preprocess.takes_clips:
        raise UserError(f"{exported.where} takes clips, not images")
    return preprocess


def _images(
    files: Iterable[Path], preprocess: Preprocess, refused: Callable[[str], None]
) -> Iterator[tuple[Path, Image.Image]]:
    """Every readable file with its image, which is let go of before the next one is read."""
    for file in files:
        try:
            yield file, read_image(file, len(preprocess.mean), preprocess.grey_range, preprocess.page)
        except UserError as error:
            refused(str(error))


def _input(exported: Exported, preprocess: Preprocess, image: Image.Image) -> np.ndarray:
    """An image as the model takes it: normalised, or bytes where the preprocessing is inside."""
    shown = preprocess.shown(image)
    if exported.about.inside:
        return np.asarray(shown).reshape(*preprocess.frame_size, len(preprocess.mean))
    return preprocess.array(shown)


def remarks_of(exported: Exported, row: np.ndarray) -> JsonObject:
    """Whether an answer is unsure, where the file has a threshold."""
    below = exported.about.unsure_below
    return {} if below is None else {"unsure": float(row.max()) < below}


def answer_of(exported: Exported, row: np.ndarray, top_k: int) -> JsonObject:
    """As `verbs.classifier.answer_of`."""
    about = exported.about
    labels = about.spec(exported.where)
    if labels.kind == "regression":
        return {"values": {about.name_of(place): float(f"{value:.6g}") for place, value in enumerate(row.tolist())}}
    order = np.argsort(-row, kind="stable")[:top_k].tolist()
    answer: JsonObject = {"classes": ranked([about.name_of(index) for index in order], row[order].tolist(), order)}
    if labels.kind == "multi":
        answer["labels"] = [about.name_of(index) for index in present_classes(row.tolist(), labels)]
    if labels.levels:
        answer["levels"] = best_of_levels(row.tolist(), labels)
    return answer


_KINDS = {"features": "an encoder without a head", "generator": "a generator"}
