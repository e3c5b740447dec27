"""A classifier opened for predicting and explaining: weights, preprocessing and class names, for images and clips."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from PIL import Image

from hvit.class_names import find_class
from hvit.data.clips.decoding import SHORT_SIDE, read_frames
from hvit.data.clips.videos import ClipFacts
from hvit.data.open import read_image
from hvit.data.preprocess import Preprocess, stored_preprocess
from hvit.data.sets import IMAGENET_MEAN, IMAGENET_STD, statistics_for
from hvit.errors import UserError
from hvit.explain import methods_for
from hvit.files import JsonObject
from hvit.labels import LabelSpec, best_of_levels
from hvit.markup import shown as printable
from hvit.metrics.outliers import NearestTraining
from hvit.models.inference.prepare import PreparedModel, prepare_for_inference
from hvit.models.layers.encoder import Encoder
from hvit.models.probe import logits_and_features
from hvit.models.weights.open import open_weights
from hvit.models.weights.read import find_weights
from hvit.run_names import OUTLIERS
from hvit.runtime.answers import ranked
from hvit.snapshots.answers import answers_of, present_classes
from hvit.tasks.confidence import Confidence
from hvit.training.distribute import choose_device

Made = TypeVar("Made")


Method = Literal["block_shapley", "gradcat", "gradcat_libra", "cam", "gradcam", "gradcam++", "rollout"]


_LONGEST_STEM = 120  # bytes


@dataclass(frozen=True)
class Classifier:
    """A model with everything an image needs on its way through it."""

    model: Encoder
    classes: tuple[str, ...]
    preprocess: Preprocess
    device: torch.device
    prepared: PreparedModel | None = None
    """The model made ready for inference (see `made_fast`), for answers that need no gradients."""
    confidence: Confidence = field(default_factory=Confidence)
    """What its weights carry of its probabilities."""
    training: NearestTraining | None = None
    """Features of training images, where they lie next to the weights."""
    others: tuple[Classifier, ...] = ()
    """Classifiers of other folds, whose probabilities are averaged with its own."""
    labels: LabelSpec = field(default_factory=lambda: LabelSpec("single", ()))
    """What the model's outputs are."""

    def logits(self, batch: torch.Tensor) -> torch.Tensor:
        """Logits (batch, num_classes), float32, of a batch on the device."""
        return (self.model if self.prepared is None else self.prepared)(batch).float()

    def answers(self, batch: torch.Tensor) -> torch.Tensor:
        """Probabilities at the temperature of the weights, or numbers in their units, (batch, outputs) float32.

        Of an ensemble the mean.
        """
        own = self.answers_to(self.logits(batch))
        return torch.stack([own, *(other.answers(batch) for other in self.others)]).mean(dim=0)

    def answers_to(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits of this model (batch, outputs) as probabilities at the temperature, or numbers in their units."""
        return answers_of(logits / self.confidence.temperature, self.labels)

    def look(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Answers as `answers`, and features for `remarks`; both on the CPU.

        None for weights without features of training images, for a model that is prepared for inference, and for an
        ensemble.
        """
        if self.training is None or self.prepared is not None or self.others:
            return self.answers(batch).cpu(), None
        logits, features = logits_and_features(self.model, batch)
        return self.answers_to(logits).cpu(), features.cpu()

    def remarks(self, probabilities: torch.Tensor, features: torch.Tensor | None) -> list[JsonObject]:
        """What to say of each answer besides its classes, as far as the weights know it.

        "unsure": whether the highest probability is below the threshold. "distance": from the nearest training images;
        "outlier": the share of held-out images that are nearer to theirs.
        """
        found: list[JsonObject] = [{} for _ in probabilities]
        if (below := self.confidence.unsure_below) is not None and not self.others:
            for remark, highest in zip(found, probabilities.max(dim=1).values.tolist(), strict=True):
                remark["unsure"] = highest < below
        if features is not None and self.training is not None:
            distances = self.training.distances(features.numpy())
            shares = self.training.shares_nearer(distances)
            for remark, distance, share in zip(found, distances.tolist(), shares.tolist(), strict=True):
                remark |= {"distance": round(distance, 6), "outlier": round(share, 4)}
        return found

    @property
    def methods(self) -> tuple[Method, ...]:
        """The explanations that this model allows, the most informative first."""
        return methods_for(self.model)  # pyright: ignore[reportReturnType]

    def name(self, class_index: int) -> str:
        """The name of a class, or its number where the weights carry no names."""
        return self.classes[class_index] if self.classes else f"class {class_index}"

    def class_index(self, wanted: str) -> int:
        """The number of the class that a person means (see `find_class`). Raises UserError for one it does not have."""
        return find_class(wanted, self.classes, self.model.config.num_classes)


def open_ensemble(members: list[Path], device: str = "auto") -> Classifier:
    """The classifier whose probabilities are the mean of those of several run folders.

    Raises UserError where their classes or their preparation of images differ.
    """
    first, *others = [open_classifier(member, device) for member in members]
    for member, other in zip(members[1:], others, strict=True):
        if (other.classes, other.preprocess) != (first.classes, first.preprocess):
            raise UserError(f"{member} and {members[0]} differ in classes or preparation: they are no ensemble")
    labels = first.labels
    if labels.thresholds:  # each fold has chosen its own
        chosen = np.mean([one.labels.thresholds for one in (first, *others)], axis=0)
        labels = replace(labels, thresholds=tuple(chosen.tolist()))
    return replace(first, others=tuple(others), labels=labels)


def open_classifier(weights: Path | str, device: str = "auto") -> Classifier:
    """A classifier from a weights file in any known format, or from a run folder.

    Weights without a stored preprocessing get that of ImageNet: the shorter side to 8/7 of the input, the centre cut
    out, ImageNet's mean and standard deviation.
    """
    opened = open_weights(weights)
    if opened.model.config.num_classes == 0:
        raise UserError(f"{weights} holds an encoder without a head (num_classes=0), which predicts no classes")
    config = opened.model.config
    if opened.preprocess:
        preprocess = stored_preprocess(opened.preprocess, config.input_size, printable(str(weights)))
    else:
        mean, std = statistics_for(IMAGENET_MEAN, IMAGENET_STD, config.in_channels)
        preprocess = Preprocess(config.input_size, mean, std, 0.875, "bilinear", grey_range="auto")
    chosen = choose_device(device)
    confidence = Confidence.read(opened.confidence, printable(str(weights)))
    file = find_weights(weights).parent / OUTLIERS
    training = NearestTraining.load(file, confidence.outliers) if confidence.outliers and file.exists() else None
    return Classifier(
        opened.model.eval().to(chosen), tuple(opened.classes), preprocess, chosen, None, confidence, training,
        labels=opened.labels,
    )  # fmt: skip


def made_fast(classifier: Classifier, batch_size: int) -> tuple[Classifier, str]:
    """The classifier with its model prepared for batches of a size, and the sentence that says what was chosen."""
    prepared = prepare_for_inference(classifier.model, batch_size)
    return replace(classifier, prepared=prepared), str(prepared.choice)


def read_or_refuse(
    files: list[Path], preprocess: Preprocess, refused: Callable[[str], None], make: Callable[[Image.Image], Made]
) -> Iterator[tuple[Path, Made]]:
    """Every readable file with what is made of its image, which is let go of before the next one is read."""
    for file in files:
        try:
            yield file, make(read_image(file, len(preprocess.mean), preprocess.grey_range, preprocess.page))
        except UserError as error:
            refused(str(error))


def free_name(stem: str, taken: set[str]) -> str:
    """What the pictures of an input file are called: as it is, escaped, and as no other picture of this call.

    Long names are cut, with a few letters of their checksum, so that what is added to them fits into the 255 bytes that
    a name may have. Names that some file systems do not distinguish, such as A and a, count as equal.
    """
    name = printable(stem)
    if len(name.encode()) > _LONGEST_STEM:
        checksum = hashlib.sha256(name.encode()).hexdigest()[:8]
        name = f"{name.encode()[:_LONGEST_STEM].decode(errors='ignore')}~{checksum}"
    first, number = name, 1
    while (same := unicodedata.normalize("NFC", name).casefold()) in taken:
        number += 1
        name = f"{first}_{number}"
    taken.add(same)
    return name


def clip_input(
    classifier: Classifier, file: Path, facts: ClipFacts, indices: np.ndarray
) -> tuple[torch.Tensor, np.ndarray]:
    """The model's input (channels, time, height, width), and the frames (time, height, width, channels) it shows."""
    preprocess = classifier.preprocess
    clip = read_frames(file, indices, facts, SHORT_SIDE, preprocess.grey_range, preprocess.page)
    (frames,) = preprocess.shown_clips(preprocess.clip_in_mode(clip))
    return classifier.preprocess.normalised_clip(frames), frames


def ranked_classes(classifier: Classifier, shares: torch.Tensor, top_k: int) -> list[JsonObject]:
    """The most probable classes, for JSON."""
    likely = shares.topk(min(top_k, len(shares)))
    indices = likely.indices.tolist()
    return ranked([classifier.name(index) for index in indices], likely.values.tolist(), indices)


def answer_of(classifier: Classifier, answers: torch.Tensor, top_k: int) -> JsonObject:
    """What is predicted of a sample, for JSON: its classes, with "labels" in multi-label, or its "values"."""
    labels = classifier.labels
    names = [classifier.name(index) for index in range(len(answers))]
    if labels.kind == "regression":
        return {"values": {name: float(f"{value:.6g}") for name, value in zip(names, answers.tolist(), strict=True)}}
    answer: JsonObject = {"classes": ranked_classes(classifier, answers, top_k)}
    if labels.kind == "multi":
        answer["labels"] = [names[index] for index in present_classes(answers.tolist(), labels)]
    if labels.levels:
        answer["levels"] = best_of_levels(answers.tolist(), labels)
    return answer
