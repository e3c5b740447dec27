"""Batches in a fixed order: batch number k of a run is a function of (seed, k), whoever makes it and when."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import groupby, repeat
from math import prod

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hvit.data.augment import Augment
from hvit.data.augment_settings import AugmentConfig
from hvit.data.balance import draw_epoch
from hvit.data.loader import Batch, load_in_order
from hvit.data.mixing import check_mixing, join_weights, mix, part_weights, soft_targets
from hvit.data.preprocess import Preprocess
from hvit.data.sets import ImageSet, Reduced, Sample, Target
from hvit.errors import UserError
from hvit.labels import LabelKind
from hvit.randomness import generator, places_of


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """How many whole batches one pass over the images makes; at least one."""
    return max(1, num_images // batch_size)


def small_set_notes(num_images: int, batch_size: int, what: str = "images") -> tuple[str, ...]:
    """The sentence that says that a training set is smaller than a batch, if it is."""
    if num_images >= batch_size:
        return ()
    return (
        f"The {num_images:,} training {what} are fewer than a batch of {batch_size:,}, so each step sees some of them "
        f"several times; with --loop.batch-size {num_images} or less, no epoch would see one of them twice.",
    )


def batch_indices(num_images: int, batch_size: int, seed: int, step: int) -> np.ndarray:
    """Which images make up a training batch: (batch_size,).

    Every epoch shuffles the images anew and cuts whole batches from them; the rest waits for another epoch. A set
    smaller than a batch is repeated, shuffled anew each time.
    """
    epoch, place = divmod(step, steps_per_epoch(num_images, batch_size))
    rounds = math.ceil(batch_size / num_images)
    return _order(num_images, rounds, seed, epoch)[place * batch_size : (place + 1) * batch_size]


@lru_cache(maxsize=2)
def _order(num_images: int, rounds: int, seed: int, epoch: int) -> np.ndarray:
    """An epoch's order of the images, `rounds` times over."""
    random = generator(seed, "shuffle", epoch)
    return torch.cat([torch.randperm(num_images, generator=random) for _ in range(rounds)]).numpy()


def balanced_indices(chances: np.ndarray, batch_size: int, seed: int, step: int) -> np.ndarray:
    """As `batch_indices`, with every image as often in an epoch as its chance says, rounded up or down.

    chances: (number of images,) with mean 1.
    """
    epoch, place = divmod(step, steps_per_epoch(len(chances), batch_size))
    rounds = math.ceil(batch_size / len(chances))
    return _balanced_order(_Chances(chances), rounds, seed, epoch)[place * batch_size : (place + 1) * batch_size]


class _Chances:
    """Chances as a key: equal where they are the same array."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __hash__(self) -> int:
        return id(self.values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Chances) and self.values is other.values


@lru_cache(maxsize=2)
def _balanced_order(chances: _Chances, rounds: int, seed: int, epoch: int) -> np.ndarray:
    """An epoch's order of the images that are drawn, `rounds` times over."""
    random = generator(seed, "balanced", epoch)
    parts = []
    for _ in range(rounds):
        looked_at = torch.randperm(len(chances.values), generator=random).numpy()
        drawn = looked_at[draw_epoch(chances.values[looked_at], float(torch.rand((), generator=random)))]
        parts.append(drawn[torch.randperm(len(drawn), generator=random).numpy()])
    return np.concatenate(parts)


def train_batches(
    images: ImageSet,
    *,
    num_classes: int,
    preprocess: Preprocess,
    augment: AugmentConfig,
    seed: int,
    batch_size: int,
    total_steps: int,
    label_kind: LabelKind = "single",
    start_step: int = 0,
    repeats: int = 1,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    pin_memory: bool = False,
    stops: Callable[[], bool] = lambda: False,
) -> DataLoader[Batch]:
    """The training batches number start_step to total_steps - 1, shuffled, augmented and mixed.

    batch_size: images of all processes together; process `rank` of `world_size` gets its share of each batch, in the
    places that `randomness.places_of` says. All processes together get what one would.
    repeats: how often each image is in its batch, read once and varied anew each time (repeated augmentation, Hoffer et
    al., arXiv 1901.09335): for clips, whose reading takes longer than varying them. A batch then holds batch_size /
    repeats different images, and a pass over all of them takes `repeats` times as many steps.
    workers: processes that prepare batches ahead, 0 for none; batches are the same for any number.
    pin_memory: whether batches come in memory that copies fast to a GPU.
    stops: asked every two seconds while no batch comes from the workers; if true, UserError is raised.
    Raises UserError if the batch cannot be shared out equally, or not in pairs where these are mixed.
    """
    if batch_size < 1 or batch_size % world_size:
        raise UserError(
            f"batch_size must be a multiple of the {world_size} processes and at least 1, not {batch_size}."
        )
    if repeats < 1 or batch_size // world_size % repeats:
        raise UserError(
            f"the {batch_size // world_size} images of a process's batch cannot each be there {repeats} times: choose "
            "repeats that divide it."
        )
    check_mixing(augment, batch_size, world_size)
    source = _TrainSource(
        images, num_classes, Augment(augment, preprocess), seed, batch_size, repeats, rank, world_size, label_kind
    )
    return load_in_order(source, range(start_step, total_steps), workers, pin_memory, stops)


def evaluation_batches(
    images: ImageSet,
    *,
    preprocess: Preprocess,
    batch_size: int,
    views: tuple[int, int] | None = None,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    pin_memory: bool = False,
    stops: Callable[[], bool] = lambda: False,
) -> DataLoader[Batch]:
    """All images once, in order and without augmentation; the last batch may be smaller.

    Of clips every view is a row: all views of the first clip, those of its first time before those of the second, then
    of the next clip. A batch may end between two views of a clip, so its scores are to be put together by "clips".

    batch_size: images, or views. views: how many views in time and how many in space (1 or 3), None for as many as the
    set has. Process `rank` of `world_size` gets one stretch of the batches; all stretches in the order of the ranks are
    the whole, in the same batches as of one process.
    """
    if batch_size < 1:
        raise UserError(f"batch_size must be at least 1, not {batch_size}.")
    source = _TestSource(images, preprocess, batch_size, views or images.views, rank, world_size)
    return load_in_order(source, range(len(source)), workers, pin_memory, stops)


def batches_before(images: int, batch_size: int, rank: int, world_size: int) -> int:
    """How many batches of a set are those of the processes before this one."""
    return math.ceil(images / batch_size) * rank // world_size


class _TrainSource(Dataset[Batch]):
    """Makes the batch of any step."""

    def __init__(
        self,
        images: ImageSet,
        num_classes: int,
        augment: Augment,
        seed: int,
        batch_size: int,
        repeats: int,
        rank: int,
        world_size: int,
        label_kind: LabelKind,
    ) -> None:
        self.images, self.num_classes, self.augment = images, num_classes, augment
        self.label_kind: LabelKind = label_kind
        self.seed, self.batch_size, self.repeats = seed, batch_size, repeats
        self.places = places_of(batch_size, rank, world_size).numpy()
        # Which different images of the batch these are, and how often each is there.
        self.numbers, self.copies = np.unique(self.places // repeats, return_counts=True)

    def __getitem__(self, index: int) -> Batch:
        step = index
        chosen = self._chosen(step)[self.numbers]
        if self.images.order is not None:
            ahead = self.images.order.ahead(self.batch_size // self.repeats)
            self.images.expect(np.concatenate([chosen, self._chosen(step + ahead)[self.numbers]]))
        # The draw of the first copy of each image, which may be in another process.
        first_draws = (step * self.batch_size + self.numbers * self.repeats).tolist()
        if self.augment.config.on_device:
            return self._bytes(chosen, first_draws)
        targets: list[Target] = []

        def samples() -> Iterator[Sample | Reduced]:
            # One at a time: whole clips take hundreds of times the memory of what is made of them.
            for number, draw, copies in zip(chosen.tolist(), first_draws, self.copies.tolist(), strict=True):
                needed = self.augment.needed(self.seed, range(draw, draw + self.repeats))
                sample, target = self.images.read_enough(number, draw, needed)
                targets.extend([target] * copies)
                yield from repeat(sample, copies)
                del sample  # before the next one is read

        inputs = self.augment(samples(), self.seed, (step * self.batch_size + self.places).tolist())
        shares = self._targets(targets)
        weights = self._weights(chosen)
        if weights is None:
            mixed, shares = mix(self.augment.config, inputs, shares, self.seed, step)
            return {"images": mixed, "targets": shares}
        joined = join_weights(shares, weights)
        mixed, joined = mix(self.augment.config, inputs, joined, self.seed, step)
        shares, weights = part_weights(joined)
        return {"images": mixed, "targets": shares, "weights": weights}

    def _chosen(self, step: int) -> np.ndarray:
        """Which samples the whole batch of a step has, each once."""
        size = self.batch_size // self.repeats
        if self.images.order is not None:
            return self.images.order.batch(size, self.seed, step, self.images.chances)
        if self.images.chances is None:
            return batch_indices(len(self.images), size, self.seed, step)
        return balanced_indices(self.images.chances, size, self.seed, step)

    def _targets(self, targets: list[Target]) -> Tensor:
        return soft_targets(targets, self.num_classes, self.augment.config.label_smoothing, self.label_kind)

    def _weights(self, chosen: np.ndarray) -> Tensor | None:
        """The weights of a batch, each as often as its sample is there."""
        if self.images.weights is None:
            return None
        return torch.from_numpy(self.images.weights[chosen].repeat(self.copies))

    def _bytes(self, chosen: np.ndarray, first_draws: list[int]) -> Batch:
        """The batch before anything is varied."""
        targets: list[Target] = [self.images.target(number) for number in chosen.tolist()]
        pixels = self.images.stored_pixels(chosen)
        if pixels is None or not self.augment.preprocess.takes_as_they_are(*pixels.shape[2:]):
            targets, rows = [], []
            # One at a time: a batch of large images takes hundreds of times the memory of what is made of them.
            for number, draw in zip(chosen.tolist(), first_draws, strict=True):
                sample, target = self.images.read(number, draw)
                targets.append(target)
                rows.append(self.augment.preprocess.bytes_of(sample))
                del sample
            pixels = np.stack(rows)
        shares = self._targets(targets)
        batch: Batch = {"images": torch.from_numpy(pixels), "targets": shares}
        if self.repeats > 1:
            copies = torch.from_numpy(self.copies)
            batch = {"images": batch["images"].repeat_interleave(copies, 0),
                     "targets": shares.repeat_interleave(copies, 0)}  # fmt: skip
        if (weights := self._weights(chosen)) is not None:
            batch["weights"] = weights
        return batch


class _TestSource(Dataset[Batch]):
    """Makes the batches of one process's stretch of the set."""

    def __init__(
        self,
        images: ImageSet,
        preprocess: Preprocess,
        batch_size: int,
        views: tuple[int, int],
        rank: int,
        world_size: int,
    ) -> None:
        if views[0] < 1 or views[1] not in (1, 3):
            raise UserError(f"views must be 1 or more in time and 1 or 3 in space, not {views[0]} and {views[1]}.")
        if views != (1, 1) and not preprocess.takes_clips:
            raise UserError(f"images have one view, not {views[0]} in time and {views[1]} in space.")
        self.images, self.preprocess, self.batch_size = images, preprocess, batch_size
        self.times, self.places = views
        rows = len(images) * prod(views)
        self.start, stop = (batches_before(rows, batch_size, one, world_size) * batch_size for one in (rank, rank + 1))
        self.stop = min(stop, rows)

    def __len__(self) -> int:
        return math.ceil((self.stop - self.start) / self.batch_size)

    def __getitem__(self, index: int) -> Batch:
        first = self.start + index * self.batch_size
        rows, targets, clips = [], [], []
        for looked, numbers in groupby(range(first, min(first + self.batch_size, self.stop)), self._look):
            clip, time = divmod(looked, self.times)
            sample, target = self.images.read_view(clip, time, self.times)
            inputs = self.preprocess.tensors(sample, self.places)
            del sample  # before the next one is read
            for number in numbers:
                rows.append(inputs[number % self.places])
                targets.append(target)
                clips.append(clip)
        batch: Batch = {"images": torch.stack(rows), "targets": torch.from_numpy(np.asarray(targets))}
        if self.preprocess.takes_clips:
            batch["clips"] = torch.tensor(clips)
        return batch

    def _look(self, row: int) -> int:
        """Rows of the same clip at the same time are read once."""
        return row // self.places
