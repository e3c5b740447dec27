"""How training images and clips are augmented: the settings, and those of the published recipes."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields, replace
from typing import Literal

from hvit.errors import UserError, check_choices

RAND_AUGMENT = re.compile(
    r"rand(-(m\d+|n[1-9]\d*|p(0?\.\d+|0|1(\.0+)?)|mstd\d+(\.\d+)?|mmax\d+|inc[01]|t(weights|3aw?)))*"
)


@dataclass(frozen=True)
class AugmentConfig:
    """How training images are augmented, in this order; every part is off by default.

    All frames of a clip are augmented alike. RandAugment of a clip comes first, on whole frames, as in SlowFast.
    Source: the published recipes, which `nest_imagenet_augment`, `nest_cifar_augment`, `mvit_imagenet_augment` and
    `hiera_imagenet_augment` set.
    """

    crop: Literal["none", "pad", "resized", "window"] = "none"
    """Random crop. none: the centre crop of evaluation; pad: a random shift; resized: a random part, resized; window: a
    random part with the input's proportions."""
    pad: int = 2
    """With crop pad: black pixels added on each side before the crop."""
    area: tuple[float, float] = (0.05, 1.0)
    """With crop resized: smallest and largest share of the image that is cropped."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """With crop resized: smallest and largest aspect ratio (width / height) of the crop."""
    side: tuple[float, float] = (0.7, 0.875)
    """With crop window: smallest and largest side of the crop, as a share of the largest one that fits.
    (0.7, 0.875) are crops of 224 from clips whose shorter side is 256 to 320."""
    flip: float = 0.0
    """Probability of a horizontal flip."""
    rand_augment: str = ""
    """RandAugment in timm's notation, such as rand-m9-mstd0.5 for two operations of magnitude 9; empty for none."""
    rand_augment_shift: float = 0.45
    """Largest shift by RandAugment, as a share of the image's side."""
    rand_augment_fill: Literal["grey", "mean"] = "grey"
    """What RandAugment fills empty corners with: grey, or the data's mean colour."""
    rand_augment_interpolation: Literal["random", "nearest", "bilinear", "bicubic"] = "random"
    """How RandAugment rotates, shears and shifts; random: bilinear or bicubic, at random each time."""
    color_jitter: float = 0.0
    """Strength of the random change of colours (SimCLR v2: brightness, contrast and saturation 0.8 and hue 0.2 times it
    with probability 0.8, grey with probability 0.2); 0 for none."""
    erasing: float = 0.0
    """Probability of random erasing: a rectangle (2 % to a third of the image) becomes noise."""
    block_erasing: float = 0.0
    """Probability that 1 to 8 of an image's sixteenths take its mean colour, as block Shapley removes blocks."""
    mixup: float = 0.0
    """Alpha of mixup, which averages pairs of images and their targets; 0 for none."""
    cutmix: float = 0.0
    """Alpha of cutmix, which pastes a rectangle of one image into another, and mixes their targets; 0 for none."""
    mix_probability: float = 1.0
    """Probability that a batch is mixed at all."""
    mix_switch: float = 0.5
    """Probability of cutmix rather than mixup where both are on."""
    label_smoothing: float = 0.0
    """Share of every target that is spread evenly over all classes."""
    on_device: bool = False
    """Augment whole batches on the training device: for small images, which then cost the data workers little. The
    random draws differ; not with crop resized or window, rand_augment, color_jitter or clips."""

    def __post_init__(self) -> None:
        check_choices(self)
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, (int, float)) and not (math.isfinite(value) and value >= 0):
                raise UserError(f"{field.name} must be a number from 0, not {value}.")
        for name in (
            "flip",
            "rand_augment_shift",
            "color_jitter",
            "erasing",
            "block_erasing",
            "mix_probability",
            "mix_switch",
            "label_smoothing",
        ):
            if getattr(self, name) > 1:
                raise UserError(f"{name} must be from 0 to 1, not {getattr(self, name)}.")
        if not 0 < self.area[0] <= self.area[1] <= 1:
            raise UserError(f"area must be two shares above 0 and up to 1 in order, not {self.area}.")
        if not 0 < self.side[0] <= self.side[1] <= 1:
            raise UserError(f"side must be two shares above 0 and up to 1 in order, not {self.side}.")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise UserError(f"ratio must be two numbers above 0 in order, not {self.ratio}.")
        if self.rand_augment and not RAND_AUGMENT.fullmatch(self.rand_augment):
            raise UserError(
                f"rand_augment must be empty or rand followed by parts such as -m9 (magnitude), -n2 (operations), "
                f"-mstd0.5 (spread of the magnitude), -p0.5 (probability of each) or -inc1, not {self.rand_augment!r}."
            )
        if self.on_device and (self.crop in ("resized", "window") or self.rand_augment or self.color_jitter):
            raise UserError(
                "on_device augments whole batches at once, for which crop resized and window, rand_augment and "
                "color_jitter do not exist: switch them off (crop none or pad, rand_augment empty, "
                "color_jitter 0), or on_device."
            )


def no_augment() -> AugmentConfig:
    """Training sees what testing sees."""
    return AugmentConfig()


def nest_imagenet_augment() -> AugmentConfig:
    """The augmentation of NesT's ImageNet recipe."""
    return AugmentConfig(
        crop="resized",
        flip=0.5,
        rand_augment="rand-m9-mstd0.5",
        rand_augment_shift=100 / 224,
        rand_augment_interpolation="nearest",
        color_jitter=0.3,
        erasing=0.25,
        mixup=0.8,
        cutmix=1.0,
        label_smoothing=0.1,
    )


def nest_cifar_augment() -> AugmentConfig:
    """The augmentation of NesT's CIFAR recipe: shifts by 2 pixels instead of crops, and no change of colours."""
    return AugmentConfig(
        crop="pad",
        flip=0.5,
        rand_augment="rand-m9-mstd0.5",
        rand_augment_shift=10 / 32,
        rand_augment_interpolation="nearest",
        erasing=0.25,
        mixup=0.8,
        cutmix=1.0,
        label_smoothing=0.1,
    )


def mvit_imagenet_augment() -> AugmentConfig:
    """The augmentation of MViT's and MViTv2's ImageNet recipes, with six operations of RandAugment in a row."""
    return AugmentConfig(
        crop="resized",
        area=(0.08, 1.0),
        flip=0.5,
        rand_augment="rand-m9-n6-mstd0.5-inc1",
        rand_augment_fill="mean",
        rand_augment_interpolation="bicubic",
        erasing=0.25,
        mixup=0.8,
        cutmix=1.0,
        label_smoothing=0.1,
    )


def hiera_imagenet_augment() -> AugmentConfig:
    """The augmentation of fine-tuning Hiera on ImageNet: MViT's, with two operations of RandAugment in place of six."""
    return replace(mvit_imagenet_augment(), rand_augment="rand-m9-mstd0.5-inc1")
