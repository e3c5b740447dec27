"""Scores of a run or of weights: a classifier's answers, what a pretrained encoder tells apart, or made images."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from torch import Tensor

from hvit.data.augment import Preprocess
from hvit.data.batches import evaluation_batches
from hvit.data.images.digits import SMALLEST_CANVAS
from hvit.data.images.folders import FolderData
from hvit.data.images.reading import show
from hvit.data.layout import spelling
from hvit.data.open import CifarData, ClipData, DataConfig, DigitsData, MovingDigitsData, Splits, moved, open_data
from hvit.data.preprocess import stored_preprocess
from hvit.errors import UserError
from hvit.explain.methods.gradcat import has_tree
from hvit.files import write_text
from hvit.metrics.classification import confusion_matrix, linear_probe_accuracy, nearest_neighbour_accuracy
from hvit.models.gan.generator import Generator
from hvit.models.inference.prepare import prepare_for_inference
from hvit.models.layers.encoder import Encoder
from hvit.models.masked.model import MaskedAutoencoder
from hvit.models.weights.save import open_any
from hvit.progress import DataOpening
from hvit.recipe import RECIPE, read_recipe
from hvit.snapshots.explanations import digit_explanations
from hvit.snapshots.features import encoder_features
from hvit.tasks.classify import Classify
from hvit.tasks.reconstruct import Reconstruct
from hvit.training.distribute import choose_device
from hvit.verbs.generate import score_generator

DataKind = Literal["digits", "cifar10", "cifar100", "folder", "clips", "moving_digits"]
Tell = Callable[[dict[str, str]], object]
CLIP_RESULTS = "clips.jsonl"
_TEST_BATCH = 64  # images, or frames of clips
_MOST_LEARNED_FROM = 50_000


def ignore(lines: dict[str, str]) -> None:
    """Tells nobody."""


def evaluate(
    target: Path,
    kind: DataKind | None = None,
    root: str | None = None,
    device: str = "auto",
    tell: Tell = ignore,
    fast: bool = False,
) -> dict[str, Any]:
    """Scores a run, or a weights file, in float32 on the held-out part of a data set.

    Of a classifier: accuracy. Of a masked autoencoder: its loss, and the shares of held-out images whose classes are
    told by the features of its encoder, by the vote of the ten nearest training images and by a linear classifier
    that is fitted to the training images. Of the generator of a run: how far its images are from real ones (see
    `Generate.evaluate`).

    target: a run folder or a weights file. kind: what to test on; left out, the data of the run, or for weights with a
    root a folder of pictures. root: where that data is. tell: called with notes on the data. fast:
    prepare the classifier for inference first (`prepare_for_inference`); the scores then have "fast", what was chosen.
    Raises UserError when the classes differ.
    """
    opened = open_any(target)
    if fast and not isinstance(opened.model, Encoder):
        raise UserError(f"--fast is for classifiers, and {target} holds none; leave it out")
    if isinstance(opened.model, Generator):
        return score_generator(target, opened, kind, root, choose_device(device))  # pyright: ignore[reportArgumentType]
    model, config = opened.model, opened.model.config
    pretrained = isinstance(model, MaskedAutoencoder)
    data = _data_to_test_on(target, kind, root, pretrained)
    stored = stored_preprocess(opened.preprocess, config.input_size, show(target)) if opened.preprocess else None
    if stored and isinstance(data, FolderData | ClipData):
        # Files are read as in training, whatever the values of these files are.
        data = replace(data, grey_range=stored.grey_range, page=stored.page)
    frames = config.input_size[0] if len(config.input_size) == 3 else None
    with DataOpening(Console(stderr=True)) as progress:
        splits = open_data(data, 0, config.in_channels, frames, progress=progress)
    if splits.notes:
        tell({"notes": "\n".join(splits.notes)})
    preprocess = stored or Preprocess(
        config.input_size, splits.mean, splits.std, 0.875, "bilinear", None, splits.grey_range, splits.page
    )
    model.to(choose_device(device))
    if pretrained:
        return _evaluate_encoder(model, splits, preprocess, tell)
    if opened.classes and list(map(spelling, opened.classes)) != list(map(spelling, splits.classes)):
        raise UserError(
            f"{target} tells {len(opened.classes)} classes apart ({_some(opened.classes)}), but the data has "
            f"{len(splits.classes)} ({_some(splits.classes)})"
        )
    if len(splits.classes) != config.num_classes:
        raise UserError(f"{target} has {config.num_classes} classes, but the data has {len(splits.classes)}")
    asked: Any = model
    if fast:
        asked = prepare_for_inference(model, _batch_size(preprocess))
        tell({"fast": str(asked.choice)})
    if preprocess.takes_clips:
        scores = score_clips(asked, splits, preprocess)
    else:
        task = Classify(asked, splits.classes, asdict(preprocess))
        scores = task.evaluate(task.networks, _held_out(splits, preprocess, model))
    if fast:
        scores["fast"] = str(asked.choice)
    scores["classes"] = list(splits.classes)
    scores["sample_kind"] = "clips" if preprocess.takes_clips else "images"
    scores["confusion"] = confusion_matrix(scores["labels"], scores["predictions"], len(splits.classes))
    if isinstance(data, DigitsData) and data.canvas >= SMALLEST_CANVAS and has_tree(model):
        scores["explanations"] = digit_explanations(model.cpu(), preprocess, data, None)
    return scores


def score_clips(model: Encoder, splits: Splits, preprocess: Preprocess, results: Path | None = None) -> dict[str, Any]:
    """Scores of a classifier of clips over all their views (see `Classify.evaluate`).

    results: a file of JSON lines to write, one a held-out clip: its name, its class, and the class it was taken for.
    """
    task = Classify(model.eval(), splits.classes, asdict(preprocess))
    scores = task.evaluate(task.networks, _held_out(splits, preprocess, model))
    scores["views"] = list(splits.held_out.views)
    if results is not None:
        pairs = zip(scores["labels"], scores["predictions"], strict=True)
        lines = [
            json.dumps(
                {
                    "clip": splits.held_out.name(number),
                    "class": splits.classes[label],
                    "predicted": splits.classes[guess],
                    "right": label == guess,
                }
            )
            for number, (label, guess) in enumerate(pairs)
        ]
        write_text(results, "\n".join(lines) + "\n")
    return scores


def _evaluate_encoder(model: MaskedAutoencoder, splits: Splits, preprocess: Preprocess, tell: Tell) -> dict[str, Any]:
    task = Reconstruct(model.eval(), preprocess, labelled=False)
    scores = task.evaluate(task.networks, _held_out(splits, preprocess, model))
    scores["sample_kind"] = "clips" if preprocess.takes_clips else "images"
    if len(splits.classes) < 2:
        samples = "clips" if preprocess.takes_clips else "images"
        tell({"notes": f"The {samples} have no labels, so features are not probed for classes."})
        return scores
    known = encoder_features(model, splits.train, preprocess, _MOST_LEARNED_FROM)
    asked = encoder_features(model, splits.held_out, preprocess, len(splits.held_out))
    return scores | {
        "nearest_neighbours": nearest_neighbour_accuracy(*known, *asked),
        "linear_probe": linear_probe_accuracy(*known, *asked),
        "learned_from": len(known[1]),
    }


def _held_out(splits: Splits, preprocess: Preprocess, model: torch.nn.Module) -> Iterator[dict[str, Tensor]]:
    """Every held-out image once, on the model's device."""
    device = next(model.parameters()).device
    for batch in evaluation_batches(splits.held_out, preprocess=preprocess, batch_size=_batch_size(preprocess)):
        yield {name: value.to(device) for name, value in batch.items()}  # pyright: ignore[reportAttributeAccessIssue]


def _batch_size(preprocess: Preprocess) -> int:
    return max(1, _TEST_BATCH // preprocess.input_size[0]) if preprocess.takes_clips else _TEST_BATCH


def _data_to_test_on(target: Path, kind: DataKind | None, root: str | None, pretrained: bool) -> DataConfig:
    """The run's own data, with its own split, where the kind is the same; else the kind's usual settings."""
    if (target / RECIPE).is_file():
        own = read_recipe(target).data
        if kind in (None, own.kind):
            return moved(own, root)
    if kind in ("digits", "moving_digits"):
        return moved(DigitsData() if kind == "digits" else MovingDigitsData(), root)
    if kind == "clips":
        return ClipData(root=root or "", labels="auto" if pretrained else "folders")
    if kind in ("cifar10", "cifar100"):
        return CifarData(kind=kind, root=root or "")
    if kind is None and root is None:
        raise UserError(f"{target} is no run folder, so say what to test on, with --data or --root")
    return FolderData(root=root or "", labels="auto" if pretrained else "folders")


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:5]) + (", …" if len(listed) > 5 else "")
