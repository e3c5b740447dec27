"""From a recipe to all that training needs: opened data, schedule, plan, model, and a look at the first batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import nn

from hvit.data.augment import skipped_notes
from hvit.data.batches import steps_per_epoch, train_batches
from hvit.data.device_augment import DeviceAugment
from hvit.data.mixing import check_mixing, join_weights, part_weights
from hvit.data.open import FolderData, Splits, open_data, with_full_paths
from hvit.data.preprocess import Preprocess
from hvit.data.tables.read import Table
from hvit.errors import UserError
from hvit.explain.drawing.canvas import save_in_both_themes
from hvit.models.catalogue import name_of
from hvit.models.weights.hub import full_path, named_on_hub
from hvit.models.weights.load import download_timm, load_weights
from hvit.models.weights.teacher import teacher_state
from hvit.pictures import draw_image_grid
from hvit.progress import DataOpening
from hvit.randomness import derive_seed
from hvit.recipe import Recipe
from hvit.runs.kind import Kind, Prepared, Report, silent
from hvit.runs.memory import refuse_too_large
from hvit.runs.starting import TEACHER, WEIGHTS_BY_NAME
from hvit.training.activations import checkpointable_blocks
from hvit.training.batch_norm import has_batch_norm
from hvit.training.distribute import Processes, check_compiler
from hvit.training.parallel import Division
from hvit.training.schedule import Schedule

_IMAGES_DRAWN = 12


def with_absolute_paths(recipe: Recipe, kind: Kind) -> Recipe:
    """The same recipe with paths that hold wherever it is resumed from, and of a model on the hub its commit."""
    recipe = replace(recipe, data=with_full_paths(recipe.data))
    if recipe.weights is not None and recipe.weights not in WEIGHTS_BY_NAME:
        recipe = replace(recipe, weights=full_path(recipe.weights))
    return kind.with_full_paths(recipe)


def prepare(
    recipe: Recipe, kind: Kind, ranks: Processes, remember: bool = True, table: Table | None = None
) -> Prepared:
    """Opens the recipe's data and derives the rest. Raises UserError for what cannot be run.

    remember: whether an index, or a cache, may be written. table: the samples that a Python program holds.
    """
    opened: dict[str, Splits] = {}
    model = recipe.model
    if recipe.augment.on_device and isinstance(recipe.data, FolderData) and recipe.data.cache:
        raise UserError("a cache of decoded images (data.cache) is read by the data workers: omit it, or on_device")

    def look() -> None:
        frames = model.input_size[0] if len(model.input_size) == 3 else None
        with DataOpening(Console(stderr=True)) as progress:
            splits = open_data(
                recipe.data, recipe.seed, model.in_channels, frames, progress=progress, remember=remember, table=table
            )
        opened.update(splits=kind.fit_splits(recipe, splits))

    # One process looks at the files, so that all agree on which of them can be read.
    ranks.first_only(look)
    splits = ranks.share(opened)["splits"]
    recipe = kind.fit_to_data(recipe, splits)
    preprocess = Preprocess(
        model.input_size, *kind.statistics(recipe, splits), recipe.crop, recipe.interpolation, splits.held_out.sampling,
        splits.grey_range, splits.page, splits.channels,
    )  # fmt: skip
    if recipe.loop.compile:
        check_compiler(ranks.device)
    if recipe.loop.checkpoint_activations:
        checkpointable_blocks(kind.empty_networks(recipe))
    epoch = steps_per_epoch(len(splits.train), recipe.loop.batch_size)
    schedule = Schedule.of(recipe.loop, recipe.optimize, epoch, ranks)
    refuse_division(recipe, kind)
    Division.of(recipe.loop, ranks)
    check_mixing(recipe.augment, recipe.loop.batch_size, ranks.world_size)
    return Prepared(recipe, splits, preprocess, schedule, ranks)


def refuse_division(recipe: Recipe, kind: Kind) -> None:
    """Raises UserError where networks are to be sharded that have to stay whole."""
    mode = recipe.loop.parallel
    if mode in ("fsdp", "hsdp") and kind.whole_because:
        raise UserError(f"loop.parallel {mode} does not fit {recipe.name}: {kind.whole_because}; use ddp")


def check_memory(prepared: Prepared, kind: Kind) -> None:
    """Raises UserError, with the numbers, where this machine has too little memory to train it."""
    division = Division.of(prepared.recipe.loop, prepared.ranks, by_block=kind.by_block)
    refuse_too_large(prepared.recipe, kind, prepared.schedule.images_per_device, division)


def plan_lines(prepared: Prepared, kind: Kind) -> dict[str, str]:
    """What will happen, in lines a person reads before it does."""
    recipe, schedule, ranks, splits = prepared.recipe, prepared.schedule, prepared.ranks, prepared.splits
    what, size = prepared.sample_kind, len(splits.train)
    notes = splits.notes + kind.training_notes(prepared)
    notes += skipped_notes(recipe.augment, len(prepared.preprocess.mean)) + _batch_norm_notes(recipe, kind)
    try:
        check_memory(prepared, kind)
    except UserError as error:
        notes += (f"This machine cannot train it: {error}.",)
    processes = Division.of(recipe.loop, ranks, by_block=kind.by_block).describe()
    return {
        "recipe": f"{recipe.name}: {recipe.summary}",
        **kind.describe(recipe),
        "weights": f"from {recipe.weights}" if recipe.weights else f"random initialisation, seed {recipe.seed}",
        "data": f"{recipe.data.kind}: {size:,} {what} to train on, {len(splits.held_out):,} held out, "
        f"{f'{len(splits.test):,} to test on, ' if splits.test else ''}{_labels_of(splits)}",
        **kind.describe_training(prepared),
        **kind.describe_delivery(prepared),
        **({"processes": processes} if processes else {}),
        "device": f"{ranks.device}, {schedule.precision}, {recipe.loop.workers} data workers",
        **({"notes": "\n".join(notes)} if notes else {}),
    }


def _batch_norm_notes(recipe: Recipe, kind: Kind) -> tuple[str, ...]:
    """The sentence on what the parts of a step change, which is nothing for networks without batch norm."""
    parts = recipe.loop.accumulate
    if parts == 1 or not any(map(has_batch_norm, kind.empty_networks(recipe))):
        return ()
    return (
        f"Batch norm takes its statistics from each of the {parts} parts of a step alone, so another "
        f"--loop.accumulate, or with it another number of processes, trains a different network.",
    )


def _labels_of(splits: Splits) -> str:
    """What the labels of the data are, in a few words."""
    if not splits.has_labels:
        return "no labels"
    if splits.labels.kind != "single" or splits.labels.levels:
        return splits.labels.describe()
    return f"{len(splits.classes)} classes"


def new_model(recipe: Recipe, kind: Kind, report: Report = silent) -> nn.Module | tuple[nn.Module, ...]:
    """The recipe's model at random initialisation from its seed, with the weights it starts from, where it names some.

    Raises UserError for weights that are not there or do not fit.
    """
    source = recipe.weights
    # Before the model takes memory.
    if source == "timm":
        if not kind.on_timm:
            raise UserError("timm has no weights of generators; name a file with --weights")
        source = download_timm(name_of(kind.starting_config(recipe)))
    elif source == TEACHER:
        source = teacher_state(kind.starting_config(recipe))
    elif (
        source is not None and not named_on_hub(source) and not os.path.lexists(source)
    ):  # of names that no file can have, too
        raise UserError(f"there is no weights file {source}, which this run starts from; name one with --weights")
    torch.manual_seed(derive_seed(recipe.seed, "weights"))
    model = kind.build(recipe)
    if source is not None:
        loaded = load_weights(
            kind.starting_network(model),
            source,
            position_resize=recipe.position_resize,
            weights_input_size=recipe.weights_input_size,
        )
        report({"loaded": str(loaded)})
    return model


def augment_on_device(
    prepared: Prepared, batch_size: int, rank: int = 0, world_size: int = 1
) -> Callable[[Mapping[str, torch.Tensor], int], dict[str, torch.Tensor]] | None:
    """What is done to the batches of a run on the device, if anything."""
    if not prepared.recipe.augment.on_device:
        return None
    augment = DeviceAugment(
        prepared.recipe.augment, prepared.preprocess, prepared.recipe.seed, batch_size, rank, world_size
    )

    def augmented(batch: Mapping[str, torch.Tensor], step: int) -> dict[str, torch.Tensor]:
        if "weights" not in batch:
            images, targets = augment(batch["images"], batch["targets"], step)
            return {**batch, "images": images, "targets": targets}
        images, joined = augment(batch["images"], join_weights(batch["targets"], batch["weights"]), step)
        targets, weights = part_weights(joined)
        return {**batch, "images": images, "targets": targets, "weights": weights}

    return augmented


def draw_training_images(prepared: Prepared, path: Path) -> None:
    """A few training images as the model sees them, augmented and mixed: the first thing to look at when it fails."""
    recipe, splits, preprocess = prepared.recipe, prepared.splits, prepared.preprocess
    batch = next(
        iter(
            train_batches(
                splits.train, num_classes=len(splits.classes), preprocess=preprocess, augment=recipe.augment,
                seed=recipe.seed, batch_size=_IMAGES_DRAWN, total_steps=1, label_kind=splits.labels.kind,
            )
        )
    )  # fmt: skip
    if augment := augment_on_device(prepared, _IMAGES_DRAWN):
        batch = augment(batch, 0)
    if preprocess.takes_clips:  # two clips, six frames of each
        chosen = np.linspace(0, preprocess.input_size[0] - 1, _IMAGES_DRAWN // 2).round().astype(int)
        images = batch["images"][:2, :, chosen].transpose(1, 2).flatten(0, 1)
        batch = {"images": images, "targets": batch["targets"][:2].repeat_interleave(len(chosen), 0)}
    pixels = preprocess.pictures_of(batch["images"]).numpy()
    captions = [""] * _IMAGES_DRAWN
    for number, shares in enumerate(batch["targets"] if splits.has_labels else ()):
        likely = shares.topk(min(2, len(shares)))
        pairs = list(zip(likely.values.tolist(), likely.indices.tolist(), strict=True))
        if splits.labels.kind == "regression":
            pairs = [(value, index) for index, value in enumerate(shares.tolist()[:2])]
            captions[number] = ", ".join(f"{splits.classes[index]} {value:.4g}" for value, index in pairs)
            continue
        captions[number] = ", ".join(f"{splits.classes[index]} {share:.2f}" for share, index in pairs if share > 0.05)
    images = [image[..., 0] if image.shape[-1] == 1 else image for image in pixels]
    save_in_both_themes(lambda theme: draw_image_grid(images, captions, columns=6, theme=theme), path)
