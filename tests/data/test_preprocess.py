"""What a weights file says about preparing images is taken only where it can be true."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from hvit.data.augment import Augment
from hvit.data.augment_settings import AugmentConfig, no_augment
from hvit.data.preprocess import Preprocess, stored_preprocess
from hvit.data.sampling import Sampling
from hvit.errors import UserError
from tests.data.inputs import as_picture, clip_preprocess, moving_picture, picture, plain

OF_CLIPS = Preprocess((4, 32, 48), (0.5,), (0.25,), 0.9, "bilinear", Sampling(4, 2, "segments", 25.0))
OF_IMAGES = Preprocess((32, 48), (0.5, 0.4, 0.3), (0.25, 0.2, 0.1))


@pytest.mark.parametrize("preprocess", [OF_CLIPS, OF_IMAGES, replace(OF_IMAGES, crop=1.0)])
def test_what_was_stored_is_what_was_meant(preprocess: Preprocess) -> None:
    stored = json.loads(json.dumps(asdict(preprocess)))
    assert stored_preprocess(stored, preprocess.input_size, "a file") == preprocess


HOSTILE: dict[str, dict[str, Any]] = {
    "nothing": {"mean": None},
    "an unknown field": {"secret": 1},
    "text as a number": {"crop": "0.9"},
    "text as a size": {"input_size": "ab"},
    "a truth value as a size": {"input_size": [True, 48]},
    "a fraction as a size": {"input_size": [32.0, 48.0]},
    "another size than the model's": {"input_size": [48, 48]},
    "no number": {"mean": [float("nan")] * 3},
    "infinity": {"std": [float("inf")] * 3},
    "a std that no float has": {"std": [1e-300] * 3},
    "a mean of another world": {"mean": [1e30] * 3},
    "no channels": {"mean": [], "std": []},
    "more means than deviations": {"mean": [0.5] * 2, "std": [0.5] * 3},
    "names of other channels": {"channels": ["red", "blue"]},
    "a number as a channel": {"channels": [1, 2, 3]},
    "lists in lists": {"mean": [[0.5]] * 3},
    "an unknown interpolation": {"interpolation": "magic"},
    "a list as interpolation": {"interpolation": ["bilinear"]},
    "gigantic pictures": {"crop": 1e-9},
    "a list as sampling": {"sampling": [4]},
    "unknown sampling": {"sampling": {"num_frames": 4, "secret": 1}},
    "incomplete sampling": {"sampling": {"stride": 2}},
    "gigantic clips": {"sampling": {"num_frames": 10**9}},
    "more frames than the model takes": {"sampling": {"num_frames": 1000}},
    "no frames a second": {"sampling": {"num_frames": 4, "target_fps": 0}},
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_cannot_be_true_is_refused_and_the_file_is_named(kind: str) -> None:
    stored = json.loads(json.dumps(asdict(OF_IMAGES))) | HOSTILE[kind]
    with pytest.raises(UserError, match=r"^bad\.safetensors is damaged, its preprocess is not valid: ") as refusal:
        stored_preprocess(stored, (32, 48), "bad.safetensors")
    assert len(str(refusal.value).splitlines()) == 1


def test_fields_that_are_not_there_are_asked_for() -> None:
    with pytest.raises(UserError, match="not all fields are there"):
        stored_preprocess({"input_size": [32, 48]}, (32, 48), "bad.safetensors")


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
