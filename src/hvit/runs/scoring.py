"""What scoring weights again takes, whatever their kind: the data to evaluate on, prepared as in training."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Literal

from rich.console import Console

from hvit.data.batches import batches_before, evaluation_batches
from hvit.data.images.folders import FolderData
from hvit.data.images.listing import is_image_or_array_name, show
from hvit.data.layout import class_folders, find_layout, spelling
from hvit.data.open import (
    CifarData,
    ClipData,
    DataConfig,
    DigitsData,
    FashionData,
    MovingDigitsData,
    Splits,
    moved,
    open_data,
)
from hvit.data.preprocess import Preprocess, stored_preprocess
from hvit.data.sets import ImageSet
from hvit.errors import UserError
from hvit.labels import LabelSpec
from hvit.progress import DataOpening
from hvit.recipe import read_recipe
from hvit.run_names import RECIPE
from hvit.runs.kind import ScoreRequest
from hvit.tasks.task import Before, Outputs, Scores, Task, join
from hvit.training.distribute import Processes

Labels = Literal["folders", "none", "auto"]
_BATCH = 64  # images, or frames of clips


def open_held_out(request: ScoreRequest, labels_needed: bool) -> tuple[DataConfig, Splits, Preprocess]:
    """The data to evaluate on, opened, with the preprocessing of the weights.

    Held out is its test set, where there is one. labels_needed: whether a folder without classes is refused. Raises
    UserError for data that cannot be opened.
    """
    opened, config = request.opened, request.opened.model.config
    data = data_to_score(request.target, request.data_kind, request.root, "folders" if labels_needed else "auto")
    data = with_levels(data, opened.labels)
    stored = (
        stored_preprocess(opened.preprocess, config.input_size, show(request.target)) if opened.preprocess else None
    )
    if stored and isinstance(data, FolderData | ClipData):
        # Files are read as in training, whatever the values of these files are.
        data = replace(data, grey_range=stored.grey_range, page=stored.page)
    frames = config.input_size[0] if len(config.input_size) == 3 else None
    with DataOpening(Console(stderr=True)) as progress:
        splits = open_data(data, 0, config.in_channels, frames, progress=progress)
    if splits.test is not None:
        note = (
            f"Scores are of the {len(splits.test):,} test samples, not of the {len(splits.held_out):,} for validation."
        )
        splits = replace(splits, held_out=splits.test, notes=(*splits.notes, note))
    if splits.notes:
        request.report({"notes": "\n".join(splits.notes)})
    preprocess = stored or Preprocess(
        config.input_size,
        splits.mean,
        splits.std,
        0.875,
        "bilinear",
        None,
        splits.grey_range,
        splits.page,
        splits.channels,
    )
    return data, splits, preprocess


def score_held_out(task: Task, splits: Splits, preprocess: Preprocess, ranks: Processes) -> Scores:
    """The task's scores of all held-out samples, and all views of clips; each process computes a part of them."""
    outputs = ranks.gather(lambda: outputs_of_part(task, splits.held_out, preprocess, ranks))
    return ranks.of_first(lambda: task.scores_of(join(outputs)))


def outputs_of_part(
    task: Task, images: ImageSet, preprocess: Preprocess, ranks: Processes, workers: int = 0
) -> Outputs:
    """What the task's networks make of this process's part of a set, with all views of clips."""
    batch_size = held_out_batch_size(preprocess)
    batches = evaluation_batches(
        images, preprocess=preprocess, batch_size=batch_size, rank=ranks.rank, world_size=ranks.world_size,
        workers=workers,
    )  # fmt: skip
    count = batches_before(len(images) * prod(images.views), batch_size, ranks.rank, ranks.world_size)
    on_device = ({name: value.to(ranks.device) for name, value in batch.items()} for batch in batches)  # pyright: ignore[reportAttributeAccessIssue]
    return task.outputs(task.networks, on_device, Before(count, count * batch_size))


def held_out_batch_size(preprocess: Preprocess) -> int:
    """Images, or clips, that are evaluated together: as many frames as 64 images have."""
    return max(1, _BATCH // preprocess.input_size[0]) if preprocess.takes_clips else _BATCH


def data_to_score(target: Path, kind: str | None, root: str | None, labels: Labels) -> DataConfig:
    """The run's own data, with its own split, where the kind is the same; else the kind's usual settings."""
    if (target / RECIPE).is_file():
        own = read_recipe(target).data
        if kind in (None, own.kind):
            return moved(own, root)
    if kind is None and root is None:
        raise UserError(f"{target} is no run folder, so say what to test on, with --data or --root")
    return usual_data(kind, root, labels)


def with_levels(data: DataConfig, labels: LabelSpec) -> DataConfig:
    """The data with the levels of a model's classes, where its folders are those of the coarsest level."""
    if not isinstance(data, FolderData | ClipData) or not labels.levels or data.label_levels or not data.root:
        return data
    listed = data.shards if isinstance(data, FolderData) else data.train_list
    if data.table or listed:
        return data
    layout = find_layout(data.root, "images", is_image_or_array_name, False, lambda _: True)
    found = {spelling(name) for name in class_folders(layout.held_out or layout.train)[0]}
    if not found <= set(labels.levels[0].classes):
        return data
    return replace(data, label_levels=tuple(level.name for level in labels.levels))


def usual_data(kind: str | None, root: str | None, labels: Labels = "folders") -> DataConfig:
    """Data of a kind in a folder, with its usual settings; no kind stands for a folder of images."""
    if kind in ("digits", "moving_digits"):
        return moved(DigitsData() if kind == "digits" else MovingDigitsData(), root)
    if kind == "clips":
        return ClipData(root=root or "", labels=labels)
    if kind in ("cifar10", "cifar100"):
        return CifarData(kind=kind, root=root or "")
    if kind == "fashion_mnist":
        return FashionData(root=root or "")
    return FolderData(root=root or "", labels=labels)
