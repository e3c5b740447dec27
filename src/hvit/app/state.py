"""What the app keeps and computes: the last images, under random names, their answers, explanations, hidden blocks."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from PIL import Image

from hvit.data.images.reading import read_image
from hvit.data.regular_files import InMemory
from hvit.errors import UserError
from hvit.explain import MAP_METHODS, Tree, gradcat_batch
from hvit.explain.drawing.canvas import picture_pixels
from hvit.explain.methods.hidden_blocks import Cell, HiddenBlocks
from hvit.explain.page import ExplainedClass, ExplainedImage
from hvit.explain.page.assemble import render_card
from hvit.explain.page.encode import picture_address
from hvit.explain.tree import Absent
from hvit.files import JsonObject
from hvit.labels import best_of_levels
from hvit.markup import Html, percent
from hvit.markup import shown as printable
from hvit.metrics.outliers import FAR
from hvit.runtime.answers import level_words
from hvit.snapshots.answers import answers_of, present_classes, reread, shown_answers
from hvit.verbs.classifier import Classifier, Method

_LEAST_SHOWN = 448  # pixels of a side of the pictures
_LONGEST_NAME = 120  # characters
_CARDS_KEPT = 8  # explanations of an image that are kept


class Gone(UserError):
    """An image that is no longer kept."""


class Slow(UserError):
    """Work that took longer than it may."""


@dataclass(frozen=True)
class Limits:
    """What one page may ask of this machine."""

    most_bytes: int = 32_000_000
    """Of an image file."""
    most_images: int = 16
    """Kept at once; the oldest is dropped for a new one."""
    seconds: float = 60.0
    """For a request: its file must arrive in them, and its work be done."""


@dataclass
class _Kept:
    """One image."""

    name: str
    picture: Image.Image
    tensor: torch.Tensor
    answers: list[float]
    blocks: HiddenBlocks | None = None
    cards: OrderedDict[int, Html] = field(default_factory=OrderedDict)


class Images:
    """Images that were dropped into the page, and what is computed of them, one thing at a time."""

    def __init__(self, classifier: Classifier, absent: Absent = "exchanged", limits: Limits | None = None) -> None:
        """Raises UserError for a model of clips, and for one that block Shapley cannot explain."""
        if classifier.preprocess.takes_clips:
            raise UserError("hvit app shows images, and this model takes clips: use hvit predict and hvit explain")
        self.classifier, self.limits = classifier, limits or Limits()
        self.absent: Absent = absent
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._turn = threading.Lock()
        preprocess = classifier.preprocess
        times = max(1, _LEAST_SHOWN // max(preprocess.input_size)) if len(preprocess.mean) == 3 else 1
        self._finer = replace(preprocess, input_size=tuple(times * side for side in preprocess.input_size))

    @property
    def methods(self) -> list[Method]:
        """The explanations of the page: the tree of block Shapley, and the maps that this model allows."""
        return ["block_shapley", *(one for one in ("gradcat", "cam") if one in self.classifier.methods)]

    @property
    def names(self) -> list[str]:
        """Of all outputs."""
        return [self.classifier.name(index) for index in range(self.classifier.model.config.num_classes)]

    def add(self, content: bytes, name: str) -> JsonObject:
        """Takes the content of an image file, and says what is predicted.

        Returns {"id", "name", "picture": an address, "answers": probabilities or values, "present": the classes
        of multi-label that reach their thresholds, "remarks": sentences}. Raises UserError for what is no readable
        image.
        """
        name = printable(name)[:_LONGEST_NAME] or "image"
        preprocess = self.classifier.preprocess
        with self._working():
            image = read_image(InMemory(name, content), len(preprocess.mean), preprocess.grey_range, preprocess.page)
            tensor, picture = preprocess.tensor(image), self._finer.shown(image)
            del image
            batch = tensor[None].to(self.classifier.device)
            with torch.inference_mode():
                answers, features = self.classifier.look(batch)
            remark = self.classifier.remarks(answers, features)[0]
            kept = _Kept(name, picture, tensor, answers[0].tolist())
            identity = secrets.token_urlsafe(12)
            self._kept[identity] = kept
            while len(self._kept) > self.limits.most_images:
                self._kept.popitem(last=False)
        address = picture_address(picture_pixels(picture))
        return {"id": identity, "name": name, "picture": address, **self._said(kept.answers, _sentences(self, remark))}

    def hide(self, identity: str, cells: Sequence[Cell]) -> JsonObject:
        """What is predicted with blocks hidden: {"answers", "present", "remarks"}, as in `add`."""
        with self._working():
            logits = self._blocks(identity).logits(cells)
        labels, temperature = self.classifier.labels, self.classifier.confidence.temperature
        return self._said(answers_of(logits / temperature, labels).tolist(), [])

    def blocks(self, identity: str) -> JsonObject:
        """The blocks of an image: {"side", "baseline": the address of the picture that stands in their place}."""
        with self._working():
            blocks = self._blocks(identity)
        colours = self.classifier.preprocess.pictures_of(blocks.baseline[None].float().cpu())[0].numpy()
        removed = self.absent == "removed"
        return {
            "side": blocks.side,
            "baseline": picture_address(np.broadcast_to(colours, (*colours.shape[:2], 3))),
            "words": "not shown to the model" if removed else f"replaced by {blocks.baseline_name}",
        }

    def card(self, identity: str, class_index: int) -> Html:
        """The explanation of one class of an image, as the page of explanations shows it."""
        with self._working() as progress:
            kept, blocks = self._find(identity), self._blocks(identity)
            if class_index not in kept.cards:
                (tree,) = blocks.trees([class_index], progress)
                kept.cards[class_index] = self._rendered(kept, class_index, tree)
                while len(kept.cards) > _CARDS_KEPT:
                    kept.cards.popitem(last=False)
            return kept.cards[class_index]

    def _rendered(self, kept: _Kept, class_index: int, tree: Tree) -> Html:
        classifier = self.classifier
        names, share = self.names, kept.answers[class_index]
        (tree,) = reread([tree], classifier.labels, names)
        batch, maps = kept.tensor[None].to(classifier.device), {}
        for method in self.methods[1:]:
            if method == "gradcat":
                maps[method] = gradcat_batch(classifier.model, batch, [class_index])[0][0].block_map
            else:
                maps[method] = MAP_METHODS[method](classifier.model, batch, [class_index])[0][0]
        (name,), shares = shown_answers([names[class_index]], [share], classifier.labels)
        one = ExplainedClass(name, None if shares is None else shares[0], tree, maps)
        return render_card(ExplainedImage(kept.name, kept.picture, [one], classifier.classes))

    def _said(self, answers: list[float], remarks: list[str]) -> JsonObject:
        labels = self.classifier.labels
        present = present_classes(answers, labels) if labels.kind == "multi" else None
        if levels := best_of_levels(answers, labels):
            remarks = [level_words(levels), *remarks]
        return {"answers": [float(f"{one:.6g}") for one in answers], "present": present, "remarks": remarks}

    def _find(self, identity: str) -> _Kept:
        if identity not in self._kept:
            raise Gone(f"this image is no longer kept (the last {self.limits.most_images} are): drop it again")
        self._kept.move_to_end(identity)
        return self._kept[identity]

    def _blocks(self, identity: str) -> HiddenBlocks:
        kept, classifier = self._find(identity), self.classifier
        if kept.blocks is None:
            model = classifier.model if classifier.prepared is None else classifier.prepared
            kept.blocks = HiddenBlocks(
                model,
                kept.tensor.to(classifier.device),
                absent=self.absent,
                temperature=classifier.confidence.temperature,
            )
        return kept.blocks

    @contextmanager
    def _working(self) -> Iterator[_Clock]:
        """A turn of the model, which has one at a time; raises Slow where it does not come, or takes, too long."""
        clock = _Clock(self.limits.seconds)
        if not self._turn.acquire(timeout=self.limits.seconds):
            raise Slow(f"other work of this page took longer than {self.limits.seconds:g} seconds: try again")
        try:
            yield clock
        finally:
            self._turn.release()


class _Clock:
    """Ends work at its next step once its time is over."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.end = seconds, time.monotonic() + seconds

    def __call__(self, passes: float) -> None:
        if time.monotonic() > self.end:
            raise Slow(f"this took longer than {self.seconds:g} seconds: ask again, and it goes on from there")


def _sentences(images: Images, remark: JsonObject) -> list[str]:
    """What to say of an answer besides its classes."""
    found, below = [], images.classifier.confidence.unsure_below
    if remark.get("unsure") and below is not None:
        found.append(f"Unsure: no class reaches {percent(below)}, from which this model answers.")
    if remark.get("outlier", 0.0) >= FAR:
        share = percent(remark["outlier"])
        found.append(f"Unlike the training images: farther from them than {share} of the held-out ones.")
    return found
