"""The front page: recipe -> data -> model -> task -> loop -> report."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from hvit import recipes
from hvit.bounds import check_bounds
from hvit.data.augment import Preprocess
from hvit.data.batches import evaluation_batches, small_set_notes, steps_per_epoch, train_batches
from hvit.data.device_augment import DeviceAugment
from hvit.data.images.digits import SMALLEST_CANVAS
from hvit.data.open import DigitsData, Splits, moved, open_data, with_full_paths
from hvit.errors import UserError
from hvit.explain.drawing.canvas import save_in_both_themes
from hvit.explain.methods.gradcat import has_tree
from hvit.files import short_path, write_text
from hvit.interrupts import Interrupts
from hvit.models import catalogue
from hvit.models.build import build_empty, build_network, count_parameters, multiply_adds
from hvit.models.counts import in_billions
from hvit.models.gan.config import GanConfig, Players, build_players
from hvit.models.layers.encoder import Encoder
from hvit.models.masked.config import MaskedConfig
from hvit.models.masked.masks import count_kept
from hvit.models.masked.model import MaskedAutoencoder
from hvit.models.nest.config import NestConfig
from hvit.models.weights import load as translate
from hvit.models.weights.save import open_autoencoder, open_weights
from hvit.pictures import draw_image_grid
from hvit.progress import DataOpening
from hvit.randomness import derive_seed
from hvit.recipe import RECIPE, Recipe, read_recipe, write_recipe
from hvit.report import write_report
from hvit.runs.memory import networks_without_memory, refuse_too_large
from hvit.runs.plan_file import compare, fingerprints, read_plan, write_plan
from hvit.snapshots.explanations import digit_explanations, draw_mistakes, draw_samples
from hvit.snapshots.features import MOST_MAPPED, draw_feature_map, encoder_features
from hvit.snapshots.reconstructions import watch
from hvit.tasks.classify import Classify
from hvit.tasks.extractors import full_name
from hvit.tasks.generate import Generate
from hvit.tasks.reconstruct import Reconstruct
from hvit.tasks.task import Task
from hvit.training.activations import checkpointable_blocks
from hvit.training.checkpoint import has_checkpoint
from hvit.training.distribute import NO_COMPILING, Processes, check_compiler, is_compile_failure, processes
from hvit.training.lock import locked, refuse_if_held
from hvit.training.loop import Trainer
from hvit.training.schedule import Schedule, few_steps_notes
from hvit.verbs.evaluate import CLIP_RESULTS, score_clips
from hvit.verbs.generate import finish_generation, make_task

Tell = Callable[[dict[str, str]], object]
SCORES = "scores.json"
PICTURES = "pictures"
_IMAGES_DRAWN = 12


def ignore(lines: dict[str, str]) -> None:
    """Tells nobody."""


@dataclass(frozen=True)
class Prepared:
    """A recipe with its data opened, and everything that follows from both."""

    recipe: Recipe
    splits: Splits
    preprocess: Preprocess
    schedule: Schedule
    ranks: Processes

    def plan(self) -> dict[str, str]:
        """What will happen, in lines a person reads before it does."""
        recipe, schedule = self.recipe, self.schedule
        batch, repeats = recipe.loop.batch_size, recipe.loop.repeats
        what, size = self.sample_kind, len(self.splits.train)
        notes = self.splits.notes + small_set_notes(size, batch, what)
        notes += few_steps_notes(recipe.loop, recipe.optimize, size, self.ranks, what, recipe.weights is not None)
        try:
            self.refuse_too_large()
        except UserError as error:
            notes += (f"This machine cannot train it: {error}.",)
        return {
            "recipe": f"{recipe.name}: {recipe.summary}",
            **_describe_model(recipe.model),
            "weights": f"from {recipe.weights}" if recipe.weights else f"new, from seed {recipe.seed}",
            "data": f"{recipe.data.kind}: {len(self.splits.train):,} {what} to learn from, "
            f"{len(self.splits.held_out):,} held out, "
            f"{f'{count} classes' if (count := len(self.splits.classes)) > 1 else 'no labels'}",
            "steps": f"{schedule.total_steps:,} of {batch} {what} ({batch // schedule.images_per_device} x "
            f"{schedule.images_per_device}){f', each {repeats} times,' if repeats > 1 else ','} "
            f"{schedule.steps_per_epoch:,} an epoch",
            "learning rate": schedule.describe_learning_rate(),
            "device": f"{self.ranks.device}, {schedule.precision}, {recipe.loop.workers} data workers",
            **({"notes": "\n".join(notes)} if notes else {}),
        }

    @property
    def sample_kind(self) -> str:
        """What the data is made of: images or clips."""
        return "clips" if self.preprocess.takes_clips else "images"

    def refuse_too_large(self) -> None:
        """Raises UserError, with the numbers, where this machine has too little memory to train it."""
        refuse_too_large(self.recipe, self.schedule.images_per_device, self.ranks.world_size, self.ranks.device)


def _describe_model(model: catalogue.NetworkConfig | GanConfig) -> dict[str, str]:
    """The lines of a plan that tell the model, or the models that play against each other."""
    size = f"{model.in_channels}x{'x'.join(map(str, model.input_size))}"
    if isinstance(model, GanConfig):
        generator, discriminator = map(count_parameters, networks_without_memory(model))
        cost = in_billions(multiply_adds(model.generator))
        labels = f"with labels of {model.num_classes} classes" if model.num_classes else "without labels"
        return {
            "model": f"{catalogue.name_of(model.generator)}, {generator:,} parameters, {cost} multiply-adds for {size}",
            "against": f"{model.discriminator.family}, {discriminator:,} parameters, {labels}, {model.loss} loss",
            "judged by": f"{model.extractor}, against {model.reference.replace('_', '-')} images",
        }
    parameters = count_parameters(build_empty(model))
    if isinstance(model, MaskedConfig):
        kept = count_kept(model.unit_grid, model.mask_ratio, model.mask_pattern)
        cost = f"{kept} of {prod(model.unit_grid)} mask units seen"
    else:
        cost = f"{in_billions(multiply_adds(model))} multiply-adds"
    return {"model": f"{catalogue.name_of(model)}, {parameters:,} parameters, {cost} on {size}"}


def prepare(recipe: Recipe, ranks: Processes, remember: bool = True) -> Prepared:
    """Opens the recipe's data and derives the rest. Raises UserError for what cannot be run.

    remember: whether an index of clips may be written.
    """
    opened: dict[str, Any] = {}
    model = recipe.model

    def look() -> None:
        frames = model.input_size[0] if len(model.input_size) == 3 else None
        with DataOpening(Console(stderr=True)) as progress:
            splits = open_data(
                recipe.data, recipe.seed, model.in_channels, frames, progress=progress, remember=remember
            )
        opened.update(splits=splits)

    # One process looks at the files, so that all agree on which of them can be read.
    ranks.first_only(look)
    splits: Splits = ranks.share(opened)["splits"]
    if isinstance(model, GanConfig):
        recipe = replace(recipe, model=_with_labels(model, splits))
    elif not isinstance(model, MaskedConfig):
        if len(splits.classes) < 2:
            raise UserError(
                "the data has no labels, or one class only; only masked pretraining and generation learn without them"
            )
        recipe = replace(recipe, model=_with_classes(recipe, splits))
    preprocess = Preprocess(
        model.input_size, splits.mean, splits.std, recipe.crop, recipe.interpolation, splits.held_out.sampling,
        splits.grey_range, splits.page,
    )  # fmt: skip
    _check_loop(recipe, ranks)
    epoch = steps_per_epoch(len(splits.train), recipe.loop.batch_size)
    schedule = Schedule.of(recipe.loop, recipe.optimize, epoch, ranks)
    return Prepared(recipe, splits, preprocess, schedule, ranks)


def _check_loop(recipe: Recipe, ranks: Processes) -> None:
    """Refuses, before anything is written, what this machine or model cannot do."""
    if recipe.loop.compile:
        check_compiler(ranks.device)
    if recipe.loop.checkpoint_activations:
        checkpointable_blocks(networks_without_memory(recipe.model))


def _with_classes(recipe: Recipe, splits: Splits) -> catalogue.ModelConfig:
    """The recipe's model for as many classes as the data has."""
    model = recipe.model
    assert not isinstance(model, MaskedConfig | GanConfig)
    usual = recipes.get_recipe(recipe.name).model if recipes.list_recipes(recipe.name) else NestConfig()
    if model.num_classes not in (usual.num_classes, len(splits.classes)):
        raise UserError(f"--model.num-classes says {model.num_classes}, but the data has {len(splits.classes)} classes")
    return replace(model, num_classes=len(splits.classes))


def _with_labels(model: GanConfig, splits: Splits) -> GanConfig:
    """The same game, with as many classes as the data has where it is played with labels."""
    count = len(splits.classes)
    if model.conditional and count < 2:
        raise UserError("the data has no labels, or one class only, and --model.conditional needs several")
    if model.num_classes not in (0, count):
        raise UserError(f"both networks have {model.num_classes} classes, but the data has {count}; leave them at 0")
    return model.with_classes(count)


def plan(recipe: Recipe) -> dict[str, str]:
    """What `train` would do, without doing it; nothing is written."""
    check_bounds(recipe)
    with processes(recipe.loop.device) as ranks:
        prepared = prepare(recipe, ranks, remember=False)
        lines = prepared.plan()
        if recipe.weights is not None:
            new_model(prepared.recipe, lines.update)
        return lines


def train(recipe: Recipe, folder: Path, tell: Tell = ignore) -> dict[str, Any]:
    """Runs a recipe in a new run folder; returns the scores.

    tell: called with the plan (a dict of lines) before anything is learned.
    Raises UserError when the folder already holds a run, when another process trains in it, when the machine is too
    small, and as `prepare` and `Trainer` do.
    """
    check_bounds(recipe)
    recipe = _with_full_paths(recipe)
    with processes(recipe.loop.device) as ranks, _faults_as_sentences():
        ranks.first_only(lambda: _refuse_old_run(folder))
        prepared = prepare(recipe, ranks)
        prepared.refuse_too_large()
        model = new_model(prepared.recipe, tell)
        with _held(folder, ranks):
            ranks.first_only(lambda: _start_folder(prepared, folder))
            return _carry_out(prepared, model, folder, tell, read_plan(folder))


def resume(
    folder: Path, root: str | None = None, tell: Tell = ignore, accept_changed_data: bool = False
) -> dict[str, Any]:
    """Continues the run in a folder exactly where its newest checkpoint left it; returns the scores.

    root: where the data is now, if it has moved. accept_changed_data: go on with other data, or another recipe, than
    the run began with; the journal then says what has changed.
    Raises UserError, with what differs, when the data or the recipe is not what the run began with, and when another
    process trains in the folder.
    """
    recipe = read_recipe(folder)
    with processes(recipe.loop.device) as ranks, _faults_as_sentences(), _held(folder, ranks):
        prepared = prepare(replace(recipe, data=moved(recipe.data, root)), ranks)
        prepared.refuse_too_large()
        accepted: list[str] = []
        ranks.first_only(lambda: accepted.extend(_accepted(prepared, recipe, folder, accept_changed_data, tell)))
        started = replace(prepared.recipe, weights=None if has_checkpoint(folder) else recipe.weights)
        plan, model = read_plan(folder), new_model(started)
        return _carry_out(prepared, model, folder, tell, plan, accept_changed_data, accepted)


@contextmanager
def _held(folder: Path, ranks: Processes) -> Iterator[None]:
    """Holds the run folder, in the first process for all of them."""
    with ExitStack() as stack:
        ranks.first_only(lambda: stack.enter_context(locked(folder)))
        yield


@contextmanager
def _faults_as_sentences() -> Iterator[None]:
    """What the machine refuses a run, such as room on a disk or memory, becomes one sentence (UserError)."""
    try:
        yield
    except OSError as error:
        place = f"{short_path(Path(os.fsdecode(error.filename)))}: " if isinstance(error.filename, str | bytes) else ""
        raise UserError(f"the system refused the run something: {place}{error.strerror or error}") from error
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate memory" not in str(error):
            raise
        first = (str(error).strip().splitlines() or ["no memory is left"])[-1][:200]
        raise UserError(
            f"this machine has too little memory for the run ({first}): lower --loop.batch-size or --loop.workers, "
            f"raise --loop.accumulate, or choose a smaller --model"
        ) from error


def new_model(recipe: Recipe, tell: Tell = ignore) -> Encoder | MaskedAutoencoder | Players:
    """The recipe's model: new weights from the seed, then the weights it, or its generator, starts from, if any."""
    config, source = recipe.model, recipe.weights
    # Before the model takes memory.
    if source == "timm":
        if isinstance(config, GanConfig):
            raise UserError("timm has no weights of generators; name a file with --weights")
        source = translate.download_timm(catalogue.name_of(config))
    elif source is not None and not os.path.lexists(source):  # of names that no file can have, too
        raise UserError(f"there is no weights file {source}, which this run starts from; name one with --weights")
    torch.manual_seed(derive_seed(recipe.seed, "weights"))
    model: Any = build_players(config) if isinstance(config, GanConfig) else build_network(config)
    if source is not None:
        learner = model.generator if isinstance(model, Players) else model
        report = translate.load_weights(
            learner,
            source,
            position_resize=recipe.position_resize,
            weights_input_size=recipe.weights_input_size,
        )
        tell({"loaded": str(report)})
    return model


def _test_batch(preprocess: Preprocess) -> int:
    """Images, or clips, that are tested together: as many frames as 64 images have."""
    return max(1, 64 // preprocess.input_size[0]) if preprocess.takes_clips else 64


def _carry_out(
    prepared: Prepared,
    model: Encoder | MaskedAutoencoder | Players,
    folder: Path,
    tell: Tell,
    plan: dict[str, Any],
    accepts_changes: bool = False,
    accepted: Sequence[str] = (),
) -> dict[str, Any]:
    recipe, splits, schedule, ranks = prepared.recipe, prepared.splits, prepared.schedule, prepared.ranks
    tell(prepared.plan() | {"run folder": str(folder)})
    workers = recipe.loop.workers
    pinned = ranks.device.type == "cuda"
    interrupts = Interrupts()
    stops = interrupts.__bool__ if ranks.world_size == 1 else lambda: False

    def learn_from(start_step: int) -> Iterable[Any]:
        return train_batches(
            splits.train, num_classes=len(splits.classes), preprocess=prepared.preprocess, augment=recipe.augment,
            seed=recipe.seed, batch_size=recipe.loop.batch_size, total_steps=schedule.total_steps,
            start_step=start_step, repeats=recipe.loop.repeats, rank=ranks.rank, world_size=ranks.world_size,
            workers=workers, pin_memory=pinned, stops=stops,
        )  # fmt: skip

    def test_on() -> Iterable[Any]:
        # While a run goes on a clip is looked at once; all its views are, when it has finished.
        return evaluation_batches(
            splits.held_out, preprocess=prepared.preprocess, batch_size=_test_batch(prepared.preprocess), views=(1, 1),
            workers=workers, pin_memory=pinned, stops=stops,
        )  # fmt: skip

    if isinstance(model, MaskedAutoencoder):
        watched = watch(splits.held_out, prepared.preprocess)
        task = Reconstruct(model, prepared.preprocess, len(splits.classes) > 1, watched)
    elif isinstance(model, Players):
        task = make_task(recipe, model, splits, prepared.preprocess, folder, ranks)
    else:
        task = Classify(model, splits.classes, asdict(prepared.preprocess))
    vary = _on_device(prepared, recipe.loop.batch_size, ranks.rank, ranks.world_size)
    trainer = Trainer(
        task, learn_from, test_on, recipe.loop, recipe.optimize, schedule, ranks, folder, recipe.seed, vary,
        interrupts, fingerprints(plan), accepts_changes, prepared.sample_kind,
    )  # fmt: skip
    try:
        told = {"accepted": list(accepted)} if accepted else {}
        scores = trainer.run(**told) | {"classes": list(splits.classes), "sample_kind": prepared.sample_kind}
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"{ranks.device} has too little memory for {schedule.images_per_device} {prepared.sample_kind} at a time: "
            f"raise --loop.accumulate (now {recipe.loop.accumulate}), or set --loop.checkpoint-activations"
        ) from error
    except RuntimeError as error:
        if not (recipe.loop.compile and is_compile_failure(error)):
            raise
        first = str(error).strip().splitlines()[0]
        raise UserError(f"torch.compile failed: {first}; {NO_COMPILING}") from error
    ranks.first_only(lambda: _finish(prepared, task, scores, folder))
    return scores


def _on_device(
    prepared: Prepared, batch_size: int, rank: int = 0, world_size: int = 1
) -> Callable[[Mapping[str, torch.Tensor], int], dict[str, torch.Tensor]] | None:
    """What is done to the batches of a run on the device, if anything."""
    if not prepared.recipe.augment.on_device:
        return None
    augment = DeviceAugment(
        prepared.recipe.augment, prepared.preprocess, prepared.recipe.seed, batch_size, rank, world_size
    )

    def vary(batch: Mapping[str, torch.Tensor], step: int) -> dict[str, torch.Tensor]:
        images, targets = augment(batch["images"], batch["targets"], step)
        return {**batch, "images": images, "targets": targets}

    return vary


def _finish(prepared: Prepared, task: Task, scores: dict[str, Any], folder: Path) -> None:
    """Scores, explanations and the report of a run whose weights are written."""
    recipe, preprocess = prepared.recipe, prepared.preprocess
    if isinstance(task, Reconstruct):
        _finish_pretraining(prepared, scores, folder)
        return
    if isinstance(task, Generate):
        finish_generation(task, prepared.splits, scores, folder)
        write_text(folder / SCORES, json.dumps(scores) + "\n")
        write_report(folder)
        return
    model = open_weights(folder).model
    if preprocess.takes_clips:
        scores |= score_clips(model.to(prepared.ranks.device), prepared.splits, preprocess, folder / CLIP_RESULTS)
        model.cpu()
    scores["model"] = {
        "name": catalogue.name_of(model.config),
        "parameters": count_parameters(model),
        "multiply_adds": multiply_adds(model.config),
    }
    if not preprocess.takes_clips:
        scores["mistakes"] = draw_mistakes(scores, prepared.splits, preprocess, folder / PICTURES)
    write_text(folder / SCORES, json.dumps(scores) + "\n")
    if has_tree(model) and not preprocess.takes_clips:
        if isinstance(recipe.data, DigitsData) and recipe.data.canvas >= SMALLEST_CANVAS:
            scores["explanations"] = digit_explanations(model, preprocess, recipe.data, folder / PICTURES)
        else:
            scores["explained_samples"] = draw_samples(model, preprocess, prepared.splits, folder / PICTURES)
        write_text(folder / SCORES, json.dumps(scores) + "\n")
    write_report(folder)


def _finish_pretraining(prepared: Prepared, scores: dict[str, Any], folder: Path) -> None:
    """Scores, a map of features and the report of a pretraining run whose weights are written."""
    model = open_autoencoder(folder).model
    scores["model"] = {"name": catalogue.name_of(model.config), "parameters": count_parameters(model)}
    write_text(folder / SCORES, json.dumps(scores) + "\n")
    features, labels = encoder_features(model, prepared.splits.held_out, prepared.preprocess, MOST_MAPPED)
    save_in_both_themes(
        lambda theme: draw_feature_map(features, labels, prepared.splits.classes, theme),
        folder / PICTURES / "feature_map.png",
    )
    write_report(folder)


def _refuse_old_run(folder: Path) -> None:
    refuse_if_held(folder)
    _refuse_old_run_here(folder)


def _refuse_old_run_here(folder: Path) -> None:
    if os.path.lexists(folder / RECIPE) or has_checkpoint(folder):
        raise UserError(f"{folder} already holds a run: `hvit resume {folder}` continues it, or choose another --out")


def _accepted(prepared: Prepared, recipe: Recipe, folder: Path, accepts: bool, tell: Tell) -> tuple[str, ...]:
    """What differs from what the run began with, if that is accepted; the plan then says what it goes on with."""
    changes, notes, is_new = compare(folder, recipe, prepared.splits, prepared.sample_kind, accepts)
    if changes:
        tell({"accepted": "; ".join(changes)})
    if notes:
        tell({"notes": "\n".join(notes)})
    if is_new:
        write_plan(folder, prepared.plan(), prepared.schedule, recipe, prepared.splits)
    return changes


def _with_full_paths(recipe: Recipe) -> Recipe:
    """The same recipe with paths that hold wherever it is resumed from."""
    recipe = replace(recipe, data=with_full_paths(recipe.data))
    if recipe.weights is not None and recipe.weights != "timm":
        recipe = replace(recipe, weights=str(Path(recipe.weights).expanduser().resolve()))
    if isinstance(recipe.model, GanConfig):
        recipe = replace(recipe, model=replace(recipe.model, extractor=full_name(recipe.model.extractor)))
    return recipe


def _start_folder(prepared: Prepared, folder: Path) -> None:
    _refuse_old_run_here(folder)
    write_text(folder / "environment.json", json.dumps(_environment(prepared.ranks), indent=2) + "\n")
    write_plan(folder, prepared.plan(), prepared.schedule, prepared.recipe, prepared.splits)
    write_recipe(prepared.recipe, folder)
    _draw_training_images(prepared, folder / PICTURES / "training_images.png")


def _draw_training_images(prepared: Prepared, path: Path) -> None:
    """A few training images as the model sees them, augmented and mixed: the first thing to look at when it fails."""
    recipe, splits, preprocess = prepared.recipe, prepared.splits, prepared.preprocess
    batch = next(
        iter(
            train_batches(
                splits.train, num_classes=len(splits.classes), preprocess=preprocess, augment=recipe.augment,
                seed=recipe.seed, batch_size=_IMAGES_DRAWN, total_steps=1,
            )
        )
    )  # fmt: skip
    if vary := _on_device(prepared, _IMAGES_DRAWN):
        batch = vary(batch, 0)
    if preprocess.takes_clips:  # two clips, six frames of each
        chosen = np.linspace(0, preprocess.input_size[0] - 1, _IMAGES_DRAWN // 2).round().astype(int)
        images = batch["images"][:2, :, chosen].transpose(1, 2).flatten(0, 1)
        batch = {"images": images, "targets": batch["targets"][:2].repeat_interleave(len(chosen), 0)}
    pixels = preprocess.unit_images(batch["images"]).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    captions = [""] * _IMAGES_DRAWN
    for number, shares in enumerate(batch["targets"] if len(splits.classes) > 1 else ()):
        likely = shares.topk(min(2, len(shares)))
        pairs = zip(likely.values.tolist(), likely.indices.tolist(), strict=True)
        captions[number] = ", ".join(f"{splits.classes[index]} {share:.2f}" for share, index in pairs if share > 0.05)
    images = [image[..., 0] if image.shape[-1] == 1 else image for image in pixels]
    save_in_both_themes(lambda theme: draw_image_grid(images, captions, columns=6, theme=theme), path)


def _environment(ranks: Processes) -> dict[str, Any]:
    """Versions and hardware, for whoever compares two runs."""
    device = ranks.device
    packages = ("hvit", "torch", "torchvision", "timm", "numpy", "pillow", "scikit-learn")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "command": ["hvit", *sys.argv[1:]],
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "processes": ranks.world_size,
        "device": str(device),
        "device_name": name,
        "cpu_cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "system": platform.system(),
    }
