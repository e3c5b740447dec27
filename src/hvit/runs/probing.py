"""Runs of probing: heads are fitted to the features of a pretrained encoder, whose last layers may then be tuned."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from hvit.data.batches import evaluation_batches
from hvit.data.open import ImageSet, Splits
from hvit.errors import UserError
from hvit.files import replacing
from hvit.labels import LabelSpec
from hvit.metrics.probes import (
    Fitted,
    FittedLinear,
    fit_linear,
    fit_multi_label,
    fit_neighbours,
    fit_network,
    fit_numbers,
)
from hvit.models.build import build
from hvit.models.layers.encoder import Encoder
from hvit.models.probe import ProbeConfig, ProbedConfig, head_features, set_head
from hvit.models.weights.open import open_weights
from hvit.progress import FilesDone
from hvit.recipe import Recipe
from hvit.recipes import get_recipe
from hvit.run_names import FEATURES
from hvit.runs.classification import Classification
from hvit.runs.confidence import Outputs
from hvit.runs.finetuning import choose_trial, describe, fine_tune, measure_speeds
from hvit.runs.kind import Prepared
from hvit.runs.plan_file import fingerprints, read_plan
from hvit.runs.starting import choose_start, started
from hvit.tasks.classify import Classify
from hvit.tasks.labelled import task_for
from hvit.tasks.task import Scores, Task
from hvit.training.journal import Journal
from hvit.training.setup import BatchSource, RunSettings

_BATCH = 32
_FROM_SCRATCH = "nest_micro_folder"
_BY_LABELS = {"multi": ("log_loss", fit_multi_label), "regression": ("squared_error", fit_numbers)}
"""Kinds of labels with a linear head of their own -> what is least over the folds, and how it is fitted."""
_HEADS: dict[str, Callable[[np.ndarray, np.ndarray, int], Fitted]] = {
    "linear": fit_linear,
    "neighbours": fit_neighbours,
    "network": fit_network,
}


class Probing(Classification):
    """A linear head is fitted to the features of a frozen encoder; the run leaves a classifier of its family."""

    trains_in_steps = False
    whole_because = "its encoder is frozen, and few layers are tuned afterwards"
    configs = (ProbeConfig,)

    def settle(self, recipe: Recipe, download: bool) -> tuple[Recipe, str]:
        """The recipe with the encoder that its weights are of; without any, a small model from random initialisation.

        Raises UserError as `choose_start`.
        """
        start = choose_start(_probe(recipe), recipe.weights, download)
        if start is not None:
            return started(recipe, start), str(start)
        scratch = get_recipe(_FROM_SCRATCH)
        loop = replace(scratch.loop, device=recipe.loop.device)
        return replace(scratch, data=recipe.data, seed=recipe.seed, loop=loop), (
            f"NO PRETRAINED WEIGHTS: {_FROM_SCRATCH} trains from random initialisation instead, which on some thousand "
            f"photos is much less accurate (here 63 % where pretrained features give 98 %). Install hvit[teacher], or "
            f"give a weights file with --weights"
        )

    def starting_config(self, recipe: Recipe) -> ProbedConfig:
        """The encoder's configuration."""
        return _probe(recipe).encoder

    def fit_to_data(self, recipe: Recipe, splits: Splits) -> Recipe:
        """The recipe with the data's number of classes.

        Raises UserError for data without labels, for heads that the labels do not have, and for a choice among
        evaluations: there is one.
        """
        others = [name for name in _probe(recipe).heads if name != "linear"]
        if not splits.labels.has_classes and others:
            raise UserError(
                f"the head {others[0]} predicts one class a sample, and the labels are {splits.labels.describe()}: "
                f"their head is linear"
            )
        if splits.train.weights is not None or splits.train.chances is not None:
            weighs = "--data.balance" if splits.train.weights is None else "--data.balance and --data.weight-column"
            raise UserError(f"the heads of a probe are fitted to all samples alike: omit {weighs}")
        probe, loop = _probe(recipe), recipe.loop
        if loop.keep != "last" or loop.patience:
            option = f"--loop.keep {loop.keep}" if loop.keep != "last" else f"--loop.patience {loop.patience}"
            raise UserError(f"a probe is evaluated once, so {option} has nothing to choose from: omit it")
        fitted = super().fit_to_data(replace(recipe, model=replace(probe.encoder, num_classes=None)), splits)  # pyright: ignore[reportArgumentType]
        return replace(recipe, model=replace(probe, encoder=fitted.model))  # pyright: ignore[reportArgumentType]

    def statistics(self, recipe: Recipe, splits: Splits) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """What the encoder's images are normalised with."""
        probe = _probe(recipe)
        return probe.mean or splits.mean, probe.std or splits.std

    def describe(self, recipe: Recipe) -> dict[str, str]:
        """See `Kind.describe`."""
        probe = _probe(recipe)
        lines = super().describe(replace(recipe, model=probe.encoder))  # pyright: ignore[reportArgumentType]
        return {**lines, "heads": f"{', '.join(probe.heads)} on its frozen features"}

    def describe_training(self, prepared: Prepared) -> dict[str, str]:
        """There are no steps: the features are computed once."""
        count = _count(prepared)
        lines = {"steps": f"none: features of {count:,} images are computed once, then heads are fitted to them"}
        if _probe(prepared.recipe).finetune_minutes:
            lines["fine-tuning"] = describe(prepared)
        return lines

    def estimate(self, prepared: Prepared, model: Encoder) -> dict[str, str]:
        """Times a few images, and says how long all of them take."""
        speeds = measure_speeds(model, prepared, prepared.ranks.device)
        text = f"about {_in_words(_count(prepared) * speeds.image)} for the features, then seconds for the head"
        lines: dict[str, str] = {}
        if _probe(prepared.recipe).finetune_minutes:
            trial = choose_trial(prepared, speeds)
            if isinstance(trial, str):
                lines["fine-tuning"] = f"not tried: {trial}"
            else:
                seen = trial.validation + len(prepared.splits.held_out) + len(prepared.splits.test or ())
                most = 2 * trial.steps * speeds.step + seen * speeds.image
                text += (
                    f"; fine-tuning: a trial of {trial.steps:,} steps, and as many on all training images if it is "
                    f"delivered, at most {_in_words(most)}"
                )
        return {"time": f"{text} (timed on this machine just now)", **lines}

    def training_notes(self, prepared: Prepared) -> tuple[str, ...]:
        """Nothing can go wrong with steps that there are not."""
        return ()

    def build(self, recipe: Recipe) -> Encoder:
        """The encoder with a head for the data's classes."""
        return build(_probe(recipe).encoder)

    def make_task(self, prepared: Prepared, model: Encoder, folder: Path) -> Task:
        """See `Kind.make_task`."""
        return task_for(model, prepared.splits.labels, asdict(prepared.preprocess), prepared.recipe.loss)

    def learn(
        self, task: Task, prepared: Prepared, batches: BatchSource, settings: RunSettings, **facts: object
    ) -> Scores:
        """Computes the features, fits every head, and saves the classifier with the linear one; returns its scores.

        Features that the folder has already are not computed again. Of several processes each computes a part of them,
        and the first fits the heads.
        """
        assert isinstance(task, Classify)
        ranks, began = settings.ranks, time.monotonic()
        journal = Journal(settings.folder) if ranks.is_first else None

        def write(kind: str, step: int, **values: object) -> None:
            if journal:
                journal.write(kind, step, **values)

        write("start", 0, time=time.time(), **facts)
        model = cast(Encoder, task.networks["model"].to(ranks.device).eval())
        features = _all_features(model, prepared, settings, batches)
        scores, linear = ranks.of_first(lambda: self._fitted(task, prepared, model, features))
        set_head(model, torch.from_numpy(linear.weight), torch.from_numpy(linear.bias))
        measured = {task.score: scores[task.score]} | {key: scores[key] for key in ("top1",) if key in scores}
        write("evaluate", 1, epoch=1.0, seconds=time.monotonic() - began, loss=scores["loss"], **measured)
        ranks.first_only(lambda: task.save_weights(settings.folder, task.networks))
        if _probe(prepared.recipe).finetune_minutes:
            known = features[0] if features else None
            found, tuned = fine_tune(task, prepared, batches, settings, known, linear)
            scores["finetuning"] = asdict(replace(found, held_out_frozen=scores.get("top1")))
            scores |= tuned
            if found.delivered:
                ranks.first_only(lambda: task.save_weights(settings.folder, task.networks))
        write("finish", 1, seconds=time.monotonic() - began)
        return scores

    def _fitted(
        self, task: Classify, prepared: Prepared, model: Encoder, features: list[Features]
    ) -> tuple[Scores, FittedLinear]:
        """The scores of all heads that the recipe names, fitted to the features, and the linear one."""
        known, held_out, *test = features
        asked, classes = test[0] if test else held_out, len(prepared.splits.classes)
        labels = prepared.splits.labels
        of_folds, fit = _BY_LABELS.get(labels.kind, ("log_loss", None))
        if fit is None:
            heads = {name: _HEADS[name](*known, classes) for name in _probe(prepared.recipe).heads}
        else:
            heads: dict[str, Fitted] = {"linear": fit(known[0], _standardised(known[1], labels), classes)}
        linear = heads["linear"]
        assert isinstance(linear, FittedLinear)
        set_head(model, torch.from_numpy(linear.weight), torch.from_numpy(linear.bias))
        head = model.head
        assert isinstance(head, nn.Module)
        # First of the samples that choose thresholds, where the labels have them.
        of_validation = _scores(task, head, held_out)
        scores = _scores(task, head, asked, is_test=True) if test else of_validation
        scores["heads"] = {
            name: {
                **({task.score: scores[task.score]} if fit else {"top1": _accuracy(fitted, *asked)}),
                "chosen": fitted.chosen,
                f"{of_folds}_of_folds": fitted.tried,
            }
            for name, fitted in heads.items()
        }
        if test:
            scores |= {
                "evaluated_on": "test",
                "validation": {name: value for name, value in of_validation.items() if isinstance(value, int | float)},
            }
        return scores, linear

    def look(self, prepared: Prepared, folder: Path) -> dict[str, Outputs]:
        """See `Classification.look`: the features that the run has kept of a frozen encoder are used."""
        parts = ["train", "held_out"] + (["test"] if prepared.splits.test else [])

        def from_stored() -> dict[str, Outputs] | None:
            stored = _stored(folder / FEATURES, fingerprints(read_plan(folder)).get("data", ""), parts)
            if stored is None or _probe(prepared.recipe).finetune_minutes:
                return None
            head = open_weights(folder).model.head
            assert isinstance(head, nn.Linear)
            found = {}
            for part, values in zip(parts, stored, strict=True):
                features, labels = map(torch.from_numpy, values)
                with torch.no_grad():
                    found[part] = Outputs(head(features), labels, torch.empty(0, dtype=torch.long), features)
            return found

        found = from_stored() if prepared.ranks.is_first else None
        if prepared.ranks.share(found is None):
            return super().look(prepared, folder)
        return found or {}


def _count(prepared: Prepared) -> int:
    """How many images have their features computed."""
    splits = prepared.splits
    return len(splits.train) + len(splits.held_out) + len(splits.test or ())


def _in_words(seconds: float) -> str:
    return f"{max(2, seconds):.0f} seconds" if seconds < 90 else f"{seconds / 60:.1f} minutes"


def _probe(recipe: Recipe) -> ProbeConfig:
    assert isinstance(recipe.model, ProbeConfig)
    return recipe.model


Features = tuple[np.ndarray, np.ndarray]
"""Features (images, dim) float32, and classes (images,) int64, or of other labels their values (images, outputs)."""


def _all_features(model: Encoder, prepared: Prepared, settings: RunSettings, batches: BatchSource) -> list[Features]:
    """Features of the training and of the held-out images, and of those to test on where there are any.

    They are kept in the run folder for a run that is resumed. Only the first process gets them, and the others nothing.
    """
    path, identity, ranks = settings.folder / FEATURES, settings.belongs_to.get("data", ""), settings.ranks
    splits = prepared.splits
    parts = {"train": splits.train, "held_out": splits.held_out} | ({"test": splits.test} if splits.test else {})
    stored = _stored(path, identity, list(parts)) if ranks.is_first else None
    if ranks.share(stored is not None):
        return stored or []
    found = [_features(model, one, prepared, settings, batches) for one in parts.values()]

    def write() -> None:
        with replacing(path) as file:
            arrays = {
                f"{part}_{name}": array
                for part, both in zip(parts, found, strict=True)
                for name, array in zip(("features", "classes"), both, strict=True)
            }
            np.savez(file, identity=np.array(identity), **arrays)  # pyright: ignore[reportArgumentType]

    ranks.first_only(write)
    return found if ranks.is_first else []


def _stored(path: Path, identity: str, parts: list[str]) -> list[Features] | None:
    """The features that an earlier start of the run has left; None where there are none of this data."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["identity"]) != identity:
                return None
            return [(stored[f"{part}_features"], stored[f"{part}_classes"]) for part in parts]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def _features(
    model: Encoder, images: ImageSet, prepared: Prepared, settings: RunSettings, batches: BatchSource
) -> Features:
    """Features and classes of a set, in the first process; each computes a part.

    Raises UserError where the run is interrupted.
    """
    ranks = settings.ranks
    loader = evaluation_batches(
        images, preprocess=prepared.preprocess, batch_size=_BATCH, workers=settings.loop.workers, views=(1, 1),
        rank=ranks.rank, world_size=ranks.world_size,
        stops=batches.interrupts.__bool__ if ranks.world_size == 1 else lambda: False,
    )  # fmt: skip
    words, console = ("computing features", "done", "images"), Console(stderr=True, quiet=not ranks.is_first)

    def work() -> list[tuple[Tensor, Tensor]]:
        found: list[tuple[Tensor, Tensor]] = []
        with batches.interrupts.kept(), FilesDone(-(-len(images) // ranks.world_size), console, words) as view:
            for batch in loader:
                found.append((head_features(model, batch["images"].to(ranks.device)).cpu(), batch["targets"]))
                for _ in batch["targets"]:
                    view.step()
                if batches.interrupts:
                    raise UserError(f"stopped; `hvit resume {settings.folder}` starts it anew")
        return found

    found = [one for part in ranks.gather(work) for one in part]
    if not ranks.is_first:
        return np.empty((0, 0), np.float32), np.empty(0, np.int64)
    features, targets = (torch.cat(parts) for parts in zip(*found, strict=True))
    if prepared.splits.labels.has_classes and targets.ndim > 1:
        targets = targets.argmax(1)
    return features.numpy(), targets.numpy()


def _accuracy(fitted: Fitted, features: np.ndarray, classes: np.ndarray) -> float:
    return float((fitted.predict(features).argmax(1) == classes).mean())


def _standardised(values: np.ndarray, labels: LabelSpec) -> np.ndarray:
    """Labels (samples, outputs) as a head is fitted to them: numbers by the mean and deviation of the training ones."""
    if labels.kind != "regression":
        return values
    return (values.astype(np.float64) - np.array(labels.mean)) / np.array(labels.std)


def _scores(task: Classify, head: nn.Module, asked: Features, is_test: bool = False) -> Scores:
    """The scores of a classifier whose features of the held-out images are known (see `Task.evaluate`).

    is_test: whether they are scored at what the held-out ones have chosen.
    """
    features, classes = (torch.from_numpy(values) for values in asked)
    outputs = task.outputs({"model": head.cpu()}, [{"images": features, "targets": classes}])
    return task.scores_of_test(outputs) if is_test else task.scores_of(outputs)
