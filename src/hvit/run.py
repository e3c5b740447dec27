"""The front page: recipe -> data -> model -> task -> loop -> report."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch

from hvit.data.augment import Preprocess
from hvit.data.batches import evaluation_batches, steps_per_epoch, train_batches
from hvit.data.digits import SMALLEST_CANVAS
from hvit.data.images import CifarData, DataConfig, DigitsData, FolderData, Splits, open_data
from hvit.errors import UserError
from hvit.explain.samples import digit_explanations, draw_samples, has_tree
from hvit.models import catalogue, translate
from hvit.models.layers import Encoder
from hvit.models.weights import open_weights
from hvit.randomness import derive_seed
from hvit.recipe import RECIPE, Recipe, read_recipe, write_recipe
from hvit.report import write_report
from hvit.tasks.classify import Classify
from hvit.training.checkpoint import has_checkpoint
from hvit.training.distribute import Processes, choose_device, processes
from hvit.training.loop import Trainer
from hvit.training.schedule import Schedule

DataKind = Literal["digits", "cifar10", "cifar100", "folder"]
SCORES = "scores.json"
PICTURES = "pictures"
_TEST_BATCH = 64


@dataclass(frozen=True)
class Prepared:
    """A recipe with its data opened, and everything that follows from both."""

    recipe: Recipe
    splits: Splits
    preprocess: Preprocess
    schedule: Schedule
    device: torch.device

    def plan(self) -> dict[str, str]:
        """What will happen, in lines a person reads before it does."""
        recipe, schedule, model = self.recipe, self.schedule, self.recipe.model
        name = catalogue.name_of(model)
        parameters = catalogue.count_parameters(catalogue.build_empty(model))
        size = "x".join(map(str, model.input_size))
        parts = self.recipe.loop.batch_size // schedule.images_per_device
        return {
            "recipe": f"{recipe.name}: {recipe.summary}",
            "model": f"{name}, {parameters:,} parameters, {catalogue.multiply_adds(model) / 1e9:.3g} G multiply-adds "
            f"on {model.in_channels}x{size}",
            "weights": f"from {recipe.weights}" if recipe.weights else f"new, from seed {recipe.seed}",
            "data": f"{recipe.data.kind}: {len(self.splits.train):,} images to learn from, "
            f"{len(self.splits.held_out):,} held out, {len(self.splits.classes)} classes",
            "steps": f"{schedule.total_steps:,} of {recipe.loop.batch_size} images "
            f"({parts} x {schedule.images_per_device}), {schedule.steps_per_epoch:,} an epoch",
            "learning rate": f"rises to {schedule.peak_learning_rate:.3g} in {schedule.warmup_steps:,.0f} steps, "
            f"then a cosine to 0 at step {schedule.cosine_steps:,}",
            "device": f"{self.device}, {schedule.precision}, {recipe.loop.workers} data workers",
            **({"notes": "\n".join(self.splits.notes)} if self.splits.notes else {}),
        }


def prepare(recipe: Recipe, ranks: Processes) -> Prepared:
    """Opens the recipe's data and derives the rest. Raises UserError for what cannot be run."""
    splits = open_data(recipe.data, recipe.seed, recipe.model.in_channels)
    model = recipe.model
    defaults = {catalogue.entry(name).config.num_classes for name in catalogue.list_models()}
    if model.num_classes not in defaults | {len(splits.classes)}:
        raise UserError(f"--model.num-classes says {model.num_classes}, but the data has {len(splits.classes)} classes")
    recipe = replace(recipe, model=replace(model, num_classes=len(splits.classes)))
    preprocess = Preprocess(model.input_size, splits.mean, splits.std, recipe.crop, recipe.interpolation)
    epoch = steps_per_epoch(len(splits.train), recipe.loop.batch_size)
    schedule = Schedule.of(recipe.loop, recipe.optimize, epoch, ranks)
    return Prepared(recipe, splits, preprocess, schedule, ranks.device)


def plan(recipe: Recipe) -> dict[str, str]:
    """What `train` would do, without doing it."""
    with processes(recipe.loop.device) as ranks:
        prepared = prepare(recipe, ranks)
    lines = prepared.plan()
    if recipe.weights is not None:
        new_model(prepared.recipe, lines.update)
    return lines


def train(recipe: Recipe, folder: Path, tell: Any = None) -> dict[str, Any]:
    """Carries out a recipe in a new run folder; returns the scores.

    tell: called with the plan (a dict of lines) before anything is learned.
    Raises UserError when the folder already holds a run, and as `prepare` and `Trainer` do.
    """
    if (folder / RECIPE).exists():
        raise UserError(f"{folder} already holds a run: `hvit resume {folder}` continues it, or choose another --out")
    with processes(recipe.loop.device) as ranks:
        prepared = prepare(recipe, ranks)
        model = new_model(prepared.recipe, tell if ranks.is_first else None)
        if ranks.is_first:
            _start_folder(prepared, folder)
        return _carry_out(prepared, model, folder, ranks, tell)


def resume(folder: Path, root: str | None = None, tell: Any = None) -> dict[str, Any]:
    """Continues the run in a folder exactly where its newest checkpoint left it; returns the scores.

    root: where the data is now, if it has moved.
    """
    recipe = read_recipe(folder)
    recipe = replace(recipe, data=_moved(recipe.data, root))
    with processes(recipe.loop.device) as ranks:
        prepared = prepare(recipe, ranks)
        start = replace(prepared.recipe, weights=None if has_checkpoint(folder) else recipe.weights)
        return _carry_out(prepared, new_model(start), folder, ranks, tell)


def new_model(recipe: Recipe, tell: Any = None) -> Encoder:
    """The recipe's model: new weights from the seed, then the weights it starts from, if any."""
    torch.manual_seed(derive_seed(recipe.seed, "weights"))
    model = catalogue.build(recipe.model)
    if recipe.weights is not None:
        source = recipe.weights
        if source == "timm":
            source = translate.download_timm(catalogue.name_of(recipe.model))
        report = translate.load_weights(model, source, position_resize=recipe.position_resize)
        if tell:
            tell({"loaded": str(report)})
    return model


def evaluate(
    target: Path, kind: DataKind | None = None, root: str | None = None, device: str = "auto"
) -> dict[str, Any]:
    """Scores a run, or a weights file, on the held-out part of a data set.

    target: a run folder or a weights file. kind: what to test on; left out, the data of the run, or for weights with a
    root a folder of pictures. root: where that data is. Raises UserError when the classes differ.
    """
    opened = open_weights(target)
    data = _data_to_test_on(target, kind, root)
    config = opened.model.config
    splits = open_data(data, 0, config.in_channels)
    if opened.classes and tuple(opened.classes) != splits.classes:
        raise UserError(
            f"{target} tells {len(opened.classes)} classes apart ({_some(opened.classes)}), but the data has "
            f"{len(splits.classes)} ({_some(splits.classes)})"
        )
    if len(splits.classes) != config.num_classes:
        raise UserError(f"{target} has {config.num_classes} classes, but the data has {len(splits.classes)}")
    preprocess = (
        Preprocess(**opened.preprocess)
        if opened.preprocess
        else Preprocess(config.input_size, splits.mean, splits.std, 0.875, "bilinear")
    )
    chosen = choose_device(device)
    model = opened.model.to(chosen)
    task = Classify(model, splits.classes, asdict(preprocess))
    batches = (
        {name: value.to(chosen) for name, value in batch.items()}  # pyright: ignore[reportAttributeAccessIssue]
        for batch in evaluation_batches(splits.held_out, preprocess=preprocess, batch_size=_TEST_BATCH)
    )
    scores = task.evaluate(task.networks, batches) | {"classes": list(splits.classes)}
    if isinstance(data, DigitsData) and data.canvas >= SMALLEST_CANVAS and has_tree(model):
        scores["explanations"] = digit_explanations(model.cpu(), preprocess, data, None)
    return scores


def _data_to_test_on(target: Path, kind: DataKind | None, root: str | None) -> DataConfig:
    if kind is None and (target / RECIPE).is_file():
        return _moved(read_recipe(target).data, root)
    if kind == "digits":
        return _moved(DigitsData(), root)
    if kind in ("cifar10", "cifar100"):
        return CifarData(kind=kind, root=root or "")
    if kind is None and root is None:
        raise UserError(f"{target} is no run folder, so say what to test on, with --data or --root")
    return FolderData(root=root or "")


def _moved(data: DataConfig, root: str | None) -> DataConfig:
    """The same data in another place."""
    if root is None:
        return data
    if isinstance(data, DigitsData):
        raise UserError(f"the digits are embedded, so --root {root} has no meaning for them; leave it out")
    return replace(data, root=root)


def _carry_out(prepared: Prepared, model: Encoder, folder: Path, ranks: Processes, tell: Any) -> dict[str, Any]:
    recipe, splits, schedule = prepared.recipe, prepared.splits, prepared.schedule
    if tell and ranks.is_first:
        tell(prepared.plan() | {"run folder": str(folder)})
    workers = recipe.loop.workers
    pinned = ranks.device.type == "cuda"

    def learn_from(start_step: int) -> Iterable[Any]:
        return train_batches(
            splits.train, num_classes=len(splits.classes), preprocess=prepared.preprocess, augment=recipe.augment,
            seed=recipe.seed, batch_size=recipe.loop.batch_size, total_steps=schedule.total_steps,
            start_step=start_step, rank=ranks.rank, world_size=ranks.world_size, workers=workers, pin_memory=pinned,
        )  # fmt: skip

    def test_on() -> Iterable[Any]:
        return evaluation_batches(
            splits.held_out, preprocess=prepared.preprocess, batch_size=_TEST_BATCH, workers=workers, pin_memory=pinned
        )

    task = Classify(model, splits.classes, asdict(prepared.preprocess))
    trainer = Trainer(
        task, learn_from, test_on, recipe.loop, recipe.optimize, schedule, ranks, folder, recipe.seed
    )  # fmt: skip
    scores = trainer.run() | {"classes": list(splits.classes)}
    ranks.first_only(lambda: _finish(prepared, scores, folder))
    return scores


def _finish(prepared: Prepared, scores: dict[str, Any], folder: Path) -> None:
    """Explanations, scores and the report of a run whose weights are written."""
    recipe, preprocess, config = prepared.recipe, prepared.preprocess, prepared.recipe.model
    model = open_weights(folder).model
    if has_tree(model):
        if isinstance(recipe.data, DigitsData) and recipe.data.canvas >= SMALLEST_CANVAS:
            scores["explanations"] = digit_explanations(model, preprocess, recipe.data, folder / PICTURES)
        else:
            draw_samples(model, preprocess, prepared.splits, folder / PICTURES)
    scores["model"] = {
        "name": catalogue.name_of(config),
        "parameters": catalogue.count_parameters(model),
        "multiply_adds": catalogue.multiply_adds(config),
    }
    (folder / SCORES).write_text(json.dumps(scores) + "\n", encoding="utf-8")
    write_report(folder)


def _start_folder(prepared: Prepared, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        environment = json.dumps(_environment(prepared.device), indent=2)
        (folder / "environment.json").write_text(environment + "\n", encoding="utf-8")
        write_recipe(prepared.recipe, folder)
    except OSError as error:
        raise UserError(f"cannot write the run folder {folder}: {error.strerror}") from error


def _environment(device: torch.device) -> dict[str, Any]:
    """Versions and hardware, for whoever compares two runs."""
    packages = ("hvit", "torch", "torchvision", "timm", "numpy", "pillow", "scikit-learn")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "command": ["hvit", *sys.argv[1:]],
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "device": str(device),
        "device_name": name,
        "cpu_cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "system": platform.system(),
    }


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:5]) + (", …" if len(listed) > 5 else "")
