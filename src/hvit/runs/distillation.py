"""Runs of distillation: a classifier is trained on what teachers say to the images that it sees."""

from __future__ import annotations

import hashlib
import json
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args

import numpy as np
import torch
from rich.console import Console
from torch import nn

from hvit.data.augment import Augment
from hvit.data.batches import evaluation_batches
from hvit.data.loader import Batch
from hvit.data.open import CifarData, FashionData, FolderData, ImageSet, Splits, open_data
from hvit.data.preprocess import Preprocess
from hvit.data.relabelled import NO_LABEL, Joined, Relabelled
from hvit.data.sets import choose_subset
from hvit.errors import UserError
from hvit.files import absolute_path, replacing
from hvit.models.baselines import VitConfig
from hvit.models.build import build_empty, build_network
from hvit.models.catalogue import ModelConfig
from hvit.models.layers.encoder import Encoder
from hvit.models.weights.hub import full_path
from hvit.progress import FilesDone
from hvit.randomness import seeded
from hvit.recipe import Recipe
from hvit.run_names import TEACHERS
from hvit.runs.classification import Classification
from hvit.runs.kind import Prepared, plain_preprocess
from hvit.runs.plan_file import fingerprints, read_plan
from hvit.runs.scoring import held_out_batch_size
from hvit.runs.teachers import class_order, empty_teacher, has_name, knows_classes, open_teacher
from hvit.tasks.distill import Distill, Student, Teacher, Teachers, first_key
from hvit.tasks.distill_settings import DistillConfig
from hvit.tasks.task import Scores, Task
from hvit.training.setup import BatchSource, RunSettings

T = TypeVar("T")
_MOST_REMEMBERED = 2**28
"""Numbers of teachers' answers that are kept for all training images: 1 GiB."""
_ONE_OF_ALL = 1e-6
_LOOKED_AT = 8
"""Training images whose size shows whether larger crops would show more."""


class Distillation(Classification):
    """A classifier is distilled from teachers; the run leaves that classifier alone."""

    configs: ClassVar[tuple[type, ...]] = ()

    def takes(self, recipe: Recipe) -> bool:
        """Any recipe that names teachers."""
        return bool(recipe.distill.teachers)

    def with_full_paths(self, recipe: Recipe) -> Recipe:
        """The recipe with the paths of teachers and of unlabelled images made absolute."""
        how = recipe.distill
        teachers = tuple(one if has_name(one) else full_path(one) for one in how.teachers)
        unlabelled = how.unlabelled and str(absolute_path(how.unlabelled))
        return replace(recipe, distill=replace(how, teachers=teachers, unlabelled=unlabelled))

    def fit_splits(self, recipe: Recipe, splits: Splits) -> Splits:
        """The data with the labels that are used, and with more images that have none.

        Data without classes gets those of the teachers; its held-out images get their labels from them, too. Raises
        UserError where a class has fewer labels than asked for.
        """
        how, train = recipe.distill, splits.train
        if len(splits.classes) < 2:
            classes = _classes_of_teachers(recipe)
            note = "The data has no labels: classes are the teachers', and scores compare with their predictions."
            train, held_out = _without_labels(train), _without_labels(splits.held_out)
            test = _without_labels(splits.test) if splits.test else None
            splits = replace(splits, held_out=held_out, test=test, classes=classes, notes=(*splits.notes, note))
        elif how.labels_per_class is not None:
            chosen = choose_subset(train.labels, splits.classes, recipe.seed, how.labels_per_class, None)
            labels = np.full(len(train), NO_LABEL)
            labels[chosen] = train.labels[chosen]
            train = Relabelled(train, labels)
        if how.unlabelled:
            if not isinstance(recipe.model.input_size, tuple) or len(recipe.model.input_size) != 2:
                raise UserError("distill.unlabelled is a folder of images, and the model takes clips; omit it")
            more = open_data(
                FolderData(root=how.unlabelled, labels="none", val_fraction=_ONE_OF_ALL), recipe.seed,
                recipe.model.in_channels,
            ).train  # fmt: skip
            train = Joined(train, _without_labels(more))
        notes = splits.notes
        if getattr(recipe.data, "folds", 0):
            notes += ("A teacher that was trained on images of this data knows those that a fold holds out: scores of "
                      "all folds are then too good.",)  # fmt: skip
        return replace(splits, train=train, notes=notes)

    def fit_to_data(self, recipe: Recipe, splits: Splits) -> Recipe:
        """The recipe with the data's number of classes and the checksums of the teachers.

        Raises UserError for a model that is no classifier; for teachers of other classes, without the features that are
        asked for, of another shape of images, or other ones than the run began with; and for a level that the model
        does not have.
        """
        how = recipe.distill
        if not isinstance(recipe.model, get_args(ModelConfig)):
            raise UserError(
                f"distillation trains a classifier, and the recipe's model is a {recipe.model.family}; "
                f"omit --distill.teachers"
            )
        if not splits.labels.has_classes or splits.train.weights is not None:
            raise UserError(
                "distillation is of one class a sample, all of which weigh the same: choose one label column, and omit "
                "--data.balance weights and weight columns"
            )
        recipe = self.for_plan(super().fit_to_data(recipe, splits))
        teachers = _teachers(recipe)
        checksums = tuple(one.checksum for one in teachers)
        if how.checksums and checksums != how.checksums:
            changed = [
                name for name, old, new in zip(how.teachers, how.checksums, checksums, strict=True) if old != new
            ]
            raise UserError(f"the teacher {changed[0]} is not the one the run began with; restore its weights")
        for teacher in teachers:
            if how.uses_logits:
                class_order(teacher, splits.classes)
            _check_shape(teacher, recipe.model.input_size)
        _check_features(how, teachers, _student(recipe))
        return replace(recipe, distill=replace(how, checksums=checksums))

    def for_training(self, prepared: Prepared) -> Prepared:
        """Training crops are made in the size of the largest network, and the others see them scaled down."""
        recipe, own = prepared.recipe, prepared.preprocess
        size = _view_size(prepared)
        scale = size[0] / own.frame_size[0]
        augment = replace(recipe.augment, pad=round(recipe.augment.pad * scale))
        view = replace(own, input_size=(*own.input_size[:-2], *size))
        return replace(prepared, recipe=replace(recipe, augment=augment), preprocess=view)

    def fixed_networks(self, recipe: Recipe) -> tuple[nn.Module, ...]:
        """The teachers."""
        return tuple(one.model for one in _teachers(recipe))

    def for_plan(self, recipe: Recipe) -> Recipe:
        """See `Kind.for_plan`: the second head of DeiT's token. Raises UserError for a model without a place for it."""
        if not recipe.distill.token:
            return recipe
        if not isinstance(recipe.model, VitConfig):
            raise UserError(
                f"distill.token is for the plain ViT, whose tokens are not pooled; the model is a "
                f"{recipe.model.family}: omit it"
            )
        return replace(recipe, model=replace(recipe.model, distillation_token=True))

    def step_size(self, recipe: Recipe) -> tuple[int, ...]:
        """See `Kind.step_size`: that of the largest network, as photos have the pixels."""
        own = recipe.model.input_size
        teachers = [empty_teacher(what).preprocess.frame_size for what in recipe.distill.teachers]
        return *own[:-2], *max([own[-2:], *teachers])

    def plan_notes(self, recipe: Recipe) -> tuple[str, ...]:
        """See `Kind.plan_notes`."""
        return (
            "Teachers are computed at every step. Where no training image changes from one epoch to the next, they are "
            "asked once for each instead, and steps take less.",
        )

    def bare_task(self, recipe: Recipe, model: Encoder) -> Task:
        """See `Kind.bare_task`; teachers have sizes and no weights."""
        how, config, empty = recipe.distill, model.config, next(model.parameters()).is_meta
        teachers = [empty_teacher(what) for what in how.teachers]
        if not empty:
            teachers = [replace(one, model=build_network(one.model.config).eval()) for one in teachers]
        classes = tuple(map(str, range(config.num_classes)))
        for teacher in teachers:
            _check_shape(teacher, config.input_size)
        _check_features(how, teachers, model)
        orders = [class_order(replace(one, classes=()), classes) if how.uses_logits else None for one in teachers]
        view = replace(plain_preprocess(config), input_size=self.step_size(recipe))
        together = Teachers(teachers, orders, view, how.uses_features)
        level = len(model.level_dims) - 1 if how.level is None else how.level
        with torch.device("meta" if empty else "cpu"):
            student = Student(model, together.feature_dims, level)
        preprocess = plain_preprocess(config)
        return Distill(student, classes, asdict(preprocess), preprocess.frame_size, together, how, 1.0)

    def describe(self, recipe: Recipe) -> dict[str, str]:
        """See `Kind.describe`."""
        how = recipe.distill
        names = [f"{one.name} ({'x'.join(map(str, one.preprocess.input_size))})" for one in _teachers(recipe)]
        several = f", average of their {how.average}" if len(names) > 1 and how.uses_logits else ""
        logits = "their decision" if how.hard else f"logits at temperature {how.temperature:g}"
        words = {"logits": logits, "features": "features", "both": f"{logits} and features"}[how.target]
        token = ", by a distillation token" if how.token else ""
        return {
            **super().describe(recipe),
            "teachers": "; ".join(names) + several,
            "loss": f"{1 - how.label_weight:g} x teachers ({words}{token}) + {how.label_weight:g} x labels",
        }

    def describe_training(self, prepared: Prepared) -> dict[str, str]:
        """See `Kind.describe_training`."""
        train, size = prepared.splits.train, _view_size(prepared)
        labelled = int((train.labels >= 0).sum())
        when = "once for each image" if _is_remembered(prepared) else "at every step, as crops and mixtures change"
        return {
            **super().describe_training(prepared),
            "labels": f"{labelled:,} of {len(train):,} training {prepared.sample_kind} have one that is used",
            "view": f"crops of {size[0]}x{size[1]} for all, {'x'.join(map(str, prepared.preprocess.frame_size))} for "
            f"the student; teachers are computed {when}",
        }

    def make_task(self, prepared: Prepared, model: Encoder, folder: Path) -> Task:
        """See `Kind.make_task`."""
        recipe, splits, how = prepared.recipe, prepared.splits, prepared.recipe.distill
        teachers = _teachers(recipe)
        orders = [class_order(one, splits.classes) if how.uses_logits else None for one in teachers]
        together = Teachers(teachers, orders, self.for_training(prepared).preprocess, how.uses_features)
        level = len(model.level_dims) - 1 if how.level is None else how.level
        with seeded(recipe.seed, "projection"):
            student = Student(model, together.feature_dims, level)
        share = float((splits.train.labels >= 0).mean())
        preprocess = prepared.preprocess
        return Distill(student, splits.classes, asdict(preprocess), preprocess.frame_size, together, how, share)

    def learn(
        self, task: Task, prepared: Prepared, batches: BatchSource, settings: RunSettings, **facts: object
    ) -> Scores:
        """Asks the teachers about the held-out images, and where nothing is augmented about all; then trains."""
        assert isinstance(task, Distill)
        path, identity = settings.folder / TEACHERS, _identity(prepared, settings.folder)
        self._write_answers(path, identity, task, prepared, batches, settings)
        stored = _stored(path, identity)
        assert stored is not None
        for number, images in enumerate(_scored_parts(prepared.splits)):
            said = [torch.from_numpy(one) for one in stored[f"part_{number}"]]
            task.answers[stored["firsts"][number].tobytes()] = said
            if said and isinstance(images, Relabelled) and (images.labels < 0).all():
                images.labels[:] = task.together(said).argmax(dim=1).numpy()
        if len(stored["keys"]):
            task.teachers.remember(stored["keys"], stored["rows"])
        task.seconds_asked = float(stored["seconds"])
        return super().learn(task, prepared, batches, settings, **facts)

    def finish(self, prepared: Prepared, task: Task, scores: Scores, folder: Path, looked: Any = None) -> None:
        """Adds who taught, and how well they do on the held-out images."""
        assert isinstance(task, Distill)
        scored = prepared.splits.reported
        labels = torch.from_numpy(scored.labels)
        known = iter(list(task.answers.values())[_scored_parts(prepared.splits).index(scored)])
        scores["distillation"] = {
            "target": prepared.recipe.distill.target,
            "seconds_asked": task.seconds_asked,
            "teachers": [
                {"name": one.name}
                | (
                    {"top1": (next(known).argmax(dim=1) == labels).double().mean().item()}
                    if knows_classes(one, prepared.splits.classes)
                    else {}
                )
                for one in task.teachers.teachers
            ],
        }
        super().finish(prepared, task, scores, folder, looked)

    def _write_answers(
        self, path: Path, identity: str, task: Distill, prepared: Prepared, batches: BatchSource, settings: RunSettings
    ) -> None:
        """Writes what teachers say, where an earlier start of the run has not."""
        splits, ranks, began = prepared.splits, settings.ranks, time.monotonic()
        if ranks.of_first(lambda: _stored(path, identity) is not None):
            return
        firsts, parts = [], {}
        for number, images in enumerate(_scored_parts(splits)):
            first = next(iter(evaluation_batches(images, preprocess=prepared.preprocess, batch_size=1, views=(1, 1))))[
                "images"
            ]
            firsts.append(np.frombuffer(first_key(first), np.uint8))
            said = [self._logits(one, images, prepared, batches, settings) for one in task.teachers.teachers]
            known = [one for one in said if one is not None]
            parts[f"part_{number}"] = np.stack(known) if known else np.empty((0, len(images), 0), np.float32)

        def ask(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
            images = batch["images"].to(ranks.device)
            keys = np.frombuffer(b"".join(task.teachers.keys(images)), np.uint8).reshape(-1, 16)
            return keys, task.teachers.ask(images).cpu().numpy()

        keys, rows = np.empty((0, 16), np.uint8), np.empty((0, 0), np.float32)
        if _is_remembered(prepared):
            found = _of_all(ask, splits.train, task.teachers.view, batches, settings)
            if ranks.is_first:
                keys, rows = (np.concatenate(some) for some in zip(*found, strict=True))

        def write() -> None:
            with replacing(path) as file:
                np.savez(
                    file, identity=np.array(identity), firsts=np.stack(firsts), **parts, keys=keys, rows=rows,
                    seconds=np.array(time.monotonic() - began),
                )  # fmt: skip

        ranks.first_only(write)

    def _logits(
        self, teacher: Teacher, images: ImageSet, prepared: Prepared, batches: BatchSource, settings: RunSettings
    ) -> np.ndarray | None:
        """What a teacher says to images that it sees as it was trained: logits (images, classes of the data).

        None of a teacher of other classes, and in all processes but the first, which computes them with the others.
        """
        splits, ranks = prepared.splits, settings.ranks
        if not knows_classes(teacher, splits.classes):
            return None
        own = replace(teacher.preprocess, grey_range=splits.grey_range, page=splits.page)
        teacher.model.to(ranks.device)

        @torch.inference_mode()
        def ask(batch: Batch) -> np.ndarray:
            logits = teacher(batch["images"].to(ranks.device))[0]
            assert logits is not None
            return logits[:, class_order(teacher, splits.classes)].cpu().numpy()

        found = _of_all(ask, images, own, batches, settings)
        return np.concatenate(found) if ranks.is_first else None


def _scored_parts(splits: Splits) -> list[ImageSet]:
    """The parts of the data that a run is scored on."""
    return [one for one in (splits.held_out, splits.test) if one is not None]


def _without_labels(images: ImageSet) -> Relabelled:
    return Relabelled(images, np.full(len(images), NO_LABEL))


def _teachers(recipe: Recipe) -> list[Teacher]:
    return [open_teacher(what) for what in recipe.distill.teachers]


def _classes_of_teachers(recipe: Recipe) -> tuple[str, ...]:
    """The names of the classes of the first teacher, for data without any. Raises UserError where it has none."""
    first = _teachers(recipe)[0]
    if not first.classes or not recipe.distill.uses_logits:
        raise UserError(
            "the data has no labels: distill it from the logits of a teacher whose weights carry the names of its "
            f"classes; {first.name} has {len(first.classes)}, and distill.target is {recipe.distill.target}"
        )
    return first.classes


def _student(recipe: Recipe) -> Encoder:
    """The model without memory."""
    return build_empty(recipe.model)  # pyright: ignore[reportArgumentType, reportReturnType]


def _check_features(how: DistillConfig, teachers: Sequence[Teacher], student: Encoder) -> None:
    """Raises UserError for teachers without the features that are matched, and for a level that no student has."""
    for teacher in teachers:
        if how.uses_features and teacher.feature_dim is None:
            raise UserError(
                f"the teacher {teacher.name} has no features to project onto: its head is not one linear layer; "
                f"set distill.target to logits"
            )
    levels = len(student.level_dims)
    if how.level is not None and how.level >= levels:
        raise UserError(f"distill.level must be from 0 to {levels - 1} for this model; got {how.level}")


def _check_shape(teacher: Teacher, input_size: tuple[int, ...]) -> None:
    """Raises UserError for a teacher that cannot see what the model sees."""
    theirs = teacher.preprocess.input_size
    (height, width), (rows, columns) = theirs[-2:], input_size[-2:]
    if theirs[:-2] != input_size[:-2] or height * columns != width * rows:
        raise UserError(
            f"the teacher {teacher.name} takes inputs of {theirs} and the model of {input_size}: both must be images, "
            f"or clips of as many frames, of the same proportions"
        )


def _view_size(prepared: Prepared) -> tuple[int, int]:
    """Height and width of training crops: the largest network's, or the model's where the data has no more pixels."""
    own = prepared.preprocess.frame_size
    largest = max([own, *(one.preprocess.frame_size for one in _teachers(prepared.recipe))])
    if largest == own or prepared.preprocess.takes_clips:
        return largest
    train = prepared.splits.train
    looked_at = np.unique(np.linspace(0, len(train) - 1, _LOOKED_AT).astype(int)).tolist()
    pictures = [np.asarray(train.read(number, number)[0]).shape for number in looked_at]
    return own if all(rows <= own[0] and columns <= own[1] for rows, columns, *_ in pictures) else largest


def _is_remembered(prepared: Prepared) -> bool:
    """Whether every training image is seen in one way only, so that teachers are asked about it once."""
    augment, recipe = prepared.recipe.augment, prepared.recipe
    if Augment(augment, prepared.preprocess).is_random or augment.mixup or augment.cutmix:
        return False
    if not isinstance(recipe.data, FolderData | CifarData | FashionData):
        return False
    width = sum(one.num_classes + (one.feature_dim or 0) for one in _teachers(recipe))
    return len(prepared.splits.train) * width <= _MOST_REMEMBERED


def _identity(prepared: Prepared, folder: Path) -> str:
    """What the teachers' answers depend on: the data, the teachers, and how images are prepared."""
    how = prepared.recipe.distill
    facts = [fingerprints(read_plan(folder))["data"], how.checksums, how.target, asdict(prepared.preprocess)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _stored(path: Path, identity: str) -> dict[str, np.ndarray] | None:
    """The answers that a start of the run has left; None where there are none of these teachers and data."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = {name: stored[name] for name in stored}
            _ = [found[name] for name in ("firsts", "part_0", "keys", "rows", "seconds")]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return found if str(found["identity"]) == identity else None


def _of_all(
    ask: Callable[[Batch], T], images: ImageSet, preprocess: Preprocess, batches: BatchSource, settings: RunSettings
) -> list[T]:
    """What is answered to every batch of a set, with progress; each process asks about a part.

    Returns all answers in the first process, in order. Raises UserError where the run is interrupted.
    """
    ranks = settings.ranks
    loader = evaluation_batches(
        images, preprocess=preprocess, batch_size=held_out_batch_size(preprocess), views=(1, 1), rank=ranks.rank,
        world_size=ranks.world_size, workers=settings.loop.workers,
        stops=batches.interrupts.__bool__ if ranks.world_size == 1 else lambda: False,
    )  # fmt: skip
    words, console = ("asking the teachers", "done", "images"), Console(stderr=True, quiet=not ranks.is_first)

    def work() -> list[T]:
        answers = []
        with batches.interrupts.kept(), FilesDone(-(-len(images) // ranks.world_size), console, words) as view:
            for batch in loader:
                answers.append(ask(batch))
                for _ in batch["targets"]:
                    view.step()
                if batches.interrupts:
                    raise UserError(f"stopped; `hvit resume {settings.folder}` starts it anew")
        return answers

    return [answer for some in ranks.gather(work) for answer in some]
