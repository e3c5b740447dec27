"""Distillation: a classifier is trained on what teachers say to the very images that it sees."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvit.data.preprocess import Preprocess
from hvit.explain.methods.request import levels_and_logits
from hvit.models.baselines import Vit
from hvit.models.layers.encoder import Encoder
from hvit.models.masked.model import MaskedAutoencoder
from hvit.tasks.classify import Classify
from hvit.tasks.distill_settings import DistillConfig
from hvit.tasks.task import WHOLE, Batch, Before, Networks, Outputs, Phase, Scores

_GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Teacher:
    """A network that another one is distilled from, with everything an image needs on its way through it."""

    name: str
    """What it is called in plans and reports."""
    model: Encoder | MaskedAutoencoder
    """In evaluation mode, without gradients."""
    classes: tuple[str, ...]
    """Names of its classes in the order of its logits; empty where its weights carry none."""
    preprocess: Preprocess
    """How its images are prepared."""
    checksum: str
    """SHA-256 of its weights."""

    @property
    def num_classes(self) -> int:
        """Number of its logits; 0 of a masked autoencoder."""
        return 0 if isinstance(self.model, MaskedAutoencoder) else self.model.config.num_classes

    @property
    def feature_dim(self) -> int | None:
        """Width of its features; None where it has none, because its head is not one linear layer."""
        if isinstance(self.model, MaskedAutoencoder):
            return self.model.encoder.level_dims[-1]
        head = self.model.head
        return head.in_features if isinstance(head, nn.Linear) else None

    def __call__(self, images: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Logits (batch, classes) and features (batch, dim) of prepared images, float32; None for what it has not."""
        if isinstance(self.model, MaskedAutoencoder):
            return None, self.model.features(images).float()
        taken: list[Tensor] = []
        head = self.model.head
        handle = None
        if isinstance(head, nn.Linear):
            handle = head.register_forward_pre_hook(lambda module, inputs: taken.append(inputs[0].flatten(1)))
        try:
            logits = self.model(images).float()
        finally:
            if handle is not None:
                handle.remove()
        return logits, taken[0].float() if taken else None


def resized(images: Tensor, size: tuple[int, int], interpolation: str) -> Tensor:
    """Images (batch, channels, *any) or clips (batch, channels, time, *any) with frames of a size, antialiased."""
    if images.shape[-2:] == size:
        return images
    mode = "bicubic" if interpolation in ("bicubic", "lanczos") else "bilinear"
    frames = images.transpose(1, 2).flatten(0, 1) if images.ndim == 5 else images
    frames = F.interpolate(frames.float(), size=size, mode=mode, antialias=True)
    return frames.unflatten(0, (len(images), -1)).transpose(1, 2) if images.ndim == 5 else frames


def in_channels(images: Tensor, channels: int) -> Tensor:
    """Images, or clips, (batch, channels, ...) on the 0 to 1 scale in grey or in colour."""
    if images.shape[1] == channels:
        return images
    if images.shape[1] == 1:
        return images.expand(-1, channels, *images.shape[2:])
    return (images * images.new_tensor(_GREY).view(-1, *[1] * (images.ndim - 2))).sum(dim=1, keepdim=True)


def first_key(images: Tensor) -> bytes:
    """A hash of the first of some images, bit for bit."""
    return hashlib.blake2b(images[0].float().cpu().contiguous().numpy().tobytes(), digest_size=16).digest()


class Teachers:
    """Several teachers as one: what they say to a batch as the training loader makes it, in one row per image.

    teachers: at least one. orders: of each, which of its logits belong to the classes of the data, in their order; or
    None where its logits are not used. view: how the batch was prepared. features: whether features are in the rows.
    """

    def __init__(
        self, teachers: Sequence[Teacher], orders: Sequence[Sequence[int] | None], view: Preprocess, features: bool
    ) -> None:
        self.teachers, self.orders, self.view = tuple(teachers), tuple(orders), view
        self.feature_dims = tuple(one.feature_dim or 0 for one in teachers) if features else ()
        self.known: dict[bytes, int] = {}
        self.rows = torch.empty(0)

    @property
    def widths(self) -> list[int]:
        """Numbers in a row: the logits of every teacher whose logits are used, then the features of every teacher."""
        return [len(order) for order in self.orders if order is not None] + list(self.feature_dims)

    def prepared(self, teacher: Teacher, images: Tensor) -> Tensor:
        """A batch of the training loader as a teacher takes it: same crop, its own size and normalisation."""
        sides = [1] * (images.ndim - 2)
        mean, std = (images.new_tensor(values).view(-1, *sides) for values in (self.view.mean, self.view.std))
        images = in_channels(images * std + mean, len(teacher.preprocess.mean))
        images = resized(images, teacher.preprocess.frame_size, teacher.preprocess.interpolation)
        mean, std = (
            images.new_tensor(values).view(-1, *sides) for values in (teacher.preprocess.mean, teacher.preprocess.std)
        )
        return (images - mean) / std

    def ask(self, images: Tensor) -> Tensor:
        """The rows (batch, sum of `widths`) of a batch, computed, in evaluation mode and without gradients."""
        logits, features = [], []
        with torch.inference_mode():
            for teacher, order in zip(self.teachers, self.orders, strict=True):
                teacher.model.to(images.device)
                said, seen = teacher(self.prepared(teacher, images))
                if order is not None and said is not None:
                    logits.append(said[:, list(order)])
                if self.feature_dims and seen is not None:
                    features.append(seen)
            rows = torch.cat([*logits, *features], dim=1)
        return rows.clone()  # outside of inference mode, so that a loss may keep it

    def __call__(self, images: Tensor) -> Tensor:
        """As `ask`; images that are remembered are not computed again."""
        if not self.known:
            return self.ask(images)
        places = [self.known.get(key, -1) for key in self.keys(images)]
        rows = self.rows[[max(place, 0) for place in places]].to(images.device)
        new = [number for number, place in enumerate(places) if place < 0]
        if new:
            rows[new] = self.ask(images[new])
        return rows

    def keys(self, images: Tensor) -> list[bytes]:
        """What distinguishes one image of a batch from another: a hash of its 8-bit pixels."""
        sides = [1] * (images.ndim - 2)
        mean, std = (images.new_tensor(values).view(-1, *sides) for values in (self.view.mean, self.view.std))
        pixels = ((images * std + mean) * 255).round().clamp(0, 255).byte().cpu().contiguous().numpy()
        return [hashlib.blake2b(one.tobytes(), digest_size=16).digest() for one in pixels]

    def remember(self, keys: np.ndarray, rows: np.ndarray) -> None:
        """Takes rows (images, width) as what is said to the images with the keys (images, 16) uint8."""
        self.known = {key.tobytes(): number for number, key in enumerate(keys)}
        self.rows = torch.from_numpy(rows)


class Student(nn.Module):
    """A classifier with what distillation adds to it while it trains: projections onto the teachers' features.

    classifier: an encoder. feature_dims: the width of the features of every teacher, none where they are not matched.
    level: whose mean is projected.
    """

    def __init__(self, classifier: Encoder, feature_dims: Sequence[int], level: int) -> None:
        super().__init__()
        self.classifier, self.level = classifier, level
        self.projections = nn.ModuleList(nn.Linear(classifier.level_dims[level], dim) for dim in feature_dims)

    @property
    def config(self) -> Any:
        """The classifier's configuration."""
        return self.classifier.config

    def level_of(self, parameter_name: str) -> int:
        """The classifier's `level_of`; projections are trained as its head."""
        part, _, name = parameter_name.partition(".")
        if part == "classifier":
            return self.classifier.level_of(name)
        return max(self.classifier.level_of(name) for name, _ in self.classifier.named_parameters())

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Logits for the labels, logits for the teachers (the same but for a distillation token), projections."""
        classifier = self.classifier
        if isinstance(classifier, Vit) and classifier.config.distillation_token:
            maps, tokens = classifier.encode(images)
            own, distilled = classifier.both_logits(tokens)
        elif len(self.projections):
            maps, own = levels_and_logits(classifier, images)
            distilled = own
        else:
            own = distilled = classifier(images)
            return own, distilled
        if not len(self.projections):
            return own, distilled
        pooled = maps[self.level].flatten(1, -2).mean(1)
        return own, distilled, *(project(pooled) for project in self.projections)


class Distill(Classify):
    """Trains a classifier on labels and on what teachers say.

    student: with as many projections as features are matched. classes, preprocess: as for `Classify`. teachers: who is
    asked. how: the recipe's section. labelled_share: share of the training images that have a label.
    """

    phases = (Phase("distill", network="model"),)

    def __init__(
        self,
        student: Student,
        classes: tuple[str, ...],
        preprocess: Mapping[str, object],
        size: tuple[int, int],
        teachers: Teachers,
        how: DistillConfig,
        labelled_share: float,
    ) -> None:
        super().__init__(student.classifier, classes, preprocess)
        self.networks = {"model": student}
        self.size, self.teachers, self.how, self.labelled_share = size, teachers, how, labelled_share
        self.answers: dict[bytes, list[Tensor]] = {}
        """What each teacher of the same classes says to the images of a part of the data, logits (images, classes), by
        the first image of that part (see `first_key`)."""
        self.seconds_asked = 0.0
        """How long the teachers were asked before training."""

    @property
    def fixed(self) -> tuple[nn.Module, ...]:
        """The teachers."""
        return tuple(one.model for one in self.teachers.teachers)

    def loss(self, phase: Phase, networks: Networks, batch: Batch) -> Tensor:
        """The labels' cross entropy over the images that have one, and the teachers' loss over all.

        batch["images"] as the loader makes them: the student sees them in its own size, the teachers in theirs.
        batch["targets"]: class shares (batch, num_classes); all zeros for an image without a label.
        """
        how, images, targets = self.how, batch["images"], batch["targets"]
        student_view = resized(images, self.size, str(self.preprocess.get("interpolation", "bilinear")))
        own, distilled, *projected = networks["model"](student_view)
        rows = self.teachers(images).split(self.teachers.widths, dim=1)
        features = rows[len(rows) - len(projected) :]
        losses = []
        if how.uses_logits:
            losses.append(self._logits_loss(distilled.float(), rows[: len(rows) - len(projected)]))
        if projected:
            weight = how.feature_weight if how.target == "both" else 1.0
            pairs = zip(projected, features, strict=True)
            # Features are normalised first, so that no teacher's scale matters (Wei et al. 2022, arXiv 2205.14141).
            distances = [F.mse_loss(guess.float(), F.layer_norm(seen, seen.shape[1:])) for guess, seen in pairs]
            losses.append(weight * torch.stack(distances).mean())
        loss = (1 - how.label_weight) * torch.stack(losses).sum()
        if how.label_weight and self.labelled_share:
            entropies = -(targets * own.float().log_softmax(dim=1)).sum()
            loss = loss + how.label_weight * entropies / (len(images) * self.labelled_share)
        return loss

    def _logits_loss(self, guess: Tensor, said: Sequence[Tensor]) -> Tensor:
        """How far the student's logits (batch, classes) are from those of the teachers, each (batch, classes)."""
        wanted = self.together(said, self.how.temperature)
        if self.how.hard:
            return F.cross_entropy(guess, wanted.argmax(dim=1))
        log_shares = (guess / self.how.temperature).log_softmax(dim=1)
        # The square keeps the size of the gradients independent of the temperature (Hinton et al., section 2).
        return F.kl_div(log_shares, wanted, reduction="batchmean") * self.how.temperature**2

    def together(self, said: Sequence[Tensor], temperature: float = 1.0) -> Tensor:
        """The average of several teachers' logits (batch, classes) as probabilities."""
        if self.how.average == "logits":
            return (torch.stack(list(said)).mean(dim=0) / temperature).softmax(dim=1)
        return torch.stack([(one / temperature).softmax(dim=1) for one in said]).mean(dim=0)

    def outputs(self, networks: Networks, batches: Iterable[Batch], before: Before = WHOLE) -> Outputs:
        """As `Classify.outputs`, and the "key" of the first image of these batches."""
        student, keys = cast(Student, networks["model"]), list[bytes]()

        def watched() -> Iterator[Batch]:
            for batch in batches:
                keys.extend([] if keys else [first_key(batch["images"])])
                yield batch

        outputs = super().outputs({"model": student.classifier}, watched(), before)
        return outputs | ({"key": torch.frombuffer(bytearray(keys[0]), dtype=torch.uint8)[None]} if keys else {})

    def scores_of(self, outputs: Outputs) -> Scores:
        """As `Classify.scores_of`. Where teachers know the classes: "teacher_top1", their accuracy on the same images;
        "agreement", the share of images to which student and teachers give the same class."""
        scores = super().scores_of(outputs)
        said = self.answers.get(outputs["key"][0].numpy().tobytes(), [])
        if said and len(said[0]) == scores["count"]:
            decided = self.together(said).argmax(dim=1)
            labels, guesses = torch.tensor(scores["labels"]), torch.tensor(scores["predictions"])
            scores["teacher_top1"] = (decided == labels).double().mean().item()
            scores["agreement"] = (decided == guesses).double().mean().item()
        return scores

    def save_weights(self, folder: Path, networks: Networks) -> None:
        """Writes the classifier alone, as `Classify.save_weights`."""
        super().save_weights(folder, {"model": cast(Student, networks["model"]).classifier})
