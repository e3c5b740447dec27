"""Fine-tuning after a probe: the last layers are trained on most training images, and kept if that recognises more."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hvit.data.batches import batches_before, evaluation_batches, train_batches
from hvit.data.sets import ChosenImages, ImageSet
from hvit.errors import Stopped, UserError
from hvit.files import read_object, write_text
from hvit.metrics.probes import FittedLinear, fit_linear
from hvit.models.layers.encoder import Encoder
from hvit.models.probe import ProbeConfig, set_head
from hvit.randomness import generator
from hvit.run_names import FINETUNING
from hvit.runs.kind import Prepared
from hvit.runs.scoring import held_out_batch_size
from hvit.tasks.task import WHOLE, Batch, Before, Scores, Task
from hvit.training.freezing import freeze
from hvit.training.loop import Trainer
from hvit.training.setup import BatchSource, RunSettings

SHARE, FEWEST, MOST = 0.2, 50, 1000
"""Validation images: that share of the training images, but so many at least and at most."""
FEWEST_STEPS, MOST_EPOCHS = 10, 10
"""Fewer steps are not tried; more passes over the training images are not made, whatever time is left."""
MARGIN = 0.15
"""Share of the time that is left for starting data workers, and for a machine that becomes slower."""
_TIMED = 8
_NOT_TRIED = "a trial is judged by the share of right classes, and the labels are not one class a sample"


@dataclass(frozen=True)
class Speeds:
    """How fast the processes of a run are together, in seconds."""

    image: float
    """Reading an image and computing its features."""
    step: float
    """A step of fine-tuning, reading included."""


@dataclass(frozen=True)
class Trial:
    """What fine-tuning will do."""

    steps: int
    """Steps of the trial, and again of the training on all training images."""
    validation: int
    """Images that choose."""


@dataclass(frozen=True)
class Finetuning:
    """What came of fine-tuning."""

    delivered: bool
    """Whether the run's weights are the fine-tuned ones; otherwise they are the encoder as it was, with its head."""
    sentence: str
    """What was delivered, and why."""
    steps: int = 0
    """Steps of the trial."""
    validation_count: int = 0
    """Images that chose."""
    validation_frozen: float | None = None
    """Share of them that the frozen features recognise."""
    validation_tuned: float | None = None
    """Share of them that the fine-tuned layers recognise."""
    held_out_frozen: float | None = None
    """Top-1 of the frozen features on the held-out images, which chose nothing."""
    held_out_tuned: float | None = None
    """Top-1 of the fine-tuned layers on them; None where they were not delivered."""


def validation_count(images: int) -> int:
    """How many training images choose; 0 where there are too few for a choice that is more than luck."""
    count = min(max(round(SHARE * images), FEWEST), MOST)
    return count if images >= 3 * FEWEST else 0


def choose_trial(prepared: Prepared, speeds: Speeds) -> Trial | str:
    """What the minutes of the recipe are enough for; or the sentence that says why fine-tuning is not tried."""
    probe, splits = prepared.recipe.model, prepared.splits
    assert isinstance(probe, ProbeConfig)
    if not splits.labels.has_classes:
        return _NOT_TRIED
    images, minutes = len(splits.train), probe.finetune_minutes
    validation = validation_count(images)
    if not validation:
        return f"{images:,} training {prepared.sample_kind} are too few to choose by ({3 * FEWEST} are needed)"
    # The images are looked at after the trial, and after the training that is delivered.
    left = minutes * 60 * (1 - MARGIN) - speeds.image * (validation + len(splits.held_out) + len(splits.test or ()))
    most = MOST_EPOCHS * -(-images // prepared.recipe.loop.batch_size)
    steps = min(int(left / 2 / speeds.step), most)
    if steps < FEWEST_STEPS:
        return (
            f"{minutes:g} minutes are enough for {max(steps, 0)} steps on this machine, and fewer than {FEWEST_STEPS} "
            f"are not tried; give it more with --model.finetune-minutes"
        )
    return Trial(steps, validation)


def measure_speeds(model: Encoder, prepared: Prepared, device: torch.device) -> Speeds:
    """Times a few images on this machine; the model's weights and modes stay as they are."""
    recipe, images = prepared.recipe, prepared.splits.train
    count = min(_TIMED, len(images))
    began = time.monotonic()
    some = ChosenImages(images, np.arange(count))
    batch = next(iter(evaluation_batches(some, preprocess=prepared.preprocess, batch_size=count, views=(1, 1))))
    reading = (time.monotonic() - began) / count / max(1, recipe.loop.workers)
    inputs = batch["images"].to(device)
    model = model.to(device).eval()

    def forward() -> None:
        with torch.no_grad():
            model(inputs).sum().item()

    def step() -> None:
        model(inputs).sum().backward()
        next(model.parameters()).sum().item()  # waits for the device

    forward()
    once = _seconds(forward) / count
    freeze(model, recipe.optimize.always_frozen)
    step()
    trained = _seconds(step) / count
    model.zero_grad()
    together = prepared.ranks.world_size
    return Speeds((reading + once) / together, (reading + trained) * recipe.loop.batch_size / together)


def _seconds(work: Callable[[], None]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def fine_tune(
    task: Task,
    prepared: Prepared,
    batches: BatchSource,
    settings: RunSettings,
    features: tuple[np.ndarray, np.ndarray] | None,
    linear: FittedLinear,
) -> tuple[Finetuning, Scores]:
    """Tries fine-tuning from a fitted head, and leaves in the task's network what recognises more validation images.

    features: of the training images (images, dim), and their classes; only the first process needs them. linear: the
    head that was fitted to all of them.
    Returns what was delivered, and the held-out scores of fine-tuned layers (empty where they were not delivered).
    Training that is interrupted goes on from its checkpoint when the run is resumed.
    """
    model = task.networks["model"]
    assert isinstance(model, Encoder)
    ranks = settings.ranks
    trial = ranks.of_first(lambda: _trial(model, prepared, settings))
    if isinstance(trial, str):
        return Finetuning(False, f"Frozen features were delivered; fine-tuning was not tried: {trial}."), {}
    splits = prepared.splits

    def fit() -> tuple[np.ndarray, np.ndarray, FittedLinear, float]:
        assert features is not None
        points, labels = features
        validation, rest = divide(labels, trial.validation, prepared.recipe.seed)
        head = fit_linear(points[rest], labels[rest], len(splits.classes), linear.chosen)
        right = head.predict(points[validation]).argmax(1) == labels[validation]
        return validation, rest, head, float(right.mean())

    validation, rest, head, frozen = ranks.of_first(fit)
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    _give(model, head)
    parts = ChosenImages(splits.train, rest), ChosenImages(splits.train, validation), None
    tuned = _train("trial", task, prepared, batches, settings, parts, trial.steps)["top1"]
    model.load_state_dict(start)
    _give(model, linear)
    delivered, scores = tuned > frozen, {}
    if delivered:
        parts = splits.train, splits.held_out, splits.test
        scores = _train("all", task, prepared, batches, settings, parts, trial.steps)
    else:
        model.eval()
    ranks.first_only(lambda: shutil.rmtree(settings.folder / FINETUNING, ignore_errors=True))
    first, second = (f"{100 * share:.1f} %" for share in (frozen, tuned))
    compared = (
        f"they recognise {second if delivered else first} of {trial.validation:,} validation {prepared.sample_kind}, "
    )
    what = (
        f"Fine-tuned layers were delivered ({trial.steps:,} steps): {compared}frozen features {first}."
        if delivered
        else f"Frozen features were delivered: {compared}and layers fine-tuned in {trial.steps:,} steps {second}."
    )
    found = Finetuning(delivered, what, trial.steps, trial.validation, frozen, tuned)
    return replace(found, held_out_tuned=scores["top1"] if delivered else None), scores


def divide(labels: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the validation images and of the others, with every class in both as often as can be."""
    order = torch.randperm(len(labels), generator=generator(seed, "validation")).numpy()
    # Sorted by how far each image stands in its class, of every class the same share comes first.
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    ranked = order[np.argsort(place[order], kind="stable")]
    return np.sort(ranked[:count]), np.sort(ranked[count:])


def _give(model: Encoder, head: FittedLinear) -> None:
    set_head(model, torch.from_numpy(head.weight), torch.from_numpy(head.bias))


def _trial(model: Encoder, prepared: Prepared, settings: RunSettings) -> Trial | str:
    """The trial that an earlier start of the run has chosen, or what this machine has the time for."""
    path = settings.folder / f"{FINETUNING}.json"
    try:
        kept = read_object(path)
        if isinstance(sentence := kept.get("reason"), str):
            return sentence
        trial = Trial(int(kept["steps"]), int(kept["validation"]))
        if trial.validation == validation_count(len(prepared.splits.train)) and trial.steps > 0:
            return trial
    except (UserError, KeyError, TypeError, ValueError):
        pass
    chosen = choose_trial(prepared, measure_speeds(model, prepared, settings.ranks.device))
    write_text(path, json.dumps({"reason": chosen} if isinstance(chosen, str) else asdict(chosen)) + "\n")
    return chosen


def _train(
    name: str,
    task: Task,
    prepared: Prepared,
    batches: BatchSource,
    settings: RunSettings,
    parts: tuple[ImageSet, ImageSet, ImageSet | None],
    steps: int,
) -> Scores:
    """Trains the task's network on the first set for so many steps; returns its scores on the last one."""
    recipe, classes, ranks = prepared.recipe, len(prepared.splits.classes), settings.ranks
    folder: Path = settings.folder / FINETUNING / name
    ranks.first_only(lambda: folder.mkdir(parents=True, exist_ok=True))
    batch_size = held_out_batch_size(prepared.preprocess)
    shared: dict[str, Any] = {
        "rank": ranks.rank,
        "world_size": ranks.world_size,
        "workers": recipe.loop.workers,
        "stops": batches.interrupts.__bool__ if ranks.world_size == 1 else lambda: False,
    }
    loop = replace(recipe.loop, evaluate_steps=steps)
    schedule = replace(settings.schedule, total_steps=steps, cosine_steps=steps, warmup_steps=steps / 10)

    def training(start: int) -> Iterable[Batch]:
        return train_batches(
            parts[0], num_classes=classes, preprocess=prepared.preprocess, augment=recipe.augment, seed=recipe.seed,
            batch_size=loop.batch_size, total_steps=steps, start_step=start, repeats=loop.repeats, **shared,
        )  # fmt: skip

    def evaluation(images: ImageSet) -> Callable[[], Iterable[Batch]]:
        return lambda: evaluation_batches(
            images, preprocess=prepared.preprocess, batch_size=batch_size, views=(1, 1), **shared
        )

    def before(images: ImageSet) -> Before:
        count = batches_before(len(images), batch_size, ranks.rank, ranks.world_size)
        return Before(count, count * batch_size)

    source = replace(
        batches, train=training, held_out=evaluation(parts[1]), held_out_before=before(parts[1]),
        test=evaluation(parts[2]) if parts[2] else None, test_before=before(parts[2]) if parts[2] else WHOLE,
    )  # fmt: skip
    inner = replace(settings, folder=folder, loop=loop, schedule=schedule)
    try:
        return Trainer(task, source, inner).run()
    except Stopped as error:
        raise Stopped(f"stopped; `hvit resume {settings.folder}` continues exactly") from error


def describe(prepared: Prepared) -> str:
    """The line of the plan about fine-tuning."""
    probe = prepared.recipe.model
    assert isinstance(probe, ProbeConfig)
    count = validation_count(len(prepared.splits.train))
    what, frozen = prepared.sample_kind, prepared.recipe.optimize.freeze
    if not prepared.splits.labels.has_classes:
        return f"not tried: {_NOT_TRIED}"
    if not count:
        return f"not tried: {len(prepared.splits.train):,} training {what} are too few to choose by"
    return (
        f"then at most about {probe.finetune_minutes:g} minutes (all above {frozen}), delivered only if it recognises "
        f"more of {count:,} training {what} that it was not trained on"
    )
