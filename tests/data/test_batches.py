"""Batch number k of a run is a function of (seed, k), whoever makes it and when."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from hvit.data import batches
from hvit.data.augment_settings import AugmentConfig, nest_cifar_augment
from hvit.data.batches import batch_indices, small_set_notes, steps_per_epoch, train_batches
from hvit.data.clips.settings import ClipData
from hvit.data.loader import Batch
from hvit.data.open import open_data
from hvit.data.preprocess import Preprocess
from hvit.data.sets import ImageSet
from hvit.errors import UserError
from hvit.randomness import places_of
from tests.data.numbered import PLAIN, Numbered, are_equal, numbers, seen_in_testing, train


def test_batches_are_the_same_for_any_number_of_workers(digits: ImageSet) -> None:
    alone = list(train(digits, nest_cifar_augment()))
    assert len(alone) == 6
    for workers in (1, 2):
        assert are_equal(alone, train(digits, nest_cifar_augment(), workers=workers))


def test_resuming_at_any_step_gives_the_same_batches(digits: ImageSet) -> None:
    whole = list(train(digits, nest_cifar_augment()))
    for start in (1, 4, 6):
        assert are_equal(whole[start:], train(digits, nest_cifar_augment(), start_step=start))


def test_another_seed_gives_other_batches_and_going_through_twice_the_same(digits: ImageSet) -> None:
    once = train(digits)
    assert are_equal(once, once)
    assert not are_equal(once, train(digits, seed=1))


@pytest.mark.parametrize("world_size", [2, 3])
def test_several_processes_together_see_what_one_sees(digits: ImageSet, world_size: int) -> None:
    """With everything that images can be augmented and mixed with."""
    augment = AugmentConfig(
        crop="pad", flip=0.5, rand_augment="rand-m9", erasing=0.5, block_erasing=0.3, label_smoothing=0.1, mixup=0.8,
        cutmix=1.0,
    )  # fmt: skip
    whole = train(digits, augment)
    for rank in range(world_size):
        share = train(digits, augment, rank=rank, world_size=world_size)
        for everything, part in zip(whole, share, strict=True):
            places = places_of(len(everything["images"]), rank, world_size)
            assert torch.equal(everything["images"][places], part["images"])
            assert torch.equal(everything["targets"][places], part["targets"])


def test_processes_with_an_odd_number_of_images_mix_none_and_see_what_one_sees(digits: ImageSet) -> None:
    with pytest.raises(UserError, match="that 8 divides"):
        train(digits, AugmentConfig(mixup=0.8), world_size=4)
    whole = train(digits)
    parts = zip(*(train(digits, rank=rank, world_size=4) for rank in range(4)), strict=True)
    for everything, some in zip(whole, parts, strict=True):
        assert torch.equal(everything["images"], torch.cat([one["images"] for one in some]))


def test_an_epoch_shows_every_image_once_and_the_next_in_another_order() -> None:
    images = Numbered(60)
    assert steps_per_epoch(60, 12) == 5
    shown = list(train(images, total_steps=10))
    first, second = numbers(*shown[:5]), numbers(*shown[5:])
    assert sorted(first) == sorted(second) == list(range(60))
    assert first != second


def test_what_does_not_fill_a_batch_waits_for_another_epoch() -> None:
    assert steps_per_epoch(67, 12) == 5
    epochs = [np.concatenate([batch_indices(67, 12, 0, step) for step in range(e * 5, e * 5 + 5)]) for e in range(20)]
    assert all(len(set(epoch.tolist())) == 60 for epoch in epochs)
    assert set(np.concatenate(epochs).tolist()) == set(range(67))


@pytest.mark.parametrize("count", [1, 5, 11])
def test_a_set_smaller_than_a_batch_is_repeated(count: int) -> None:
    assert steps_per_epoch(count, 12) == 1
    for step in range(5):
        counts = np.bincount(batch_indices(count, 12, 0, step), minlength=count)
        assert counts.sum() == 12
        assert counts.max() - counts.min() <= 1
    assert len(list(train(Numbered(count)))) == 6


def test_training_targets_are_float_shares_and_testing_targets_class_numbers() -> None:
    batch = next(iter(train(Numbered(24))))
    assert (batch["images"].shape, batch["images"].dtype) == ((12, 1, 8, 8), torch.float32)
    assert (batch["targets"].shape, batch["targets"].dtype) == ((12, 10), torch.float32)
    assert batch["targets"].argmax(1).tolist() == [number % 10 for number in numbers(batch)]
    batch = seen_in_testing(Numbered(24), batch_size=12)[0]
    assert (batch["targets"].shape, batch["targets"].dtype) == ((12,), torch.int64)


@pytest.mark.parametrize("workers", [0, 2])
def test_testing_shows_every_image_once_in_order_with_a_smaller_last_batch(workers: int) -> None:
    seen = seen_in_testing(Numbered(29), batch_size=12, workers=workers)
    assert [len(batch["targets"]) for batch in seen] == [12, 12, 5]
    assert numbers(*seen) == list(range(29))
    assert torch.cat([batch["targets"] for batch in seen]).tolist() == [number % 10 for number in range(29)]


@pytest.mark.parametrize("world_size", [2, 4])
def test_the_processes_together_test_every_image_once_in_order(world_size: int) -> None:
    seen = [seen_in_testing(Numbered(29), batch_size=4, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert numbers(*itertools.chain(*seen)) == list(range(29))
    assert [len(batch["targets"]) for batch in itertools.chain(*seen)] == [4] * 7 + [1], "the batches of one process"
    before = [batches.batches_before(29, 4, rank, world_size) for rank in range(world_size)]
    assert before == [sum(map(len, seen[:rank])) for rank in range(world_size)]


def test_an_empty_stretch_has_no_batches() -> None:
    assert seen_in_testing(Numbered(1), batch_size=4, rank=0, world_size=2) == []


def test_batches_do_not_draw_from_the_random_numbers_of_the_program(digits: ImageSet) -> None:
    torch.manual_seed(0)
    before: Tensor = torch.get_rng_state()
    list(train(digits, nest_cifar_augment(), total_steps=2))
    list(train(digits, nest_cifar_augment(), total_steps=2, workers=1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("count", [1, 12, 63])
def test_a_set_smaller_than_a_batch_is_told_with_the_batch_size_that_avoids_it(count: int) -> None:
    (note,) = small_set_notes(count, 64)
    assert note.startswith(f"The {count} training images are fewer than a batch of 64")
    assert f"--loop.batch-size {count} or less" in note
    assert small_set_notes(count, count) == small_set_notes(64, 64) == ()


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(UserError, match="multiple of the 5 processes"):
        train(Numbered(24), world_size=5)
    with pytest.raises(UserError, match="batch_size must be"):
        train(Numbered(24), batch_size=0)
    with pytest.raises(UserError, match="batch_size must be at least 1, not 0"):
        seen_in_testing(Numbered(24), batch_size=0)
    with pytest.raises(UserError, match="workers"):
        train(Numbered(24), workers=-1)


@pytest.mark.parametrize("repeats", [2, 3, 4])
def test_repeated_images_are_read_once_and_stand_side_by_side(repeats: int) -> None:
    class Counted(Numbered):
        def __init__(self) -> None:
            super().__init__(60)
            self.asked: list[int] = []

        def read(self, index: int, draw: int) -> tuple[Image.Image, int]:
            self.asked.append(draw)
            return super().read(index, draw)

    images = Counted()
    shown = list(train(images, repeats=repeats, total_steps=5 * repeats))
    assert images.asked == list(range(0, 60 * repeats, repeats))
    for batch in shown:
        together = np.array(numbers(batch)).reshape(-1, repeats)
        assert (together == together[:, :1]).all()
        assert len(set(together[:, 0].tolist())) == 12 // repeats
        assert batch["targets"].argmax(1).tolist() == [number % 10 for number in numbers(batch)]
    # All images have been shown once after as many steps as `repeats` passes without repeats take.
    assert sorted(numbers(*shown)) == sorted(list(range(60)) * repeats)


def test_repeated_images_are_varied_each_time_and_the_same_for_any_worker_and_process(digits: ImageSet) -> None:
    varied = AugmentConfig(crop="resized", flip=0.5)
    whole = list(train(digits, varied, repeats=3))
    assert not torch.equal(whole[0]["images"][0], whole[0]["images"][1])
    assert are_equal(whole, train(digits, varied, repeats=3, workers=2))
    assert are_equal(whole[4:], train(digits, varied, repeats=3, start_step=4))
    for repeats in (3, 6):  # of six copies each process has three
        whole = train(digits, varied, repeats=repeats)
        for rank in range(2):
            for batch, part in zip(whole, train(digits, varied, repeats=repeats, rank=rank, world_size=2), strict=True):
                places = places_of(12, rank, 2)
                assert torch.equal(batch["images"][places], part["images"])
                assert torch.equal(batch["targets"][places], part["targets"])


def test_one_repeat_is_none(digits: ImageSet) -> None:
    assert are_equal(train(digits, nest_cifar_augment()), train(digits, nest_cifar_augment(), repeats=1))


@pytest.mark.parametrize(("repeats", "world_size"), [(5, 1), (4, 2), (0, 1)])
def test_repeats_that_do_not_divide_the_batch_of_a_process_are_refused(repeats: int, world_size: int) -> None:
    with pytest.raises(UserError, match=f"cannot each be there {repeats} times"):
        train(Numbered(24), repeats=repeats, world_size=world_size)


class NumberedClips(ImageSet):
    """Clip n is 3 frames high and wide and shows grey level 10 n + the view, lighter by 100 on the right."""

    def __init__(self, count: int, views: tuple[int, int] = (1, 1)) -> None:
        self.labels, self.views = np.arange(count) % 10, views
        self.looked: list[tuple[int, int, int]] = []

    def read(self, index: int, draw: int) -> tuple[np.ndarray, int]:
        return self.read_view(index, 0, 1)

    def read_view(self, index: int, view: int, views: int) -> tuple[np.ndarray, int]:
        self.looked.append((index, view, views))
        clip = np.full((2, 8, 24, 1), 10 * index + view, np.uint8)
        clip[:, :, 8:16] += 50
        clip[:, :, 16:] += 100
        return clip, int(self.labels[index])


CLIPS = replace(PLAIN, input_size=(2, 8, 8))


@pytest.mark.parametrize("workers", [0, 2])
def test_every_view_of_a_clip_is_a_row_of_testing(workers: int) -> None:
    images = NumberedClips(5, views=(4, 3))
    made = list(batches.evaluation_batches(images, preprocess=CLIPS, batch_size=7, workers=workers))
    assert [len(batch["targets"]) for batch in made] == [7] * 8 + [4]
    assert made[0]["images"].shape == (7, 1, 2, 8, 8)
    expected = [(clip, 10 * clip + time + place) for clip in range(5) for time in range(4) for place in (0, 50, 100)]
    assert torch.cat([batch["clips"] for batch in made]).tolist() == [clip for clip, _ in expected]
    assert torch.cat([batch["targets"] for batch in made]).tolist() == [clip for clip, _ in expected]
    levels = [round(value) for batch in made for value in (batch["images"][:, 0, 1, 4, 4] * 255).tolist()]
    assert levels == [level for _, level in expected]
    assert made[0]["clips"].dtype == made[0]["targets"].dtype == torch.int64


def test_a_clip_is_read_once_for_all_places_of_a_time_in_a_batch() -> None:
    images = NumberedClips(2, views=(2, 3))
    list(batches.evaluation_batches(images, preprocess=CLIPS, batch_size=6))
    assert images.looked == [(0, 0, 2), (0, 1, 2), (1, 0, 2), (1, 1, 2)]


def test_other_views_than_the_set_has_may_be_asked_for() -> None:
    images = NumberedClips(3, views=(5, 3))
    (batch,) = batches.evaluation_batches(images, preprocess=CLIPS, batch_size=9, views=(1, 1))
    assert batch["clips"].tolist() == [0, 1, 2]
    # The middle of a single view.
    assert (batch["images"][:, 0, 0, 0, 0] * 255).round().tolist() == [50, 60, 70]
    for views in ((0, 1), (1, 2)):
        with pytest.raises(UserError, match="views must be"):
            batches.evaluation_batches(images, preprocess=CLIPS, batch_size=9, views=views)
    with pytest.raises(UserError, match="images have one view"):
        batches.evaluation_batches(Numbered(3), preprocess=PLAIN, batch_size=9, views=(5, 1))


@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_share_out_all_views_of_clips(world_size: int) -> None:
    shares = [
        [
            clip
            for batch in batches.evaluation_batches(
                NumberedClips(7, views=(2, 3)), preprocess=CLIPS, batch_size=4, rank=rank, world_size=world_size
            )
            for clip in batch["clips"].tolist()
        ]
        for rank in range(world_size)
    ]
    assert list(itertools.chain(*shares)) == [clip for clip in range(7) for _ in range(6)]


def test_batches_of_pictures_say_nothing_about_clips() -> None:
    assert set(seen_in_testing(Numbered(2), batch_size=2)[0]) == {"images", "targets"}


def test_batches_of_videos_are_the_same_for_any_number_of_workers(
    tmp_path: Path, make_video: Callable[..., Path], numbered: Callable[..., np.ndarray]
) -> None:
    for number in range(4):
        for name in ("jump", "wave"):
            make_video(tmp_path / name / f"{number}.mp4", numbered(20, 24, 32))
    splits = open_data(ClipData(root=str(tmp_path), stride=2), 0, 3, 4)
    preprocess = Preprocess((4, 16, 16), splits.mean, splits.std)
    varied = replace(nest_cifar_augment(), crop="resized", color_jitter=0.3)

    def made(workers: int) -> DataLoader[Batch]:
        return train_batches(
            splits.train, num_classes=2, preprocess=preprocess, augment=varied, seed=0, batch_size=4, total_steps=3,
            repeats=2, workers=workers,
        )  # fmt: skip

    alone = list(made(0))
    assert alone[0]["images"].shape == (4, 3, 4, 16, 16)
    assert are_equal(alone, made(2))
    sent = pickle.loads(pickle.dumps(made(0).dataset))
    assert are_equal([alone[1]], [sent[1]])
