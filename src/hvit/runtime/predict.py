"""Images in, classes out, by an exported model: the answers that `hvit predict` gives with the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from hvit.data.images.reading import read_image
from hvit.errors import UserError
from hvit.files import JsonObject
from hvit.labels import LabelSpec, present_classes
from hvit.runtime.about import About
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
    about = exported.about
    if about.kind != "classifier":
        raise UserError(f"{exported.where} holds {_KINDS[about.kind]}, which predicts no classes")
    preprocess = about.preparation(exported.where)
    if preprocess.takes_clips:
        raise UserError(f"{exported.where} takes clips; exported models of clips are run from your own program")
    labels = about.spec(exported.where)
    for start in range(0, len(files), batch_size):
        read: list[tuple[Path, np.ndarray]] = []
        for file in files[start : start + batch_size]:
            try:
                image = read_image(file, len(preprocess.mean), preprocess.grey_range, preprocess.page)
                shown = preprocess.shown(image)
                pixels = preprocess.array(shown)
                if about.inside:
                    pixels = np.asarray(shown).reshape(*preprocess.frame_size, len(preprocess.mean))
                read.append((file, pixels))
            except UserError as error:
                refused(str(error))
        if not read:
            continue
        for (file, _), row in zip(read, exported.answers(np.stack([pixels for _, pixels in read])), strict=True):
            answer: JsonObject = {"file": str(file), **_answer(about, labels, row, top_k)}
            if about.unsure_below is not None:
                answer["unsure"] = float(row.max()) < about.unsure_below
            yield answer


def _answer(about: About, labels: LabelSpec, row: np.ndarray, top_k: int) -> JsonObject:
    """As `verbs.classifier.answer_of`."""
    if labels.kind == "regression":
        return {"values": {about.name_of(place): float(f"{value:.6g}") for place, value in enumerate(row.tolist())}}
    order = np.argsort(-row, kind="stable")[:top_k].tolist()
    answer: JsonObject = {"classes": ranked([about.name_of(index) for index in order], row[order].tolist(), order)}
    if labels.kind == "multi":
        answer["labels"] = [about.name_of(index) for index in present_classes(row.tolist(), labels)]
    return answer


_KINDS = {"features": "an encoder without a head", "generator": "a generator"}
