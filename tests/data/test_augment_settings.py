"""Settings of augmentation: the presets are the published ones, and impossible ones are refused."""

from __future__ import annotations

import pytest

from hvit.data.augment import Augment
from hvit.data.augment_settings import AugmentConfig, nest_cifar_augment, nest_imagenet_augment
from hvit.errors import UserError
from tests.data.inputs import picture, plain


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
        {"block_erasing": 1.1},
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
