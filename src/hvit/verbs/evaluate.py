"""Scores of a run or of weights: accuracy, features of a pretrained encoder, or the distance of generated images."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from hvit.errors import UserError
from hvit.models.weights.open import open_any
from hvit.runs.kind import Report, ScoreRequest, silent
from hvit.runs.kinds import kind_of
from hvit.tasks.task import Scores
from hvit.training.distribute import processes

DataKind = Literal["digits", "cifar10", "cifar100", "fashion_mnist", "folder", "clips", "moving_digits"]


def evaluate(
    target: Path,
    kind: DataKind | None = None,
    root: str | None = None,
    device: str = "auto",
    report: Report = silent,
    fast: bool = False,
    auroc: bool = False,
) -> Scores:
    """Scores a run, or a weights file, in float32 on the held-out part of a data set.

    Of a classifier: accuracy. Of a masked autoencoder: its loss, and the accuracy of the ten nearest training images
    and of a linear probe on the features of its encoder. Of the generator of a run: how far its images are from real
    ones (see `Generate.evaluate`).

    target: a run folder or a weights file. kind: what to evaluate on; default: the data of the run, or for weights with
    a root a folder of images. root: where that data is. report: called with notes on the data. fast: prepare the
    classifier for inference first (`prepare_for_inference`); the scores then have "fast", what was chosen. auroc: also
    compute the area under the ROC curve and the average precision of every class.
    Of several processes, as torchrun starts them, each computes a part of the held-out data.
    Raises UserError when the classes differ.
    """
    opened = open_any(target)
    run = kind_of(opened.model.config)
    if fast and not run.can_be_prepared:
        raise UserError(f"--fast is for classifiers, and {target} holds none; omit it")
    with processes(device) as ranks:
        return run.score(ScoreRequest(target, opened, kind, root, ranks, report, fast, auroc))
