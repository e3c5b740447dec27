"""Predictions of images that are much larger than the model's input: cut into tiles, and merged again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from hvit.data.images.tiles import tile_boxes
from hvit.errors import UserError
from hvit.files import JsonObject
from hvit.verbs.classifier import Classifier, answer_of, read_or_refuse


def predict_tiles(
    classifier: Classifier,
    files: list[Path],
    top_k: int,
    batch_size: int,
    refused: Callable[[str], None],
    size: int,
    overlap: int,
) -> Iterator[JsonObject]:
    """The most probable classes of every image, as the mean over its tiles, and those of each tile.

    size, overlap: of `tile_boxes`. Every tile is resized whole to the model's input. Memory holds one image, and one
    batch of tiles. refused: called with one sentence for each file that cannot be read; the others go on.
    Yields {"file", "classes": [...], ..., "tiles": [{"left", "top", "right", "bottom", "classes": [...]}, ...]}, with
    the answers of `predict`.
    """
    whole = replace(classifier.preprocess, crop=1.0)
    for file, image in read_or_refuse(files, classifier.preprocess, refused, lambda image: image):
        try:
            boxes = tile_boxes(image.width, image.height, size, overlap)
        except UserError as error:
            refused(f"{file}: {error}")
            continue
        answers, features = [], []
        for start in range(0, len(boxes), batch_size):
            tiles = [whole.tensor(image.crop(box)) for box in boxes[start : start + batch_size]]
            with torch.inference_mode():
                found, seen = classifier.look(torch.stack(tiles).to(classifier.device))
            answers.append(found)
            if seen is not None:
                features.append(seen)
        each = torch.cat(answers)
        mean = each.mean(0, keepdim=True)
        together = torch.cat(features).mean(0, keepdim=True) if features else None
        names = ("left", "top", "right", "bottom")
        yield {
            "file": str(file),
            **answer_of(classifier, mean[0], top_k),
            **classifier.remarks(mean, together)[0],
            "tiles": [
                dict(zip(names, box, strict=True)) | answer_of(classifier, one, top_k)
                for box, one in zip(boxes, each, strict=True)
            ],
        }
