"""What a run shows of its explanations: pictures of a few held-out images, and how often the tree is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hvit.data.augment import Preprocess
from hvit.data.digits import CLASSES, Mosaics, digit_mosaics
from hvit.data.images import DigitsData, Splits
from hvit.explain.canvas import save_figure
from hvit.explain.gradcat import gradcat_batch
from hvit.explain.tree_picture import draw_trees
from hvit.measures import path_hit_rate
from hvit.models.layers import Encoder

_CLASSES_SHOWN = 4


def has_tree(model: Encoder) -> bool:
    """Whether a model has the levels that GradCAT walks: two or more."""
    return len(model.config.depths) > 1


def draw_samples(model: Encoder, preprocess: Preprocess, splits: Splits, folder: Path, count: int = 6) -> None:
    """Writes `explain_<number>.png` for held-out images of different classes: the trees of their likeliest classes."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = splits.held_out.labels
    _, first = np.unique(labels, return_index=True)
    chosen = first[np.linspace(0, len(first) - 1, min(count, len(first))).round().astype(int)]
    for number, index in enumerate(chosen.tolist(), start=1):
        image, _ = splits.held_out.read(index, index)
        draw_explanation(model, preprocess, image, splits.classes, folder / f"explain_{number}.png")


def draw_explanation(
    model: Encoder,
    preprocess: Preprocess,
    image: Image.Image,
    classes: tuple[str, ...],
    path: Path,
    chosen: list[int] | None = None,
) -> None:
    """Draws the trees of the chosen classes of an image.

    Left out, of the likeliest: four at most, none of them less than a fifth as likely as the first.
    """
    shown = preprocess.shown(image)
    batch = preprocess.normalised(shown)[None]
    with torch.no_grad():
        probabilities = model.eval()(batch)[0].softmax(dim=0)
    likely = probabilities.topk(min(_CLASSES_SHOWN, len(classes)))
    asked = chosen or likely.indices[likely.values >= 0.2 * likely.values[0]].tolist()
    trees = gradcat_batch(model, batch, asked)[0]
    names = [classes[tree.class_index] for tree in trees]
    save_figure(draw_trees(shown, trees, names, [probabilities[one].item() for one in asked]), path)


def digit_explanations(
    model: Encoder, preprocess: Preprocess, data: DigitsData, folder: Path | None, count: int = 500, drawn: int = 2
) -> dict[str, Any]:
    """How often GradCAT leads to the digit it is asked for, on held-out mosaics of four different digits.

    Asks for each of the four digits of `count` mosaics; a path hits when its first quadrant is the digit's (chance
    25 %). The same with the sign flipped is the control. Draws the first few mosaics into `folder`, if there is one.
    Returns {"quadrant_hits", "flipped_sign", "asked", "mosaics"}, rates as fractions.
    """
    mosaics = digit_mosaics("held_out", seed=0, count=count, canvas=data.canvas, held_out=data.held_out)
    if folder:
        for number in range(min(drawn, count)):
            image = Image.fromarray(mosaics.images[number])
            path = folder / f"explain_mosaic_{number + 1}.png"
            draw_explanation(model, preprocess, image, CLASSES, path, mosaics.digits[number].tolist())
    images = torch.stack([preprocess.tensor(Image.fromarray(image)) for image in mosaics.images])
    return {
        "quadrant_hits": _quadrant_hits(model, images, mosaics, sign=1),
        "flipped_sign": _quadrant_hits(model, images, mosaics, sign=-1),
        "asked": 4 * count,
        "mosaics": count,
    }


def _quadrant_hits(model: Encoder, images: Tensor, mosaics: Mosaics, sign: int) -> float:
    """Share of (mosaic, digit) pairs whose path starts in the digit's quadrant."""
    steps = []
    for part, digits in zip(images.split(100), np.array_split(mosaics.digits, -(-len(images) // 100)), strict=True):
        explained = gradcat_batch(model, part, digits, sign=sign)
        steps.append([[tree.path[:1] for tree in trees] for trees in explained])
    paths = np.concatenate([np.array(one) for one in steps]).reshape(-1, 1)
    places = np.tile(np.arange(4), len(images)).reshape(-1, 1)
    return path_hit_rate(paths, places)[0]
