"""Pictures and clips varied at random for learning, and mixed in pairs."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import repeat
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from hvit.data.preprocess import INTERPOLATIONS, LONGEST_STRIP, Preprocess, resize_clip
from hvit.data.sets import Needed, Reduced, Sample, Target
from hvit.errors import UserError, check_choices
from hvit.randomness import derive_seed, seeded

RAND_AUGMENT = re.compile(
    r"rand(-(m\d+|n[1-9]\d*|p(0?\.\d+|0|1(\.0+)?)|mstd\d+(\.\d+)?|mmax\d+|inc[01]|t(weights|3aw?)))*"
)


@dataclass(frozen=True)
class AugmentConfig:
    """How training pictures are varied, in this order; every part is off until its field switches it on.

    All frames of a clip are varied alike, and of a clip RandAugment comes first, on the whole frames, as in SlowFast.
    Source: the published recipes, which `nest_imagenet_augment`, `nest_cifar_augment`, `mvit_imagenet_augment` and
    `hiera_imagenet_augment` set.
    """

    crop: Literal["none", "pad", "resized", "window"] = "none"
    """What is cut out: none for what testing sees; pad for a random shift; resized for a random part, enlarged; window
    for a random part of the input's proportions."""
    pad: int = 2
    """With crop pad: how many black pixels are added on each side before cutting out the input's size."""
    area: tuple[float, float] = (0.05, 1.0)
    """With crop resized: smallest and largest share of the picture that is cut out."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """With crop resized: smallest and largest width of the part that is cut out, as a multiple of its height."""
    side: tuple[float, float] = (0.7, 0.875)
    """With crop window: smallest and largest side of the part that is cut out, as a share of the largest one that fits.
    (0.7, 0.875) are crops of 224 from clips whose shorter side is 256 to 320."""
    flip: float = 0.0
    """Probability of mirroring left and right."""
    rand_augment: str = ""
    """RandAugment in timm's words, such as rand-m9-mstd0.5 for two operations of magnitude 9; empty for none."""
    rand_augment_shift: float = 0.45
    """Largest shift by RandAugment, as a share of the picture's side."""
    rand_augment_fill: Literal["grey", "mean"] = "grey"
    """What RandAugment fills empty corners with: grey, or the data's mean colour."""
    rand_augment_interpolation: Literal["random", "nearest", "bilinear", "bicubic"] = "random"
    """How RandAugment rotates, shears and shifts; random: bilinear or bicubic, drawn anew each time."""
    color_jitter: float = 0.0
    """Strength of the random change of colours (SimCLR v2: brightness, contrast and saturation 0.8 and hue 0.2 times it
    with probability 0.8, grey with probability 0.2); 0 for none."""
    erasing: float = 0.0
    """Probability of overwriting a rectangle (2 % to a third of the picture) with noise."""
    mixup: float = 0.0
    """Alpha of mixup, which averages pairs of pictures and their targets; 0 for none."""
    cutmix: float = 0.0
    """Alpha of cutmix, which pastes a rectangle of one picture into another, and mixes their targets; 0 for none."""
    mix_probability: float = 1.0
    """Probability that a batch is mixed at all."""
    mix_switch: float = 0.5
    """Probability of cutmix rather than mixup where both are on."""
    label_smoothing: float = 0.0
    """Share of every target that is spread evenly over all classes."""
    on_device: bool = False
    """Vary whole batches at once where the model learns, from bytes: for small pictures, which then cost the data
    workers little. Other, equally good, draws; not with crop resized or window, rand_augment, color_jitter or
    clips."""

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
                "on_device varies whole batches at once, for which crop resized and window, rand_augment and "
                "color_jitter have no form: switch them off (crop none or pad, rand_augment empty, "
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


_PIXELS_PER_PIXEL = 2
"""How many pixels along each side a picture that is decoded smaller keeps for a pixel of the model's input: with fewer
the decoder's way of shrinking shows."""


class Augment:
    """Varies pictures at random and turns them into the model's input; pure in (seed, draw)."""

    def __init__(self, config: AugmentConfig, preprocess: Preprocess) -> None:
        self.config, self.preprocess = config, preprocess
        self.is_random = config.crop != "none" or bool(
            config.flip or config.rand_augment or config.color_jitter or config.erasing
        )
        self.cut_part: Callable[..., Image.Image] | None = None
        self.draw_part = self.rand_augment = self.jitter = self.erase = None
        # Imported here because timm and torchvision take seconds to import, and only some augmentations need them.
        if config.crop in ("resized", "window"):
            from torchvision.transforms import InterpolationMode, RandomResizedCrop
            from torchvision.transforms.functional import resized_crop

            interpolation = InterpolationMode(preprocess.interpolation)
            size = list(preprocess.frame_size)
            self.cut_part = partial(resized_crop, size=size, interpolation=interpolation)  # pyright: ignore
            self.draw_part = RandomResizedCrop.get_params
        if config.rand_augment:
            from timm.data.auto_augment import rand_augment_transform

            hparams: dict[str, Any] = {"translate_pct": config.rand_augment_shift}
            if config.rand_augment_fill == "mean":
                levels = [min(255, round(255 * mean)) for mean in preprocess.mean]
                hparams["img_mean"] = tuple(levels * (3 // len(levels)))
            if config.rand_augment_interpolation != "random":
                hparams["interpolation"] = INTERPOLATIONS[config.rand_augment_interpolation]
            self.rand_augment = rand_augment_transform(config.rand_augment, hparams)
        if config.color_jitter:
            from torchvision.transforms import ColorJitter

            strong, weak = 0.8 * config.color_jitter, 0.2 * config.color_jitter
            self.jitter = ColorJitter(strong, strong, strong, weak)
        if config.erasing:
            from timm.data.random_erasing import RandomErasing

            self.erase = RandomErasing(config.erasing, mode="pixel", device="cpu")

    def needed(self, seed: int, draws: Iterable[int]) -> Needed:
        """How large a picture must be decoded for some draws of it, given its full size. Seeds torch's generator."""

        def sides(width: int, height: int) -> tuple[int, int]:
            if max(width, height) > LONGEST_STRIP * min(width, height):
                return width, height
            wanted_height, wanted_width = self.preprocess.covering_size(height, width, self.preprocess.crop)
            if self.cut_part is not None:
                wanted_height, wanted_width = self.preprocess.frame_size
                parts = []
                for draw in draws:
                    torch.default_generator.manual_seed(derive_seed(seed, "augment", draw))
                    parts.append(self._drawn_part(height, width))
                wanted_height *= height / min(part[2] for part in parts)
                wanted_width *= width / min(part[3] for part in parts)
            return math.ceil(_PIXELS_PER_PIXEL * wanted_width), math.ceil(_PIXELS_PER_PIXEL * wanted_height)

        return sides

    def __call__(self, samples: Iterable[Sample | Reduced], seed: int, draws: Iterable[int]) -> Tensor:
        """The model's input (batch, channels, height, width), or (batch, channels, frames, height, width) of clips.

        draws: the number of each sample in the run; the same number always gives the same variation.
        """
        if not self.is_random:
            return self._together(list(map(self._plain, samples)))
        # Once for all: restoring the program's random states takes longer than varying a small picture.
        with seeded(seed, "augment"):
            # By `map`, which lets go of a sample before it asks for the next: a huge image is half a gigabyte.
            varied = list(map(self._vary, samples, repeat(seed), draws))
        return self._together(varied)

    def _together(self, varied: Sequence[Image.Image | Tensor]) -> Tensor:
        """A batch of pictures, normalised all at once, or of what is normalised already."""
        if isinstance(varied[0], Tensor):
            return torch.stack(varied)  # pyright: ignore[reportArgumentType]
        pixels = torch.from_numpy(np.stack([np.asarray(image) for image in varied]))
        return self.preprocess.normalised_batch(pixels.view(*pixels.shape[:3], -1).permute(0, 3, 1, 2).contiguous())

    def _plain(self, sample: Sample | Reduced) -> Image.Image | Tensor:
        if isinstance(sample, Reduced):
            return self._part_of_reduced(sample)
        return self.preprocess.tensor(sample) if isinstance(sample, np.ndarray) else self.preprocess.shown(sample)

    def _vary(self, sample: Sample | Reduced, seed: int, draw: int) -> Image.Image | Tensor:
        derived = derive_seed(seed, "augment", draw)
        random.seed(derived)
        np.random.seed(derived % 2**32)
        torch.default_generator.manual_seed(derived)
        if isinstance(sample, np.ndarray):
            return self._vary_clip(sample)
        image = self._recoloured(self._cut(sample))
        return image if self.erase is None else self.erase(self.preprocess.normalised(image))

    def _cut(self, sample: Image.Image | Reduced) -> Image.Image:
        if isinstance(sample, Reduced):
            image = self._part_of_reduced(sample)
        else:
            image = self.preprocess.picture_in_mode(sample)
            image = self.preprocess.shown(image) if self.cut_part is None else self._part(image)
        if self.config.crop == "pad":
            height, width = self.preprocess.frame_size
            left, top = torch.randint(2 * self.config.pad + 1, (2,)).tolist()
            image = ImageOps.expand(image, self.config.pad).crop((left, top, left + width, top + height))
        if torch.rand(()) < self.config.flip:
            image = ImageOps.mirror(image)
        return image

    def _part(self, image: Image.Image) -> Image.Image:
        assert self.cut_part is not None
        return self.cut_part(image, *self._drawn_part(image.height, image.width))

    def _part_of_reduced(self, picture: Reduced) -> Image.Image:
        image = self.preprocess.picture_in_mode(picture.image)
        if self.cut_part is None:
            return self.preprocess.shown(image, picture.size)
        top, left, height, width = self._drawn_part(picture.size[1], picture.size[0])
        across, down = image.width / picture.size[0], image.height / picture.size[1]
        right, bottom = min((left + width) * across, image.width), min((top + height) * down, image.height)
        box = (left * across, top * down, right, bottom)
        rows, columns = self.preprocess.frame_size
        return image.resize((columns, rows), INTERPOLATIONS[self.preprocess.interpolation], box)

    def _drawn_part(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, height and width of the part that is cut out, drawn from torch's generator."""
        if self.config.crop == "window":
            rows, columns = self.preprocess.frame_size
            smallest, largest = self.config.side
            scale = min(height / rows, width / columns) * (smallest + (largest - smallest) * torch.rand(()).item())
            cut = min(height, max(1, round(rows * scale))), min(width, max(1, round(columns * scale)))
            top, left = (int(torch.randint(spare + 1, ())) for spare in (height - cut[0], width - cut[1]))
            return top, left, *cut
        assert self.draw_part is not None
        of_its_size = torch.empty(1, height, width, device="meta")
        return self.draw_part(of_its_size, list(self.config.area), list(self.config.ratio))

    def _recoloured(self, image: Image.Image) -> Image.Image:
        if self.rand_augment is None and self.jitter is None:
            return image
        # timm fills with a colour, so grey pictures pass through RGB, which leaves their values as they are.
        coloured = image.convert("RGB")
        if self.rand_augment is not None:
            coloured = self.rand_augment(coloured)
        return self._jittered(coloured).convert(image.mode)

    def _jittered(self, coloured: Image.Image) -> Image.Image:
        if self.jitter is not None:
            if torch.rand(()) < 0.8:
                coloured = self.jitter(coloured)
            if torch.rand(()) < 0.2:
                coloured = coloured.convert("L")
        return coloured

    def _vary_clip(self, clip: np.ndarray) -> Tensor:
        """The same as for pictures, with one choice for all frames: (channels, frames, height, width)."""
        clip = self.preprocess.clip_in_mode(clip)
        if self.rand_augment is not None:
            clip = self._rand_augmented(clip)
        clip = self._cut_clip(clip)
        if self.jitter is not None:
            # One tall picture of all frames, so that each is changed by as much, and around the clip's mean grey.
            frames, height, width, channels = clip.shape
            tall = self._jittered(_picture(clip.reshape(frames * height, width, channels)).convert("RGB"))
            clip = np.asarray(tall.convert(self.preprocess.mode)).reshape(clip.shape)
        tensor = self.preprocess.normalised_clip(clip)
        if self.erase is not None:
            # All frames in the place of channels: the same rectangle of each, with noise of its own.
            self.erase(tensor.view(-1, *self.preprocess.frame_size))
        return tensor

    def _rand_augmented(self, clip: np.ndarray) -> np.ndarray:
        """Every frame changed by the same operations: timm draws them from these two generators."""
        assert self.rand_augment is not None
        states = random.getstate(), np.random.get_state()
        changed = np.empty_like(clip)
        for frame, result in zip(clip, changed, strict=True):
            random.setstate(states[0])
            np.random.set_state(states[1])
            image = self.rand_augment(_picture(frame).convert("RGB"))
            result[:] = np.asarray(image.convert(self.preprocess.mode)).reshape(result.shape)
        return changed

    def _cut_clip(self, clip: np.ndarray) -> np.ndarray:
        if self.cut_part is None:
            clip = self.preprocess.shown_clips(clip)[0]
        else:
            top, left, height, width = self._drawn_part(*clip.shape[1:3])
            part = clip[:, top : top + height, left : left + width]
            clip = resize_clip(part, *self.preprocess.frame_size, self.preprocess.interpolation)
        if self.config.crop == "pad":
            (height, width), pad = self.preprocess.frame_size, self.config.pad
            left, top = torch.randint(2 * pad + 1, (2,)).tolist()
            padded = np.pad(clip, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
            clip = padded[:, top : top + height, left : left + width]
        return clip[:, :, ::-1] if torch.rand(()) < self.config.flip else clip


def _picture(pixels: np.ndarray) -> Image.Image:
    """(height, width, 3 or 1) uint8 as a picture."""
    return Image.fromarray(np.ascontiguousarray(pixels if pixels.shape[2] == 3 else pixels[..., 0]))


def soft_targets(targets: list[Target], num_classes: int, label_smoothing: float = 0.0) -> Tensor:
    """Targets as shares: (batch, num_classes) float32, each row summing to 1.

    label_smoothing: the share that is spread evenly over all classes (Szegedy et al. 2016, arXiv 1512.00567).
    """
    shares = torch.zeros(len(targets), num_classes)
    for row, target in zip(shares, targets, strict=True):
        if isinstance(target, np.ndarray):
            row += torch.from_numpy(target)
        else:
            row[target] = 1
    return shares * (1 - label_smoothing) + label_smoothing / num_classes


def mix(
    config: AugmentConfig, images: Tensor, targets: Tensor, seed: int, step: int, rank: int
) -> tuple[Tensor, Tensor]:
    """Mixes the pictures of a batch in pairs, first with last, by mixup or cutmix; the targets are mixed alike.

    images: (batch, channels, height, width) or (batch, channels, frames, height, width), changed in place; cutmix
    exchanges the same rectangle of all frames. targets: (batch, num_classes). Of an odd batch the last picture stays as
    it is. Pure in (seed, step, rank).
    Source: mixup (arXiv 1710.09412), cutmix (arXiv 1905.04899).
    """
    even = len(images) // 2 * 2
    if even == 0 or not (config.mixup or config.cutmix):
        return images, targets
    from timm.data.mixup import Mixup

    # timm mixes class numbers only. With every picture as a class of its own, the targets it returns are the
    # weights of the pictures in the mixture, and these mix soft targets, too.
    mixer = Mixup(
        mixup_alpha=config.mixup,
        cutmix_alpha=config.cutmix,
        prob=config.mix_probability,
        switch_prob=config.mix_switch,
        label_smoothing=0.0,
        num_classes=even,
    )
    with seeded(seed, "mix", step, rank):
        # timm cuts along the third and fourth axes, so the frames of clips join the channels.
        _, weights = mixer(images[:even].view(even, -1, *images.shape[-2:]), torch.arange(even))
    weights = weights.to(targets.device, non_blocking=True)
    return images, torch.cat([weights @ targets[:even], targets[even:]])
