"""What a set of labelled images or clips is, whatever it is made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image

from hvit.data.grey import GreyRange, check_page, checked_range
from hvit.data.reduced import Needed, Reduced
from hvit.data.sampling import Sampling
from hvit.errors import UserError, check_choices
from hvit.labels import LabelSpec
from hvit.randomness import generator

Sample = Image.Image | np.ndarray
"""A picture (mode "RGB" or "L", 8 bits, or a `ChannelImage` of any number of channels), or a clip: (frames, height,
width, channels) uint8, in colour (3) or grey (1).

All frames of a clip have one size; different clips may have different sizes."""
Target = int | np.ndarray
"""The class of an image; or (outputs,) float32: its share of every class, which sum to 1, 0 and 1 for each of several
classes, or numbers."""

Stored = Path | np.ndarray | bytes
"""What a sample consists of: a file, a folder of files (the frames of a clip), or values in memory."""

Progress = Callable[[str, int, int], None]
"""Called while a data set is opened with what is done ("checking images"), how many are done, and how many there are
(0 where nobody knows yet)."""

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GREY_WEIGHTS = (0.299, 0.587, 0.114)


def no_progress(doing: str, done: int, total: int) -> None:
    """Shows nothing."""


class Order(Protocol):
    """The order in which training goes through a set, where some samples cost less to read together."""

    def batch(self, batch_size: int, seed: int, step: int, chances: np.ndarray | None = None) -> np.ndarray:
        """Which samples make up a training batch: (batch_size,). chances: how often each is drawn in an epoch."""
        ...

    def ahead(self, batch_size: int) -> int:
        """How many steps before samples are needed it is good to prepare for them."""
        ...


class ImageSet(ABC):
    """Labelled images, or clips, that are read one at a time.

    labels: (number of images,) int64, the class of each image, known without reading it; with several classes an
    image, or numbers, (number of images, outputs) float32. weights: (number of images,) float32, how much each weighs
    in the loss; None for all the same. chances: (number of images,), how often each is drawn in an epoch on average;
    None for once. views: how many views in time and how many in space are looked at in testing; an image has one.
    sampling: how frames are chosen from a clip; None for images. order: of the samples in training; None for a random
    one.
    """

    labels: np.ndarray
    weights: np.ndarray | None = None
    chances: np.ndarray | None = None
    groups: Sequence[str] | None = None
    """Of the samples that a fold holds out, which group each is of; None where the names of samples say it."""
    views: tuple[int, int] = (1, 1)
    sampling: Sampling | None = None
    order: Order | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def target(self, index: int) -> Target:
        """The label of an image as a target."""
        return int(self.labels[index]) if self.labels.ndim == 1 else self.labels[index]

    @abstractmethod
    def read(self, index: int, draw: int) -> tuple[Sample, Target]:
        """One image or clip (a `Sample`) and its target.

        draw: the number of this sample in the run. Only sets that make their images look at it, to make another one
        each time, and training sets of clips, to choose other frames.
        """

    def read_enough(self, index: int, draw: int, needed: Needed) -> tuple[Sample | Reduced, Target]:
        """As `read`; a set may give a picture that is decoded smaller (a `Reduced`), if not below what is needed."""
        return self.read(index, draw)

    def stored_pixels(self, indices: np.ndarray) -> np.ndarray | None:
        """Several images at once as the set has them, (images, channels, height, width) uint8; None if it has not."""
        return None

    def expect(self, numbers: np.ndarray) -> None:
        """Prepares for reading some samples soon, such as by fetching what they lie in. Asked where there is an
        order."""
        del numbers

    def name(self, index: int) -> str:
        """What to call a sample in a list of results."""
        return str(index)

    def stored(self) -> Iterator[tuple[str, Stored]]:
        """What the set is made of, for its identity: a name that does not say where the set lies, and the content.

        One a sample where samples are stored; a set that makes its samples names what it makes them of.
        """
        return iter(())

    def digest_of_names(self) -> bytes | None:
        """A hash of the names of all samples, of sets so large that `stored` gives only some; None for others."""
        return None

    def read_view(self, index: int, view: int, views: int) -> tuple[Sample, Target]:
        """What testing sees of an image or clip in one of several views in time, and its target."""
        return self.read(index, index)


class ChosenImages(ImageSet):
    """Some images of another set, by their numbers in it."""

    def __init__(self, images: ImageSet, chosen: np.ndarray) -> None:
        self.images, self.chosen = images, chosen
        self.labels, self.views, self.sampling = images.labels[chosen], images.views, images.sampling

    def read(self, index: int, draw: int) -> tuple[Sample, Target]:
        return self.images.read(int(self.chosen[index]), draw)

    def read_enough(self, index: int, draw: int, needed: Needed) -> tuple[Sample | Reduced, Target]:
        """As the set does."""
        return self.images.read_enough(int(self.chosen[index]), draw, needed)

    def stored_pixels(self, indices: np.ndarray) -> np.ndarray | None:
        """As the set has them."""
        return self.images.stored_pixels(self.chosen[indices])

    def name(self, index: int) -> str:
        """What the set calls it."""
        return self.images.name(int(self.chosen[index]))

    def read_view(self, index: int, view: int, views: int) -> tuple[Sample, Target]:
        """As the set does."""
        return self.images.read_view(int(self.chosen[index]), view, views)


@dataclass(frozen=True)
class Splits:
    """An opened data set: the training set, the held-out set, and what the labels mean.

    test: images that only the finished run is scored on, where there are three parts; the held-out set, then called
    validation, chooses weights and thresholds. mean, std: one number a channel on the 0 to 1 scale. notes: sentences
    the user should read before training, such as files that were skipped. grey_range, page: how files are read (see
    `reading.read_image`). spec: what the labels are; None for one class a sample. positive_weights: of several classes
    a sample, what a positive label weighs in the loss, for each class; empty where it weighs 1. channels: their
    names, where images are not grey or colour and the user has named them. later: files of a large set, some of which
    only were checked, that are looked at while training goes on.
    """

    train: ImageSet
    held_out: ImageSet
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    notes: tuple[str, ...] = ()
    grey_range: GreyRange = "full"
    page: int | None = None
    test: ImageSet | None = None
    spec: LabelSpec | None = None
    positive_weights: tuple[float, ...] = ()
    channels: tuple[str, ...] | None = None
    later: tuple[Any, ...] = ()

    @property
    def reported(self) -> ImageSet:
        """What the finished run is scored on: the test set, or the held-out one where there is none."""
        return self.test or self.held_out

    @property
    def labels(self) -> LabelSpec:
        """What the labels are, with the names of the model's outputs."""
        return self.spec or LabelSpec("single", self.classes)

    @property
    def has_labels(self) -> bool:
        """Whether there is anything to predict: numbers, several classes a sample, or two classes or more."""
        return len(self.classes) > 1 or self.labels.kind in ("regression", "multi")


class OwnData(Protocol):
    """The options that a user's own images and own clips have in common."""

    @property
    def grey_range(self) -> GreyRange: ...
    @property
    def page(self) -> int | None: ...
    @property
    def val_fraction(self) -> float: ...
    @property
    def num_per_class(self) -> int | None: ...
    @property
    def fraction(self) -> float | None: ...


def check_own_data(config: OwnData) -> None:
    """What the options of a user's own images and of own clips have in common. Raises UserError for an invalid one."""
    check_choices(config)
    object.__setattr__(config, "grey_range", checked_range(config.grey_range))
    check_page(config.page)
    if not 0 < config.val_fraction < 1:
        raise UserError(f"val_fraction must be a share between 0 and 1, not {config.val_fraction}.")
    check_subset(config.num_per_class, config.fraction)


def check_subset(num_per_class: int | None, fraction: float | None, name: str = "num_per_class") -> None:
    """Raises UserError if a subset is asked for in an impossible way. name: the field that has the number."""
    if num_per_class is not None and fraction is not None:
        raise UserError(
            f"num_per_class ({num_per_class}) and fraction ({fraction}) both choose the train subset: give only one."
        )
    if num_per_class is not None and num_per_class < 1:
        raise UserError(f"{name} must be at least 1, not {num_per_class}.")
    if fraction is not None and not 0 < fraction <= 1:
        raise UserError(f"fraction must be above 0 and at most 1, not {fraction}.")


def choose_subset(
    labels: np.ndarray,
    classes: Sequence[str],
    seed: int,
    num_per_class: int | None,
    fraction: float | None,
    what: str = "images",
    part: str = "training",
) -> np.ndarray:
    """Which images a data-efficiency run is trained on: the same share of every class.

    Subsets of one seed are nested: the 10 images per class of one run are among the 20 of another. A fraction keeps
    at least one image of each class.

    labels: (number of images,). what, part: the words for the samples and for the part of the data. Returns the chosen
    indices in ascending order.
    Raises UserError if a class has fewer images than `num_per_class`.
    """
    if num_per_class is None and fraction is None:
        return np.arange(len(labels))
    chosen = []
    for label, name in enumerate(classes):
        members = np.flatnonzero(labels == label)
        count = num_per_class if num_per_class is not None else max(1, round(len(members) * (fraction or 0)))
        if count > len(members):
            raise UserError(
                f"{'num' if part == 'training' else 'held_out'}_per_class is {count}, but class {name!r} has only "
                f"{len(members)} {part} {what}: "
                f"choose at most {np.bincount(labels, minlength=len(classes)).min()}."
            )
        order = torch.randperm(len(members), generator=generator(seed, "subset", label)).numpy()
        chosen.append(members[order[:count]])
    return np.sort(np.concatenate(chosen))


def subset_notes(chosen: int, available: int, what: str = "images", verb: str = "Training") -> tuple[str, ...]:
    """The sentence that says that training, or testing, sees a subset, if it does."""
    if chosen == available:
        return ()
    return (f"{verb} on a subset of {chosen:,} of {available:,} {what}, the same share of every class.",)


def statistics_for(
    mean: tuple[float, ...], std: tuple[float, ...], in_channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The mean and standard deviation of a colour data set, for models that see colour (3) or grey.

    Channels that are no colours are normalised as grey is.
    """
    if in_channels == 3:
        return mean, std
    grey_mean = sum(weight * value for weight, value in zip(GREY_WEIGHTS, mean, strict=True))
    # Colour channels of photographs rise and fall together, so their deviations mix like their means.
    grey_std = sum(weight * value for weight, value in zip(GREY_WEIGHTS, std, strict=True))
    return (round(grey_mean, 4),) * in_channels, (round(grey_std, 4),) * in_channels


class PublishedData(Protocol):
    """The options that the published sets held in memory have in common."""

    @property
    def num_per_class(self) -> int | None: ...
    @property
    def fraction(self) -> float | None: ...
    @property
    def held_out_per_class(self) -> int | None: ...


def check_published_data(config: PublishedData) -> None:
    """Raises UserError for an option of a published set that is not possible."""
    check_choices(config)
    check_subset(config.num_per_class, config.fraction)
    check_subset(config.held_out_per_class, None, "held_out_per_class")


def splits_in_memory(
    make: Callable[[np.ndarray, np.ndarray], ImageSet],
    train: tuple[np.ndarray, np.ndarray],
    held_out: tuple[np.ndarray, np.ndarray],
    classes: tuple[str, ...],
    seed: int,
    config: PublishedData,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Splits:
    """A published set with its own split, of which a part may be chosen.

    make: a set from pixels and labels. train, held_out: the pixels and the labels (number of images,) of each part.
    seed: chooses the training images; the chosen held-out images are the same for every seed.
    """
    (train_pixels, train_labels), (test_pixels, test_labels) = train, held_out
    chosen = choose_subset(train_labels, classes, seed, config.num_per_class, config.fraction)
    tested = choose_subset(test_labels, classes, 0, config.held_out_per_class, None, part="held-out")
    return Splits(
        train=make(train_pixels[chosen], train_labels[chosen]),
        held_out=make(test_pixels[tested], test_labels[tested]),
        classes=classes,
        mean=mean,
        std=std,
        notes=subset_notes(len(chosen), len(train_labels))
        + subset_notes(len(tested), len(test_labels), verb="Testing"),
    )
