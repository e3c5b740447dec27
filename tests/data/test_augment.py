"""Augmentation does what its fields say, nothing when they are off, and the same for the same draw."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from hvit.data.augment import Augment
from hvit.data.augment_settings import AugmentConfig, nest_cifar_augment, nest_imagenet_augment, no_augment
from hvit.data.mixing import mix
from hvit.data.preprocess import Preprocess
from hvit.errors import UserError

EVERY_SWITCH = {
    "crop pad": {"crop": "pad"},
    "crop resized": {"crop": "resized"},
    "crop window": {"crop": "window"},
    "flip": {"flip": 1.0},
    "rand_augment": {"rand_augment": "rand-m9-p1"},
    "color_jitter": {"color_jitter": 1.0},
    "erasing": {"erasing": 1.0},
}


def plain(side: int = 32, channels: int = 3, crop: float = 1.0) -> Preprocess:
    return Preprocess((side, side), (0.0,) * channels, (1.0,) * channels, crop=crop)


def picture(width: int = 32, height: int = 32, mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def as_picture(tensor: Tensor) -> np.ndarray:
    return (tensor * 255).round().byte().permute(1, 2, 0).numpy()


def test_what_testing_sees_equals_torchvision() -> None:
    preprocess = Preprocess((24, 24), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), crop=0.75, interpolation="bilinear")
    reference = v2.Compose(
        [
            v2.Resize(32, v2.InterpolationMode.BILINEAR),
            v2.CenterCrop(24),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5, 0.4, 0.3], [0.2, 0.3, 0.4]),
        ]
    )
    for width, height in [(57, 41), (41, 57), (32, 32), (33, 90), (5, 7)]:
        image = picture(width, height)
        torch.testing.assert_close(preprocess.tensor(image), reference(image), rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_picture_of_the_right_size_stays_as_it_is(mode: str) -> None:
    image = picture(mode=mode)
    preprocess = plain(channels=len(image.getbands()))
    assert preprocess.shown(image).tobytes() == image.tobytes()
    np.testing.assert_array_equal(as_picture(preprocess.tensor(image)).squeeze(), np.asarray(image))


@pytest.mark.parametrize("size", [(1, 1), (2000, 20), (20, 2000), (30_000, 3), (1, 40_000)])
@pytest.mark.parametrize("crop", ["none", "pad", "resized"])
def test_extreme_shapes_become_inputs_without_gigantic_pictures_between(
    size: tuple[int, int], crop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resize, largest = Image.Image.resize, 0

    def watched(image: Image.Image, wanted: tuple[int, int], *rest: object, **options: object) -> Image.Image:
        nonlocal largest
        largest = max(largest, wanted[0] * wanted[1])
        return resize(image, wanted, *rest, **options)

    monkeypatch.setattr(Image.Image, "resize", watched)
    augment = Augment(AugmentConfig(crop=crop), plain(224, crop=0.875))
    assert augment([picture(*size)], seed=0, draws=[0]).shape == (1, 3, 224, 224)
    assert 0 < largest <= 4 * 256 * 256


def test_a_long_strip_shows_its_centre() -> None:
    image = Image.new("RGB", (2000, 20), "black")
    image.paste("white", (990, 0, 1010, 20))
    assert np.asarray(plain(64).shown(image))[:, 4:-4].min() > 250


def test_wide_inputs_are_covered_by_pictures_of_any_shape() -> None:
    preprocess = Preprocess((16, 48), (0.0,), (1.0,), crop=0.9)
    for size in [(48, 16), (10, 90), (90, 10), (31, 31)]:
        assert preprocess.tensor(picture(*size)).shape == (1, 16, 48)


def test_preprocessing_travels_as_json() -> None:
    preprocess = Preprocess((24, 32), (0.5,), (0.25,), crop=0.9, interpolation="bilinear")
    assert Preprocess(**json.loads(json.dumps(asdict(preprocess)))) == preprocess


@pytest.mark.parametrize(
    "fields",
    [
        {"input_size": (32,)},
        {"input_size": (0, 32)},
        {"std": (1.0, 1.0)},
        {"std": (0.0, 1.0, 1.0)},
        {"crop": 0.0},
        {"crop": 1.1},
        {"interpolation": "magic"},
    ],
)
def test_impossible_preprocessing_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(UserError, match=next(iter(fields))):
        replace(plain(), **fields)


@pytest.mark.parametrize("channels", [1, 3])
def test_training_sees_what_testing_sees_when_all_is_off(channels: int) -> None:
    preprocess = plain(24, channels, crop=0.8)
    image = picture(50, 40)
    assert no_augment() == AugmentConfig()
    assert torch.equal(Augment(no_augment(), preprocess)([image], 0, [3])[0], preprocess.tensor(image))
    images, targets = torch.rand(4, 3, 8, 8), torch.eye(4)
    mixed, mixed_targets = mix(no_augment(), images.clone(), targets, 0, 0, 0)
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
    mix(nest_imagenet_augment(), torch.rand(4, 3, 8, 8, generator=torch.Generator()), torch.eye(4), 0, 0, 0)
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


def test_the_presets_are_those_of_the_official_recipes() -> None:
    imagenet, cifar = nest_imagenet_augment(), nest_cifar_augment()
    assert (imagenet.crop, imagenet.area, imagenet.color_jitter) == ("resized", (0.05, 1.0), 0.3)
    assert (cifar.crop, cifar.pad, cifar.color_jitter) == ("pad", 2, 0.0)
    for preset in (imagenet, cifar):
        assert preset.rand_augment == "rand-m9-mstd0.5"
        assert (preset.flip, preset.erasing, preset.label_smoothing) == (0.5, 0.25, 0.1)
        assert (preset.mixup, preset.cutmix, preset.mix_probability, preset.mix_switch) == (0.8, 1.0, 1.0, 0.5)


@pytest.mark.parametrize("words", ["rand", "rand-m9-mstd0.5", "rand-m7-n3-p0.3-mmax12-inc1-tweights"])
def test_rand_augment_is_understood_as_timm_does(words: str) -> None:
    assert Augment(AugmentConfig(rand_augment=words), plain())([picture()], 0, [0]).shape == (1, 3, 32, 32)


@pytest.mark.parametrize(
    "fields",
    [
        {"flip": -0.1},
        {"flip": 1.1},
        {"flip": float("nan")},
        {"erasing": 2},
        {"mixup": -1},
        {"cutmix": float("inf")},
        {"mix_probability": 1.5},
        {"mix_switch": -0.5},
        {"label_smoothing": 1.2},
        {"color_jitter": -0.3},
        {"rand_augment_shift": 2.0},
        {"pad": -1},
        {"area": (0.0, 1.0)},
        {"area": (0.9, 0.1)},
        {"side": (0.0, 0.5)},
        {"side": (0.9, 0.7)},
        {"side": (0.9, 1.1)},
        {"ratio": (-1.0, 1.0)},
        {"crop": "diagonal"},
        {"rand_augment": "9 magnitudes"},
        {"rand_augment": "rand-m"},
        {"rand_augment": "rand-x3"},
        {"rand_augment": "augmix-m3"},
    ],
)
def test_impossible_augmentation_is_refused_at_once(fields: dict[str, object]) -> None:
    with pytest.raises(UserError, match=next(iter(fields))):
        AugmentConfig(**fields)


def clip_preprocess(frames: int = 4, side: int = 32, channels: int = 3, **fields: Any) -> Preprocess:
    return Preprocess((frames, side, side), (0.4,) * channels, (0.3,) * channels, **({"crop": 1.0} | fields))


def moving_picture(frames: int = 4, height: int = 40, width: int = 50, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (frames, height, width, channels), dtype=np.uint8)


def still(image: Image.Image, frames: int = 4) -> np.ndarray:
    """A clip that shows the same picture all the time."""
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    return np.stack([pixels] * frames)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("channels", [1, 3])
def test_testing_sees_the_frames_of_a_clip_as_it_sees_pictures(interpolation: str, channels: int) -> None:
    fields = {"crop": 0.8, "interpolation": interpolation}
    whole = clip_preprocess(4, 24, channels, **fields)
    one = Preprocess((24, 24), whole.mean, whole.std, **fields)
    grey_level = 1.01 / 255 / 0.3
    # The room around these crops is even, so that both divide it alike.
    for height, width in [(30, 30), (64, 40), (20, 60), (20, 200)]:
        clip = moving_picture(4, height, width)
        seen = whole.tensor(clip)
        assert (seen.shape, seen.dtype) == ((channels, 4, 24, 24), torch.float32)
        pictures = torch.stack([one.tensor(Image.fromarray(frame)) for frame in clip], dim=1)
        torch.testing.assert_close(seen, pictures, rtol=0, atol=grey_level)


def test_a_clip_of_the_right_size_is_normalised_exactly_as_pictures_are() -> None:
    clip = moving_picture(4, 32, 32)
    one = Preprocess((32, 32), (0.4,) * 3, (0.3,) * 3, crop=1.0)
    pictures = torch.stack([one.tensor(Image.fromarray(frame)) for frame in clip], dim=1)
    assert torch.equal(clip_preprocess().tensor(clip), pictures)


def test_grey_and_colour_clips_suit_models_of_either() -> None:
    clip = moving_picture(4, 32, 32)
    grey = clip_preprocess(channels=1).shown_clips(clip)[0]
    assert np.array_equal(grey[..., 0], np.stack([np.asarray(Image.fromarray(frame).convert("L")) for frame in clip]))
    coloured = clip_preprocess().shown_clips(grey)[0]
    assert np.array_equal(coloured, grey.repeat(3, axis=3))


def test_three_views_in_space_show_both_ends_and_the_middle_of_the_longer_side() -> None:
    """The values are coordinates, so the crops show where they came from."""
    rows, columns = np.mgrid[:30, :90]
    clip = np.stack([np.stack([columns, rows, rows * 0], axis=2)] * 2).astype(np.uint8)
    preprocess = clip_preprocess(2, 30, crop=0.5)
    for view, left in enumerate((0, 30, 60)):
        for pixels, first in ((clip, (0, left)), (clip.transpose(0, 2, 1, 3)[..., [1, 0, 2]], (left, 0))):
            shown = preprocess.shown_clips(pixels, 3)[view]
            assert shown.shape == (2, 30, 30, 3)
            assert (shown[1, 0, 0, 1], shown[1, 0, 0, 0]) == first
    assert len(preprocess.tensors(clip, 3)) == 3
    # One view shows the middle half.
    assert preprocess.shown_clips(clip)[0][0, 15, 15].tolist() == pytest.approx([45, 15, 0], abs=1)


def test_clips_are_for_models_of_clips_of_as_many_frames_and_pictures_for_models_of_pictures() -> None:
    config = AugmentConfig(crop="resized")
    for varied in (Augment(config, clip_preprocess()), Augment(no_augment(), clip_preprocess())):
        with pytest.raises(UserError, match=r"takes clips of \(4, 32, 32\) frames, rows and columns; these are images"):
            varied([picture()], 0, [0])
        with pytest.raises(UserError, match="takes clips of 4 frames, and this is a clip of 5"):
            varied([moving_picture(5)], 0, [0])
    with pytest.raises(UserError, match="takes images, and this is a clip of 4 frames"):
        plain().tensor(moving_picture())


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
