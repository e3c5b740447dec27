"""Augmentation does what its fields say, nothing when they are off, and the same for the same draw."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from hvit.data.augment import Augment, skipped_notes, without_colours
from hvit.data.augment_settings import AugmentConfig, nest_imagenet_augment, no_augment
from hvit.data.block_erasing import erase_blocks
from hvit.data.images.channels import ChannelImage
from hvit.data.mixing import mix
from hvit.data.preprocess import Preprocess
from tests.data.inputs import as_picture, clip_preprocess, moving_picture, picture, plain, still

EVERY_SWITCH = {
    "crop pad": {"crop": "pad"},
    "crop resized": {"crop": "resized"},
    "crop window": {"crop": "window"},
    "flip": {"flip": 1.0},
    "rand_augment": {"rand_augment": "rand-m9-p1"},
    "color_jitter": {"color_jitter": 1.0},
    "erasing": {"erasing": 1.0},
    "block_erasing": {"block_erasing": 1.0},
}


@pytest.mark.parametrize("channels", [1, 3])
def test_training_sees_what_testing_sees_when_all_is_off(channels: int) -> None:
    preprocess = plain(24, channels, crop=0.8)
    image = picture(50, 40)
    assert no_augment() == AugmentConfig()
    assert torch.equal(Augment(no_augment(), preprocess)([image], 0, [3])[0], preprocess.tensor(image))
    images, targets = torch.rand(4, 3, 8, 8), torch.eye(4)
    mixed, mixed_targets = mix(no_augment(), images.clone(), targets, 0, 0)
    assert torch.equal(mixed, images)
    assert torch.equal(mixed_targets, targets)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", EVERY_SWITCH)
def test_every_switch_changes_pictures_alone_and_the_same_way_for_the_same_draw(name: str, channels: int) -> None:
    preprocess = plain(32, channels)
    augment = Augment(AugmentConfig(**EVERY_SWITCH[name]), preprocess)
    image = picture()
    once, again = (augment([image] * 12, 5, range(12)) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(once, again, strict=True))
    assert any(not torch.equal(one, preprocess.tensor(image)) for one in once)
    assert all(one.shape == (channels, 32, 32) and one.dtype == torch.float32 for one in once)
    if name != "flip":
        assert any(not torch.equal(once[0], other) for other in once[1:])
        assert any(not torch.equal(one, augment([image], 6, [draw])[0]) for draw, one in enumerate(once))


def test_augmentation_leaves_the_random_numbers_of_the_program_alone() -> None:
    torch.manual_seed(0)
    random.seed(0)
    before = torch.get_rng_state(), random.getstate()
    Augment(nest_imagenet_augment(), plain())([picture()], 0, [0])
    mix(nest_imagenet_augment(), torch.rand(4, 3, 8, 8, generator=torch.Generator()), torch.eye(4), 0, 0)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


def test_flipping_mirrors_left_and_right_about_as_often_as_asked() -> None:
    image = picture()
    augment = Augment(AugmentConfig(flip=0.25), plain())
    results = [as_picture(result) for result in augment([image] * 200, 0, range(200))]
    mirrored = [bool((result == np.asarray(image)[:, ::-1]).all()) for result in results]
    assert all(flip or (result == np.asarray(image)).all() for flip, result in zip(mirrored, results, strict=True))
    assert sum(mirrored) / 200 == pytest.approx(0.25, abs=0.1)


def test_padding_shifts_by_up_to_its_pixels_and_fills_with_black() -> None:
    values = np.asarray(picture()) // 2 + 100
    padded = np.pad(values, ((2, 2), (2, 2), (0, 0)))
    augment = Augment(AugmentConfig(crop="pad", pad=2), plain())
    places = set()
    for result in map(as_picture, augment([Image.fromarray(values)] * 200, 0, range(200))):
        found = [(y, x) for y in range(5) for x in range(5) if (padded[y : y + 32, x : x + 32] == result).all()]
        assert len(found) == 1
        places.update(found)
    assert len(places) == 25


def test_a_resized_crop_shows_a_part_of_the_asked_for_area() -> None:
    """The picture's values are its coordinates, so the crop shows where it came from."""
    x, y = np.meshgrid(np.arange(200), np.arange(200))
    image = Image.fromarray(np.stack([x, y, x * 0], axis=2).astype(np.uint8))
    preprocess = Preprocess((50, 50), (0.0,) * 3, (1.0,) * 3, interpolation="nearest")
    augment = Augment(AugmentConfig(crop="resized", area=(0.25, 0.25), ratio=(1.0, 1.0)), preprocess)
    for values in (as_picture(result).astype(int) for result in augment([image] * 20, 0, range(20))):
        assert np.ptp(values[..., 0]) == pytest.approx(98, abs=3)
        assert np.ptp(values[..., 1]) == pytest.approx(98, abs=3)


def test_a_window_has_the_inputs_proportions_and_a_side_of_the_asked_for_share() -> None:
    """Such as 224 of clips whose shorter side is from 256 to 320: 70 to 87.5 % of it, from anywhere."""
    x, y = np.meshgrid(np.arange(240), np.arange(120))
    image = Image.fromarray(np.stack([x, y, x * 0], axis=2).astype(np.uint8))
    preprocess = Preprocess((30, 60), (0.0,) * 3, (1.0,) * 3, interpolation="nearest")
    augment = Augment(AugmentConfig(crop="window", side=(0.5, 0.75)), preprocess)
    widths, lefts, tops = [], [], []
    for values in (as_picture(result).astype(int) for result in augment([image] * 200, 0, range(200))):
        across, down = np.ptp(values[..., 0]), np.ptp(values[..., 1])
        assert across == pytest.approx(2 * down, abs=5)
        widths.append(across * 60 / 59)
        lefts.append(values[..., 0].min())
        tops.append(values[..., 1].min())
    assert 115 <= min(widths) < 124
    assert 176 < max(widths) <= 185
    assert np.mean(widths) == pytest.approx(150, abs=5)
    assert min(lefts) < 8
    assert max(lefts) > 100
    assert max(tops) > 50


def test_a_window_as_large_as_fits_is_the_whole_of_a_picture_of_the_inputs_proportions() -> None:
    image = picture(64, 64)
    preprocess = Preprocess((32, 32), (0.0,) * 3, (1.0,) * 3, crop=1.0)
    whole = Augment(AugmentConfig(crop="window", side=(1.0, 1.0)), preprocess)([image], 0, [0])
    assert torch.equal(whole, Augment(no_augment(), preprocess)([image], 0, [0]))


def test_erasing_fills_one_rectangle_of_up_to_a_third_with_noise() -> None:
    augment = Augment(AugmentConfig(erasing=1.0), plain(channels=1))
    image = Image.new("L", (32, 32), 128)
    for result in augment([image] * 50, 0, range(50)):
        erased = (result[0] - 128 / 255).abs() > 1e-6
        rows, columns = erased.any(1).nonzero(), erased.any(0).nonzero()
        area = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
        assert erased.sum() == area
        assert 0.01 < area / 1024 < 0.4


def test_blocks_are_erased_after_everything_else_which_stays_as_it_was() -> None:
    others = AugmentConfig(crop="pad", flip=0.5, color_jitter=0.5, erasing=0.5)
    preprocess, images = plain(), [picture()] * 40
    whole = Augment(others, preprocess)(images, 3, range(40))
    some = Augment(replace(others, block_erasing=0.5), preprocess)(images, 3, range(40))
    changed = (whole != some).flatten(1).any(1)
    assert 8 < changed.sum() < 32
    for before, after in zip(whole[changed], some[changed], strict=True):
        assert torch.equal(erase_blocks(before[None], block_differences(before, after)[None])[0], after)


def block_differences(one: Tensor, other: Tensor) -> Tensor:
    """Which of the sixteenths of two images differ: bool (4, 4)."""
    return (one != other).any(0).unflatten(1, (4, -1)).unflatten(0, (4, -1)).any(3).any(1)


def test_no_rand_augment_shift_exceeds_its_field() -> None:
    image = Image.new("RGB", (100, 100), "white")
    config = AugmentConfig(rand_augment="rand-m10-n1-p1", rand_augment_shift=0.1)
    augment = Augment(config, plain(100))
    assert augment.rand_augment is not None
    shifts = [operation for operation in augment.rand_augment.ops if operation.name.startswith("Translate")]
    assert len(shifts) == 2
    for _ in range(20):
        for shift in shifts:
            moved = (np.asarray(shift(image))[..., 0] < 250).mean()
            assert 0.05 <= moved <= 0.11


@pytest.mark.parametrize(("fill", "level"), [("grey", 128), ("mean", 51)])
@pytest.mark.parametrize("channels", [1, 3])
def test_rand_augment_fills_with_grey_or_the_mean_colour(fill: str, level: int, channels: int) -> None:
    config = AugmentConfig(rand_augment="rand-m10-n1-p1", rand_augment_fill=fill)  # pyright: ignore[reportArgumentType]
    augment = Augment(config, Preprocess((32, 32), (0.2,) * channels, (1.0,) * channels))
    assert augment.rand_augment is not None
    for operation in augment.rand_augment.ops:
        if operation.name in ("TranslateXRel", "ShearY"):
            moved = np.asarray(operation(Image.new("RGB", (32, 32), "white")))
            assert level in moved


def test_rand_augment_interpolates_as_asked() -> None:
    """Nearest neighbours make no colour that was not there."""
    image = Image.fromarray((np.indices((32, 32)).sum(0) % 2 * 255).astype(np.uint8)).convert("RGB")
    seen = {}
    for way in ("nearest", "bilinear", "bicubic"):
        config = AugmentConfig(rand_augment="rand-m10-n1-p1", rand_augment_interpolation=way)
        operations = Augment(config, plain()).rand_augment.ops  # pyright: ignore[reportOptionalMemberAccess]
        (rotate,) = (operation for operation in operations if operation.name == "Rotate")
        random.seed(1)
        seen[way] = np.asarray(rotate(image))
    assert set(np.unique(seen["nearest"])) <= {0, 128, 255}
    assert len(np.unique(seen["bilinear"])) > 10
    assert not np.array_equal(seen["bilinear"], seen["bicubic"])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", EVERY_SWITCH)
def test_all_frames_of_a_clip_are_varied_alike(name: str, channels: int) -> None:
    """A clip that stands still stands still afterwards, too, but for the noise that is new in every frame."""
    augment = Augment(AugmentConfig(**EVERY_SWITCH[name]), clip_preprocess(channels=channels))
    clip = still(picture(50, 40))
    once, again = (augment([clip] * 12, 5, range(12)) for _ in range(2))
    assert torch.equal(once, again)
    assert once.shape == (12, channels, 4, 32, 32)
    assert any(not torch.equal(one, augment.preprocess.tensor(clip)) for one in once)
    if name == "erasing":
        return
    assert torch.equal(once, once[:, :, :1].expand(-1, -1, 4, -1, -1))
    if name != "flip":
        assert any(not torch.equal(once[0], other) for other in once[1:])


@pytest.mark.parametrize("name", ["crop pad", "crop resized", "crop window", "flip", "color_jitter"])
def test_a_clip_is_varied_as_a_picture_of_the_same_draw(name: str) -> None:
    config = AugmentConfig(**EVERY_SWITCH[name])
    image = picture(50, 40)
    one = Augment(config, Preprocess((32, 32), (0.4,) * 3, (0.3,) * 3, crop=1.0))([image] * 8, 1, range(8))
    several = Augment(config, clip_preprocess())([still(image)] * 8, 1, range(8))
    assert torch.equal(several[:, :, 2], one)


def test_erasing_takes_the_same_place_of_every_frame_and_fills_it_with_new_noise() -> None:
    augment = Augment(AugmentConfig(erasing=1.0), clip_preprocess(channels=1))
    clip = np.full((4, 32, 32, 1), 128, np.uint8)
    for seen in augment([clip] * 20, 0, range(20)):
        erased = (seen[0] - augment.preprocess.tensor(clip)[0]).abs() > 1e-6
        assert torch.equal(erased, erased[:1].expand(4, -1, -1))
        assert 0.01 < erased[0].float().mean() < 0.4
        assert not torch.equal(seen[0, 0], seen[0, 1])


def test_rand_augment_comes_first_for_clips_on_the_whole_frames() -> None:
    augment = Augment(AugmentConfig(crop="resized", rand_augment="rand-m9"), clip_preprocess())
    seen: list[tuple[int, int]] = []

    def watched(image: Image.Image) -> Image.Image:
        seen.append(image.size)
        return image

    augment.rand_augment = watched
    augment([moving_picture(4, 40, 50)], 0, [0])
    assert seen == [(50, 40)] * 4


def test_augmenting_clips_leaves_the_random_numbers_of_the_program_alone() -> None:
    torch.manual_seed(0)
    random.seed(0)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    Augment(replace(nest_imagenet_augment(), rand_augment="rand-m9-n3"), clip_preprocess())([moving_picture()], 0, [0])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]


@pytest.mark.parametrize("switch", ["crop pad", "crop resized", "crop window", "flip", "erasing", "block_erasing"])
def test_other_channels_than_colours_are_varied_as_colours_are(switch: str) -> None:
    colours = picture(50, 40)
    bands = [*colours.split(), colours.convert("L")]
    config = replace(no_augment(), **EVERY_SWITCH[switch])
    many = Augment(config, plain(24, 4))([ChannelImage(bands)], 0, [3])
    seen = Augment(config, plain(24, 3))([colours], 0, [3])
    assert many.shape == (1, 4, 24, 24)
    same = (many[:, :3] - seen).abs() <= 1e-6
    # Erasing draws noise for all channels, so that only what is not erased is the same.
    assert same.all() if switch != "erasing" else same.float().mean() > 0.3


def test_what_is_made_for_colours_is_skipped_for_other_channels_and_said() -> None:
    config = replace(no_augment(), rand_augment="rand-m9-p1", color_jitter=0.4)
    assert without_colours(config, 6) == no_augment()
    assert without_colours(config, 3) is config
    assert skipped_notes(config, 6) == (
        "The images have 6 channels, so augment.rand_augment and augment.color_jitter, made for colours, are skipped.",
    )
    assert skipped_notes(config, 1) == skipped_notes(no_augment(), 6) == ()
