"""Batches varied on the device show what the data workers' do: the same where nothing is drawn, and as often else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from hvit.data.augment_settings import AugmentConfig
from hvit.data.batches import train_batches
from hvit.data.block_erasing import erase_blocks
from hvit.data.device_augment import DeviceAugment
from hvit.data.images.cifar import CifarSet
from hvit.data.images.digits import DigitsData
from hvit.data.loader import Batch
from hvit.data.open import open_data
from hvit.data.preprocess import Preprocess
from hvit.data.sets import ImageSet
from hvit.errors import UserError
from hvit.randomness import places_of

PLAIN = Preprocess((32, 32), (0.0,) * 3, (1.0,) * 3)
USUAL = Preprocess((32, 32), (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616))
OFF = AugmentConfig()
ALL = AugmentConfig(crop="pad", flip=0.5, erasing=0.25, mixup=0.8, cutmix=1.0, label_smoothing=0.1)


@pytest.fixture(scope="module")
def small() -> CifarSet:
    """Sixty coloured pictures in memory, without a black pixel."""
    random = np.random.default_rng(0)
    return CifarSet(random.integers(1, 256, (60, 3, 32, 32), np.uint8), np.arange(60) % 10, "RGB")


def loaded(images: ImageSet, augment: AugmentConfig, preprocess: Preprocess = PLAIN, **fields: int) -> Iterable[Batch]:
    settings = {"seed": 3, "batch_size": 12, "total_steps": 5} | fields
    return train_batches(images, num_classes=10, preprocess=preprocess, augment=augment, **settings)


def varied(
    images: ImageSet, augment: AugmentConfig, preprocess: Preprocess = PLAIN, **fields: int
) -> list[tuple[Tensor, Tensor]]:
    """Batches as the device makes them of what is loaded."""
    augment = replace(augment, on_device=True)
    rank, world_size = fields.get("rank", 0), fields.get("world_size", 1)
    device = DeviceAugment(augment, preprocess, 3, fields.get("batch_size", 12), rank, world_size)
    batches = list(loaded(images, augment, preprocess, **fields))
    assert all(batch["images"].dtype == torch.uint8 for batch in batches)
    start = fields.get("start_step", 0)
    return [device(batch["images"], batch["targets"], start + step) for step, batch in enumerate(batches)]


def are_equal(one: Iterable[tuple[Tensor, Tensor]], other: Iterable[tuple[Tensor, Tensor]]) -> bool:
    return all(
        torch.equal(a, b) for left, right in zip(one, other, strict=True) for a, b in zip(left, right, strict=True)
    )


@pytest.mark.parametrize("augment", [OFF, replace(ALL, crop="none", flip=0.0, erasing=0.0)], ids=["off", "mixed"])
@pytest.mark.parametrize("repeats", [1, 3])
def test_where_only_mixing_is_drawn_batches_are_those_of_the_data_workers_bit_for_bit(
    small: CifarSet, augment: AugmentConfig, repeats: int
) -> None:
    usual = [(batch["images"], batch["targets"]) for batch in loaded(small, augment, USUAL, repeats=repeats)]
    assert are_equal(varied(small, augment, USUAL, repeats=repeats), usual)


@pytest.mark.parametrize("side", [24, 32])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_that_are_made_or_resized_are_the_same_too(side: int, channels: int) -> None:
    images = open_data(DigitsData(), 0, channels).train
    preprocess = Preprocess((side, side), (0.2,) * channels, (0.4,) * channels, 0.9)
    usual = [(batch["images"], batch["targets"]) for batch in loaded(images, OFF, preprocess)]
    assert are_equal(varied(images, OFF, preprocess), usual)


def test_batches_are_the_same_for_any_worker_and_from_any_step(small: CifarSet) -> None:
    whole = varied(small, ALL)
    assert are_equal(whole, varied(small, ALL, workers=2))
    assert are_equal(whole[3:], varied(small, ALL, start_step=3))
    assert not torch.equal(whole[0][0], varied(small, ALL, start_step=1)[0][0])


def test_the_processes_together_show_the_same_pictures(small: CifarSet) -> None:
    everything = replace(ALL, erasing=0.8, block_erasing=0.5)
    whole = varied(small, everything)
    for rank, world_size in [(0, 2), (1, 2), (0, 3), (2, 3)]:
        places = places_of(12, rank, world_size)
        share = varied(small, everything, rank=rank, world_size=world_size)
        assert are_equal([(images[places], targets[places]) for images, targets in whole], share)


def test_every_shift_and_mirroring_occurs_equally_often(small: CifarSet) -> None:
    """Each picture is looked for among the fifty that padding, cutting and mirroring can make of it."""
    augment = AugmentConfig(crop="pad", pad=2, flip=0.3, on_device=True)
    device = DeviceAugment(augment, PLAIN, 0, 60, 0, 1)
    images = torch.from_numpy(small.pixels)
    padded = F.pad(images, (2,) * 4)
    possible = [
        cut.flip(3) if mirrored else cut
        for top in range(5) for left in range(5) for cut in [padded[:, :, top : top + 32, left : left + 32]]
        for mirrored in (False, True)
    ]  # fmt: skip
    counts = torch.zeros(25, 2)
    for step in range(40):
        made = (device(images, torch.zeros(60, 10), step)[0] * 255).round().byte()
        found = torch.stack([(made == one).flatten(1).all(1) for one in possible])
        assert (found.sum(0) == 1).all()
        counts += found.sum(1).view(25, 2)
    assert counts.sum() == 2400
    assert counts[:, 1].sum().item() / 2400 == pytest.approx(0.3, abs=0.04)
    assert (counts.sum(1) / 2400 - 1 / 25).abs().max() < 0.015


def erased(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of pictures that were 1 everywhere: how many pixels are not, and the height and width of their rectangle."""
    hidden = (images != 1).all(1)
    return hidden.flatten(1).sum(1), hidden.any(2).sum(1), hidden.any(1).sum(1)


class White(ImageSet):
    labels = np.zeros(200, dtype=np.int64)

    def read(self, index: int, draw: int) -> tuple[Image.Image, int]:
        return Image.new("RGB", (32, 32), (255, 255, 255)), 0


def test_erased_rectangles_are_as_many_and_as_large_as_those_of_the_data_workers() -> None:
    augment, settings = AugmentConfig(erasing=0.4), {"batch_size": 200, "total_steps": 12}
    usual = torch.cat([batch["images"] for batch in loaded(White(), augment, **settings)])
    made = torch.cat([images for images, _ in varied(White(), augment, **settings)])
    for images in (usual, made):
        count, rows, columns = erased(images)
        assert torch.equal(count, rows * columns)
        assert images[(images != 1)].std().item() == pytest.approx(1, abs=0.02)
    (usual_count, *usual_sides), (count, *sides) = erased(usual), erased(made)
    assert (count > 0).float().mean().item() == pytest.approx(0.4, abs=0.03)
    assert (usual_count > 0).float().mean().item() == pytest.approx(0.4, abs=0.03)
    for mine, theirs in zip((count, *sides), (usual_count, *usual_sides), strict=True):
        mine, theirs = mine[mine > 0].double(), theirs[theirs > 0].double()
        assert mine.mean().item() == pytest.approx(theirs.mean().item(), rel=0.06)
        assert mine.std().item() == pytest.approx(theirs.std().item(), rel=0.12)


def test_blocks_are_erased_as_often_as_by_the_data_workers_and_nothing_else_changes(small: CifarSet) -> None:
    config = AugmentConfig(crop="pad", flip=0.5, erasing=0.5)
    whole, some = (torch.cat([images for images, _ in varied(small, one, batch_size=60)])
                   for one in (config, replace(config, block_erasing=0.5)))  # fmt: skip
    differ = (whole != some).any(1).unflatten(2, (4, -1)).unflatten(1, (4, -1)).any(4).any(2)
    chosen = differ.flatten(1).any(1)
    assert chosen.float().mean().item() == pytest.approx(0.5, abs=0.09)
    assert torch.equal(erase_blocks(whole, differ), some)


def test_bytes_are_not_changed_where_they_are_kept(small: CifarSet) -> None:
    before = small.pixels.copy()
    varied(small, ALL)
    assert np.array_equal(small.pixels, before)


@pytest.mark.parametrize(
    "fields", [{"crop": "resized"}, {"crop": "window"}, {"rand_augment": "rand-m9"}, {"color_jitter": 0.3}]
)
def test_what_has_no_form_for_batches_is_refused_in_a_sentence(fields: dict[str, object]) -> None:
    with pytest.raises(UserError, match="on_device augments whole batches at once, for which crop resized"):
        AugmentConfig(on_device=True, **fields)  # pyright: ignore[reportArgumentType]


def test_clips_are_refused() -> None:
    class Clips(White):
        def read(self, index: int, draw: int) -> tuple[np.ndarray, int]:  # pyright: ignore
            return np.zeros((2, 32, 32, 3), np.uint8), 0

    with pytest.raises(UserError, match="these are clips"):
        next(iter(loaded(Clips(), replace(ALL, on_device=True), replace(PLAIN, input_size=(2, 32, 32)))))
