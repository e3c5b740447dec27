"""Runs of classification: a classifier of images or of clips, its scores, and explanations of some samples."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast, get_args

from torch import nn

from hvit.data.balance import class_counts
from hvit.data.images.digits import SMALLEST_CANVAS, DigitsData
from hvit.data.layout import spelling
from hvit.data.open import Splits
from hvit.errors import UserError
from hvit.explain.methods.gradcat import has_tree
from hvit.files import write_text
from hvit.labels import LabelSpec
from hvit.markup import some_of
from hvit.metrics.classification import confusion_matrix
from hvit.models.build import build_empty, build_network, count_parameters, multiply_adds
from hvit.models.catalogue import ModelConfig, name_of
from hvit.models.counts import in_billions
from hvit.models.inference.prepare import prepare_for_inference
from hvit.models.layers.encoder import Encoder
from hvit.models.weights.open import open_weights
from hvit.recipe import Recipe, read_recipe
from hvit.run_names import CLIP_RESULTS, PICTURES, PREDICTIONS, RECIPE
from hvit.runs.confidence import Outputs, measure, outputs_of, parts_to_look_at, write_answers, write_predictions
from hvit.runs.folder import write_scores
from hvit.runs.kind import Kind, Prepared, ScoreRequest, plain_preprocess
from hvit.runs.scoring import held_out_batch_size, open_held_out, score_held_out
from hvit.snapshots.explanations import digit_explanations, draw_mistakes, draw_samples
from hvit.tasks.classify import Classify
from hvit.tasks.confidence import Confidence
from hvit.tasks.labelled import task_for
from hvit.tasks.losses import chosen_loss
from hvit.tasks.task import Scores, Task


class Classification(Kind[Encoder]):
    """A classifier is trained on labelled images or clips."""

    configs = get_args(ModelConfig)
    can_be_prepared = True

    def fit_to_data(self, recipe: Recipe, splits: Splits) -> Recipe:
        """See `Kind.fit_to_data`."""
        if not splits.has_labels:
            raise UserError(
                "the data has no labels, or one class only; only masked pretraining and generation train without them"
            )
        chosen_loss(recipe.loss, splits.labels.kind)
        if recipe.confidence.unsure_error is not None and not splits.labels.has_classes:
            raise UserError(
                f"confidence.unsure_error is for one class a sample, and the labels are {splits.labels.describe()}: "
                f"omit it"
            )
        model = cast(ModelConfig, recipe.model)
        count = len(splits.classes)
        if model.num_classes not in (None, count):
            raise UserError(
                f"the recipe has {model.num_classes} classes (--model.num-classes), but the data has {count}; "
                f"set num_classes to {count}, or to None to take the number from the data"
            )
        return replace(recipe, model=replace(model, num_classes=count))

    def describe(self, recipe: Recipe) -> dict[str, str]:
        """See `Kind.describe`."""
        model = cast(ModelConfig, recipe.model)
        size = f"{model.in_channels}x{'x'.join(map(str, model.input_size))}"
        parameters, cost = count_parameters(build_empty(model)), in_billions(multiply_adds(model))
        return {"model": f"{name_of(model)}, {parameters:,} parameters, {cost} multiply-adds on {size}"}

    def build(self, recipe: Recipe) -> Encoder:
        """See `Kind.build`."""
        return build_network(recipe.model)  # pyright: ignore[reportArgumentType, reportReturnType]  (of this kind, as `configs` says)

    def make_task(self, prepared: Prepared, model: Encoder, folder: Path) -> Task:
        """See `Kind.make_task`."""
        splits = prepared.splits
        return task_for(
            model, splits.labels, asdict(prepared.preprocess), prepared.recipe.loss, splits.positive_weights
        )

    def bare_task(self, recipe: Recipe, model: Encoder) -> Task:
        """See `Kind.bare_task`."""
        classes = tuple(map(str, range(model.config.num_classes)))
        return task_for(model, LabelSpec("single", classes), asdict(plain_preprocess(model.config)), recipe.loss)

    def training_notes(self, prepared: Prepared) -> tuple[str, ...]:
        """See `Kind.training_notes`; also of settings that the labels leave without effect."""
        return (*super().training_notes(prepared), *label_notes(prepared.recipe, prepared.splits))

    def look(self, prepared: Prepared, folder: Path) -> dict[str, Outputs]:
        """The outputs of the delivered weights for parts of the data, by name (see `parts_to_look_at`)."""
        model, ranks = open_weights(folder).model, prepared.ranks
        model.to(ranks.device)
        found = {
            part: outputs_of(model, images, prepared.preprocess, ranks, prepared.recipe.loop.workers)
            for part, images in parts_to_look_at(prepared, model).items()
        }
        return {part: outputs for part, outputs in found.items() if outputs is not None}

    def finish(self, prepared: Prepared, task: Task, scores: Scores, folder: Path, looked: Any = None) -> None:
        """Scores all views of clips; draws the worst mistakes and explanations of some samples."""
        outputs = cast(dict[str, Outputs], looked)
        splits = replace(prepared.splits, held_out=prepared.splits.reported)
        preprocess, pictures = prepared.preprocess, folder / PICTURES
        opened = open_weights(folder)
        model, labels = opened.model, replace(opened.labels, names=splits.classes)
        model.to(prepared.ranks.device)
        measured = measure(prepared, outputs, folder) if labels.has_classes else None
        confidence = None
        if measured is not None:
            confidence, scores["calibration"] = measured
        if getattr(prepared.recipe.data, "fold", 0):
            held_out = prepared.splits.held_out
            names = [held_out.name(index) for index in range(len(held_out))]
            if labels.has_classes:
                write_predictions(folder / PREDICTIONS, names, outputs["held_out"], splits.classes, held_out.groups)
            else:
                write_answers(folder / PREDICTIONS, names, outputs["held_out"], labels, held_out.groups)
        if preprocess.takes_clips:
            seen = outputs["test" if prepared.splits.test else "held_out"]
            own = task_for(model, labels, asdict(preprocess), confidence=confidence)
            scores |= own.scores_of({"logits": seen.logits, "targets": seen.labels, "clips": seen.clips})
            describe_clips(scores, model, splits, labels, folder / CLIP_RESULTS)
            scores.get("calibration", {}).pop("confidences", None)
        model.cpu()
        if confidence is not None:
            assert isinstance(task, Classify)
            if not preprocess.takes_clips:
                scores["calibration_error"] = scores["calibration"]["error_after"]
                scores["confidences"] = scores["calibration"].pop("confidences")
            task.confidence = confidence
            task.write_classifier(folder, model)
        scores["model"] = {
            "name": name_of(model.config),
            "parameters": count_parameters(model),
            "multiply_adds": multiply_adds(model.config),
        }
        describe_labels(scores, splits)
        if preprocess.takes_clips:
            return
        if labels.has_classes:
            scores["mistakes"] = draw_mistakes(scores, splits, preprocess, pictures)
        write_scores(folder, scores)
        if has_tree(model):
            data = prepared.recipe.data
            if isinstance(data, DigitsData) and data.canvas >= SMALLEST_CANVAS:
                scores["explanations"] = digit_explanations(model, preprocess, data, pictures)
            else:
                temperature = confidence.temperature if confidence else 1.0
                scores["explained_samples"] = draw_samples(
                    model, preprocess, splits, pictures, temperature, labels=labels
                )

    def score(self, request: ScoreRequest) -> Scores:
        """Accuracy, the confusion matrix and more (see `evaluate` of the task of the labels), in float32."""
        opened, target = request.opened, request.target
        model, config = opened.model, opened.model.config
        data, splits, preprocess = open_held_out(request, labels_needed=True)
        model.to(request.device)
        if opened.classes and list(map(spelling, opened.classes)) != list(map(spelling, splits.classes)):
            raise UserError(
                f"{target} has {len(opened.classes)} classes ({some_of(opened.classes, 5)}), but the data has "
                f"{len(splits.classes)} ({some_of(splits.classes, 5)})"
            )
        if len(splits.classes) != config.num_classes:
            raise UserError(f"{target} has {config.num_classes} classes, but the data has {len(splits.classes)}")
        labels = replace(opened.labels, names=splits.classes, levels=splits.labels.levels or opened.labels.levels)
        if labels.kind != splits.labels.kind:
            raise UserError(
                f"{target} predicts {labels.describe()}, and the labels of the data are {splits.labels.describe()}"
            )
        confidence = Confidence.read(opened.confidence, str(target))
        asked, fast = model, ""
        if request.fast:
            ready = prepare_for_inference(model, held_out_batch_size(preprocess))
            asked, fast = cast(Encoder, ready), str(ready.choice)
            request.report({"fast": fast})
        if request.auroc and labels.kind == "regression":
            raise UserError(f"--auroc is for classes, and {target} predicts numbers; omit it")
        if preprocess.takes_clips:
            task = task_for(asked.eval(), labels, asdict(preprocess), confidence=confidence)
        else:
            loss = read_recipe(target).loss if (target / RECIPE).is_file() else "auto"
            task = task_for(asked, labels, asdict(preprocess), loss, splits.positive_weights, confidence)
        task.ranks = request.auroc
        scores = score_held_out(task, splits, preprocess, request.ranks)
        if preprocess.takes_clips:
            describe_clips(scores, asked, splits, labels)
        if request.fast:
            scores["fast"] = fast
        scores["classes"] = list(splits.classes)
        scores["sample_kind"] = "clips" if preprocess.takes_clips else "images"
        if splits.test is not None:
            scores["evaluated_on"] = "test"
        describe_labels(scores, splits)
        if labels.has_classes:
            scores["confusion"] = confusion_matrix(scores["labels"], scores["predictions"], len(splits.classes))
        if isinstance(data, DigitsData) and data.canvas >= SMALLEST_CANVAS and has_tree(model):
            scores["explanations"] = digit_explanations(model.cpu(), preprocess, data, None)
        return scores


def describe_clips(
    scores: Scores, model: nn.Module, splits: Splits, labels: LabelSpec, results: Path | None = None
) -> None:
    """Adds to the scores of clips how many views they have, and what one costs.

    labels: what the model's outputs are. results: a file of JSON lines to write, one a held-out clip: its name, its
    class, and the predicted class, or its labels and those that were predicted.
    """
    scores["views"] = list(splits.held_out.views)
    if (config := getattr(model, "config", None)) is not None:
        scores["multiply_adds"] = multiply_adds(config)
    if results is not None:
        lines = [
            json.dumps({"clip": splits.held_out.name(number), **answer})
            for number, answer in enumerate(_answers(scores, labels))
        ]
        write_text(results, "\n".join(lines) + "\n")


def _answers(scores: Scores, labels: LabelSpec) -> Iterator[dict[str, object]]:
    """What every held-out sample is, and what it was predicted as."""
    names = labels.names
    if labels.kind == "regression":
        for wanted, found in zip(scores["values"], scores["predicted_values"], strict=True):
            yield {"values": dict(zip(names, wanted, strict=True)), "predicted": dict(zip(names, found, strict=True))}
        return
    if labels.kind == "multi":
        for wanted, found in zip(scores["label_sets"], scores["predicted_sets"], strict=True):
            classes, predicted = ([names[one] for one in some] for some in (wanted, found))
            yield {"classes": classes, "predicted": predicted, "right": wanted == found}
        return
    for label, guess in zip(scores["labels"], scores["predictions"], strict=True):
        yield {"class": names[label], "predicted": names[guess], "right": label == guess}


def describe_labels(scores: Scores, splits: Splits) -> None:
    """Adds to scores what the labels are, where they are not one class a sample, and the sizes of the classes."""
    spec = splits.labels
    if spec.kind != "single":
        scores["label_kind"] = spec.kind
    if spec.kind != "regression":
        scores["training_counts"] = class_counts(splits.train.labels, spec).tolist()


def label_notes(recipe: Recipe, splits: Splits) -> tuple[str, ...]:
    """Sentences on settings of a recipe that numbers leave without effect, or that mean something else for them."""
    augment = recipe.augment
    if splits.labels.kind != "regression":
        return ()
    notes = ()
    if augment.label_smoothing:
        notes = (f"Label smoothing ({augment.label_smoothing:g}) has no meaning for numbers and is not used.",)
    if augment.cutmix:
        notes += (
            "cutmix mixes numbers by the areas of both images, which fits few quantities: --augment.cutmix 0 turns it "
            "off.",
        )
    return notes
