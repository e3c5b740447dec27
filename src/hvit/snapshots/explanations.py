"""What a run shows of its explanations: pictures of a few held-out images, and how often the tree is right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from einops import reduce
from PIL import Image

from hvit.data.images.digits import CLASSES, digit_mosaics, open_digits
from hvit.data.open import DigitsData, Splits
from hvit.data.preprocess import Preprocess
from hvit.explain.drawing.canvas import save_in_both_themes
from hvit.explain.drawing.tree_picture import draw_trees
from hvit.explain.methods.block_shapley import block_shapley
from hvit.explain.methods.gradcat import gradcat_batch
from hvit.explain.tree import Tree
from hvit.files import JsonObject, replacing
from hvit.labels import LabelSpec
from hvit.metrics.classification import path_hit_rate
from hvit.models.layers.encoder import Encoder
from hvit.snapshots.answers import answers_of, in_words, most_asked, reread, shown_answers

SAMPLES_DRAWN, MOSAICS_DRAWN = 6, 4
"""Pictures of explanations that a run has."""
_CLASSES_SHOWN = 4
_IMAGES_AT_ONCE = 100


def draw_samples(
    model: Encoder,
    preprocess: Preprocess,
    splits: Splits,
    folder: Path,
    temperature: float = 1.0,
    count: int | None = None,
    labels: LabelSpec | None = None,
) -> list[dict[str, object]]:
    """Writes `explain_<number>.png` for held-out images of different classes: the trees of their most probable classes.

    temperature: of the probabilities. count: of images; default: `SAMPLES_DRAWN`. labels: what the model's outputs are;
    default: as of the data. Returns what a reader should know of each, as `describe_sample`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    spec, truth = labels or splits.labels, splits.held_out.labels
    _, first = np.unique(_to_tell_apart(truth), return_index=True)
    number = min(SAMPLES_DRAWN if count is None else count, len(first))
    chosen = first[np.linspace(0, len(first) - 1, number).round().astype(int)]
    described = []
    for number, index in enumerate(chosen.tolist(), start=1):
        image, _ = splits.held_out.read(index, index)
        name = f"explain_{number}"
        shares, _ = draw_explanation(
            model, preprocess, cast(Image.Image, image), splits.classes, folder / f"{name}.png",
            temperature=temperature, labels=spec,
        )  # fmt: skip
        if spec.has_classes:
            described.append(describe_sample(splits, index, name, int(shares.argmax()), float(shares.max())))
            continue
        wanted, found = (in_words(values.tolist(), spec) for values in (truth[index], shares))
        described.append({"picture": name, "sample": splits.held_out.name(index), "class": wanted, "predicted": found})
    return described


def _to_tell_apart(labels: np.ndarray) -> np.ndarray:
    """One number a sample: its class, how many classes it has, or its first number, from low to high."""
    if labels.ndim == 1:
        return labels
    return labels.sum(axis=1) if np.isin(labels, (0, 1)).all() else labels[:, 0]


def draw_mistakes(
    scores: JsonObject, splits: Splits, preprocess: Preprocess, folder: Path, count: int = 12
) -> list[dict[str, object]]:
    """Writes `mistake_<number>.png` for the held-out images that were misclassified with the highest probability.

    scores: as `Classify.evaluate` gives them. The images are as the model sees them. Returns what a reader should know
    of each, as `describe_sample`, the highest probability first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    answers = list(zip(scores["labels"], scores["predictions"], scores["confidences"], strict=True))
    wrong = [index for index, (label, guess, _) in enumerate(answers) if label != guess]
    described = []
    for number, index in enumerate(sorted(wrong, key=lambda one: -answers[one][2])[:count], start=1):
        image, _ = splits.held_out.read(index, index)
        name, (_, guess, confidence) = f"mistake_{number}", answers[index]
        with replacing(folder / f"{name}.png") as file:
            preprocess.shown(cast(Image.Image, image)).save(file, "PNG")
        described.append(describe_sample(splits, index, name, guess, confidence))
    return described


def describe_sample(splits: Splits, index: int, picture: str, guess: int, confidence: float) -> dict[str, object]:
    """What a caption says of a held-out sample: the picture's name, its own, its class, and what was predicted."""
    return {
        "picture": picture,
        "sample": splits.held_out.name(index),
        "class": splits.classes[int(splits.held_out.labels[index])],
        "predicted": splits.classes[guess],
        "confidence": round(confidence, 4),
    }


def draw_explanation(
    model: Encoder,
    preprocess: Preprocess,
    image: Image.Image,
    classes: tuple[str, ...],
    path: Path,
    chosen: list[int] | None = None,
    temperature: float = 1.0,
    labels: LabelSpec | None = None,
) -> tuple[torch.Tensor, list[Tree]]:
    """Draws the trees of the chosen classes of an image, by block Shapley.

    Returns the probability of every class (or the numbers, where labels are), and the trees. chosen: default, the most
    probable classes: four at most, none of them less than a fifth as probable as the first. labels: what the outputs
    are, if not one class a sample.
    """
    spec = labels or LabelSpec("single", classes)
    shown = preprocess.shown(image)
    batch = preprocess.normalised(shown)[None]
    with torch.no_grad():
        probabilities = answers_of(model.eval()(batch)[0] / temperature, spec)
    likely = most_asked(probabilities, spec, _CLASSES_SHOWN)
    if spec.kind != "regression":
        likely = [one for one in likely if probabilities[one] >= 0.2 * probabilities[likely[0]]]
    asked = chosen or likely
    trees = reread(block_shapley(model, batch, asked, exact=False)[0], spec, classes)
    names, shares = shown_answers(
        [classes[tree.class_index] for tree in trees], [probabilities[one].item() for one in asked], spec
    )
    save_in_both_themes(lambda _: draw_trees(shown, trees, names, shares, all_names=classes), path)
    return probabilities, trees


def digit_explanations(
    model: Encoder, preprocess: Preprocess, data: DigitsData, folder: Path | None, count: int = 500
) -> dict[str, object]:
    """How often GradCAT leads to the digit it is asked for, on held-out digits.

    Asks for each of the four different digits of `count` mosaics; a path hits when its first quadrant is the digit's
    (chance 25 %). The same with the sign flipped is the control. Then asks for the one digit of every held-out canvas;
    there a path hits when its first quadrant holds most of the ink. Draws the first mosaics into `folder`, if there is
    one. Returns {"quadrant_hits", "flipped_sign", "single_object_hits", "asked", "mosaics"}, rates as fractions, and
    of the mosaics that were drawn "pictures": the digits from top left to bottom right, and how many paths hit.
    """
    mosaics = digit_mosaics("held_out", seed=0, count=count, canvas=data.canvas, held_out=data.held_out)
    drawn_mosaics: list[dict[str, object]] = []
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(min(MOSAICS_DRAWN, count)):
            image, digits = Image.fromarray(mosaics.images[number]), mosaics.digits[number].tolist()
            name = f"explain_mosaic_{number + 1}"
            _, trees = draw_explanation(model, preprocess, image, CLASSES, folder / f"{name}.png", digits)
            hits = sum(tree.path[0] == place for place, tree in enumerate(trees))
            drawn_mosaics.append({"picture": name, "sample": f"mosaic {number + 1}", "digits": digits, "hits": hits})
    places = np.tile(np.arange(4), (count, 1))
    alone = open_digits(replace(data, digits_per_canvas=(1, 1)), seed=0, in_channels=1).held_out
    canvases = np.stack([np.asarray(alone.read(index, index)[0]) for index in range(len(alone))])
    ink = reduce(canvases.astype(np.int64), "n (y h) (x w) -> n (y x)", "sum", y=2, x=2)
    return {
        "quadrant_hits": _quadrant_hits(model, preprocess, mosaics.images, mosaics.digits, places),
        "flipped_sign": _quadrant_hits(model, preprocess, mosaics.images, mosaics.digits, places, sign=-1),
        "single_object_hits": _quadrant_hits(
            model, preprocess, canvases, alone.labels[:, None], ink.argmax(axis=1)[:, None]
        ),
        "asked": 4 * count,
        "mosaics": count,
        **({"pictures": drawn_mosaics} if folder else {}),
    }


def _quadrant_hits(
    model: Encoder, preprocess: Preprocess, images: np.ndarray, classes: np.ndarray, places: np.ndarray, sign: int = 1
) -> float:
    """Share of paths whose first quadrant is the right one.

    images: (n, height, width) bytes. classes, places: (n, k), what is asked for and the quadrant where it is.
    """
    steps = []
    for start in range(0, len(images), _IMAGES_AT_ONCE):
        part = slice(start, start + _IMAGES_AT_ONCE)
        batch = torch.stack([preprocess.tensor(Image.fromarray(image)) for image in images[part]])
        steps += [[tree.path[0] for tree in trees] for trees in gradcat_batch(model, batch, classes[part], sign=sign)]
    return path_hit_rate(np.reshape(steps, (-1, 1)), places.reshape(-1, 1))[0]
