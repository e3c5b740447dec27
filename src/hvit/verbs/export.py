"""Exports a model to a file for other programs, compared with the model on real inputs before it is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from hvit.data.batches import evaluation_batches
from hvit.data.images.listing import list_images
from hvit.data.images.reading import read_image
from hvit.data.preprocess import Preprocess, stored_preprocess
from hvit.data.sets import IMAGENET_MEAN, IMAGENET_STD, ImageSet, statistics_for
from hvit.errors import UserError
from hvit.export.agreement import as_bytes, cam_correlation, check, first_steps, outputs_of, rates
from hvit.export.formats import format_of, written
from hvit.export.graph import Graph, Output, classifier_graph, generator_graph
from hvit.files import JsonObject
from hvit.markup import shown
from hvit.models.gan.generator import Generator
from hvit.models.layers.encoder import Encoder
from hvit.models.masked.model import MaskedAutoencoder
from hvit.models.weights.open import OpenedWeights, open_any
from hvit.run_names import RECIPE
from hvit.runs.kind import Report, ScoreRequest, silent
from hvit.runs.scoring import open_held_out
from hvit.runtime.about import Precision
from hvit.snapshots.features import some_images
from hvit.tasks.confidence import Confidence
from hvit.training.distribute import alone

_BATCH = 16
_CALIBRATED = 128


@dataclass(frozen=True)
class ExportRequest:
    """What `hvit export` was asked for."""

    target: Path
    """A run folder or a weights file."""
    format: str
    """One of `export.formats.FORMATS`."""
    out: Path
    """The file to write."""
    precision: Precision = "float32"
    """What the weights are converted to."""
    inside: bool = False
    """Whether normalisation and softmax are in the file."""
    outputs: tuple[Output, ...] = ("logits",)
    """What the file gives."""
    images: tuple[Path, ...] = ()
    """Images to compare on, instead of held-out data."""
    data: str | None = None
    """The kind of data to compare on; default: that of the run."""
    root: str | None = None
    """Where that data is."""
    compare: int = 64
    """How many inputs to compare on."""
    explain: int = 16
    """How many of them to explain."""


@dataclass(frozen=True)
class _Inputs:
    """What the file is compared on. values: normalised images, or latents and labels. labels: the true classes."""

    values: tuple[Tensor, ...]
    labels: np.ndarray | None = None
    calibration: Tensor | None = None


def export(request: ExportRequest, report: Report = silent) -> JsonObject:
    """Writes the file, and returns what was compared.

    {"file", "format", "precision", "preprocessing", "model", "size": bytes, "weights_size": of the float32 weights,
    "inputs": how many were compared, "difference": of the outputs, relative to the largest, "same_answers": share or
    None, "accuracy": {"before", "after"} or None, "first_step": share of explained inputs with the same first step of
    block Shapley, or None, "cam_correlation": or None, "rates": {"eager", "exported"} inputs a second}.

    Raises UserError, and leaves nothing behind, for what cannot be exported, and where the file does not compute what
    the model does.
    """
    format_of(request.format, request.out, request.precision)
    if request.compare < 1:
        raise UserError(f"--compare must be 1 or more; got {request.compare}")
    opened = open_any(request.target)
    if isinstance(opened.model, Generator):
        return _export_generator(request, opened.model)
    model = opened.model.encoder if isinstance(opened.model, MaskedAutoencoder) else cast(Encoder, opened.model)
    outputs = request.outputs
    if isinstance(opened.model, MaskedAutoencoder) and "logits" in outputs:
        raise UserError(f"{request.target} holds a masked autoencoder, without classes: give --outputs levels")
    preprocess = _preprocess(request.target, opened)
    confidence = Confidence.read(opened.confidence, shown(str(request.target)))
    graph = classifier_graph(
        model, outputs, preprocess, asdict(preprocess), inside=request.inside, classes=tuple(opened.classes),
        labels=opened.labels,
        temperature=confidence.temperature, unsure_below=confidence.unsure_below, precision=request.precision,
    )  # fmt: skip
    inputs = _images(request, opened, preprocess, report)
    return _compared(request, graph, inputs, model, preprocess)


def _export_generator(request: ExportRequest, model: Generator) -> JsonObject:
    if request.precision == "int8":
        raise UserError("generators are not exported in int8: there are no images to measure ranges by")
    graph = generator_graph(model, inside=request.inside, precision=request.precision)
    numbers = torch.Generator().manual_seed(0)
    values: tuple[Tensor, ...] = (torch.randn(request.compare, model.config.latent_dim, generator=numbers),)
    if model.config.num_classes:
        values = (*values, torch.arange(request.compare) % model.config.num_classes)
    return _compared(request, graph, _Inputs(values), None, None)


def _compared(
    request: ExportRequest, graph: Graph, inputs: _Inputs, model: Encoder | None, preprocess: Preprocess | None
) -> JsonObject:
    """Writes the file if it computes what the graph does."""

    def given(values: tuple[Tensor, ...]) -> tuple[np.ndarray, ...]:
        if request.inside and preprocess is not None:
            return (as_bytes(values[0], preprocess),)
        return tuple(one.numpy() for one in values)

    batches = [given(part) for part in zip(*(one.split(_BATCH) for one in inputs.values), strict=True)]
    calibration = [] if inputs.calibration is None else [given((one,))[0] for one in inputs.calibration.split(_BATCH)]
    before = outputs_of(graph, batches)
    with written(request.format, graph, request.out, calibration) as (file, size):
        after = outputs_of(file, batches)
        worst, equal = check(before, after, graph.about, shown(str(request.out)))
        steps = cam = accuracy = None
        if model is not None and preprocess is not None:
            cam = cam_correlation(model, before, after)
            if "logits" in request.outputs:
                steps = first_steps(graph, file, inputs.values[0][: request.explain], preprocess)
        if inputs.labels is not None and before.answers is not None and after.answers is not None:
            shares = ((one == inputs.labels).mean() for one in (before.answers, after.answers))
            accuracy = dict(zip(("before", "after"), map(float, shares), strict=True))
        eager, exported = rates([graph, file], batches[0])
    parameters = sum(one.numel() for one in graph.module.parameters())
    return {
        "file": str(request.out),
        "format": request.format,
        "precision": request.precision,
        "preprocessing": "inside" if request.inside else "outside",
        "model": graph.about.name,
        "inputs": {name: list(one.shape[1:]) for name, one in graph.inputs},
        "outputs": list(graph.outputs),
        "size": size,
        "weights_size": 4 * parameters,
        "compared": len(inputs.values[0]),
        "difference": worst,
        "same_answers": equal,
        "accuracy": accuracy,
        "first_step": steps,
        "explained": min(request.explain, len(inputs.values[0])) if steps is not None else 0,
        "cam_correlation": cam,
        "rates": {"eager": eager, "exported": exported, "batch": len(batches[0][0])},
    }


def _preprocess(target: Path, opened: OpenedWeights) -> Preprocess:
    """The preprocessing of the weights; without, ImageNet's, as `verbs.classifier.open_classifier` has it."""
    config = opened.model.config
    if opened.preprocess:
        return stored_preprocess(opened.preprocess, config.input_size, shown(str(target)))
    mean, std = statistics_for(IMAGENET_MEAN, IMAGENET_STD, config.in_channels)
    return Preprocess(config.input_size, mean, std, 0.875, "bilinear", grey_range="auto")


def _images(request: ExportRequest, opened: OpenedWeights, preprocess: Preprocess, report: Report) -> _Inputs:
    """The inputs to compare on: the given images, or held-out data, evenly from all over it."""
    if request.images:
        if preprocess.takes_clips:
            raise UserError("--images are for models of images, and this one takes clips: give --data clips and --root")
        files = list_images(request.images)[: request.compare]
        read = [read_image(file, len(preprocess.mean), preprocess.grey_range, preprocess.page) for file in files]
        values = torch.stack([preprocess.tensor(image) for image in read])
        return _Inputs((values,), None, values)
    if request.data is None and request.root is None and not (request.target / RECIPE).is_file():
        raise UserError(
            f"{shown(str(request.target))} is no run folder, so say what to compare on: --images FILES, or --root with "
            f"a folder of images"
        )
    _, splits, _ = open_held_out(
        ScoreRequest(request.target, opened, request.data, request.root, alone("cpu"), report, False), False
    )
    values, labels = _some(splits.reported, preprocess, request.compare)
    calibration = None
    if request.precision == "int8":
        calibration, _ = _some(splits.train, preprocess, _CALIBRATED)
    known = opened.labels.has_classes and len(opened.classes) == len(splits.classes) > 0
    return _Inputs((values,), labels if known else None, calibration)


def _some(images: ImageSet, preprocess: Preprocess, most: int) -> tuple[Tensor, np.ndarray | None]:
    """At most so many inputs and their classes; None for labels that are no single classes. Of clips one view each."""
    views = (1, 1) if preprocess.takes_clips else None
    rows = evaluation_batches(some_images(images, most), preprocess=preprocess, batch_size=_BATCH, views=views)
    found: Sequence[dict[str, Tensor]] = list(islice(rows, most))
    targets = torch.cat([row["targets"] for row in found])
    labels = targets.numpy() if targets.ndim == 1 else None
    return torch.cat([row["images"] for row in found]), labels
