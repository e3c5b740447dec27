"""Runs of distillation: a classifier is trained on what teachers say to the images that it sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, get_args

import numpy as np
import torch
from torch import nn

from hvit.data.open import FolderData, ImageSet, Splits, open_data
from hvit.data.relabelled import NO_LABEL, Joined, Relabelled
from hvit.data.sets import choose_subset
from hvit.errors import UserError
from hvit.files import absolute_path
from hvit.models.baselines import VitConfig
from hvit.models.build import build_empty, build_network
from hvit.models.catalogue import ModelConfig
from hvit.models.layers.encoder import Encoder
from hvit.models.weights.hub import full_path
from hvit.randomness import seeded
from hvit.recipe import Recipe
from hvit.runs.classification import Classification
from hvit.runs.kind import Prepared, plain_preprocess
from hvit.runs.teacher_answers import ask_teachers, is_remembered, scored_parts
from hvit.runs.teachers import class_order, empty_teacher, has_name, knows_classes, open_teacher
from hvit.tasks.distill import Distill, Student, Teacher, Teachers
from hvit.tasks.distill_settings import DistillConfig
from hvit.tasks.task import Scores, Task
from hvit.training.setup import BatchSource, RunSettings

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
        when = "once for each image" if is_remembered(prepared) else "at every step, as crops and mixtures change"
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
        """Asks the teachers first (see `ask_teachers`); then trains."""
        assert isinstance(task, Distill)
        ask_teachers(task, prepared, batches, settings)
        return super().learn(task, prepared, batches, settings, **facts)

    def finish(self, prepared: Prepared, task: Task, scores: Scores, folder: Path, looked: Any = None) -> None:
        """Adds who taught, and how well they do on the held-out images."""
        assert isinstance(task, Distill)
        scored = prepared.splits.reported
        labels = torch.from_numpy(scored.labels)
        known = iter(list(task.answers.values())[scored_parts(prepared.splits).index(scored)])
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
