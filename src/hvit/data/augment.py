"""Augments training images and clips at random."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hvit.data.block_erasing import NUMBERS, erase_blocks, erased_blocks
from hvit.data.images.channels import ChannelImage
from hvit.data.preprocess import INTERPOLATIONS, LONGEST_STRIP, Preprocess, resize_clip
from hvit.data.sets import Needed, Reduced, Sample
from hvit.randomness import derive_seed, seeded

if TYPE_CHECKING:
    from hvit.data.augment_settings import AugmentConfig

_PIXELS_PER_PIXEL = 2
"""How many pixels along each side a picture that is decoded smaller keeps for a pixel of the model's input: with fewer
the decoder's way of shrinking shows."""


class Augment:
    """Varies pictures at random and turns them into the model's input; pure in (seed, draw)."""

    def __init__(self, config: AugmentConfig, preprocess: Preprocess) -> None:
        config = without_colours(config, len(preprocess.mean))
        self.config, self.preprocess = config, preprocess
        self.is_random = config.crop != "none" or bool(
            config.flip or config.rand_augment or config.color_jitter or config.erasing or config.block_erasing
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

            hparams: dict[str, object] = {"translate_pct": config.rand_augment_shift}
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
        if self.erase is None and not self.config.block_erasing:
            return image
        tensor = self.preprocess.normalised(image)
        return self._without_blocks(tensor if self.erase is None else self.erase(tensor))

    def _without_blocks(self, tensor: Tensor) -> Tensor:
        """The last of the augmentations, so that the others draw the same numbers with and without it."""
        if not self.config.block_erasing:
            return tensor
        blocks = erased_blocks(torch.rand(1, NUMBERS), self.config.block_erasing)
        return erase_blocks(tensor[None], blocks)[0]

    def _cut(self, sample: Image.Image | Reduced) -> Image.Image:
        if isinstance(sample, Reduced):
            image = self._part_of_reduced(sample)
        else:
            image = self.preprocess.picture_in_mode(sample)
            image = self.preprocess.shown(image) if self.cut_part is None else self._part(image)
        if self.config.crop == "pad":
            height, width = self.preprocess.frame_size
            left, top = torch.randint(2 * self.config.pad + 1, (2,)).tolist()
            # Outside of the picture is black.
            left, top = left - self.config.pad, top - self.config.pad
            image = image.crop((left, top, left + width, top + height))
        if torch.rand(()) < self.config.flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return image

    def _part(self, image: Image.Image) -> Image.Image:
        assert self.cut_part is not None
        part = self._drawn_part(image.height, image.width)
        if isinstance(image, ChannelImage):
            top, left, height, width = part
            rows, columns = self.preprocess.frame_size
            cut = image.crop((left, top, left + width, top + height))
            return cut.resize((columns, rows), INTERPOLATIONS[self.preprocess.interpolation])
        return self.cut_part(image, *part)

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
        return self._without_blocks(tensor)

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


def without_colours(config: AugmentConfig, channels: int) -> AugmentConfig:
    """The settings without what is made for colours, for images of other channels."""
    if channels in (1, 3):
        return config
    return replace(config, rand_augment="", color_jitter=0.0)


def skipped_notes(config: AugmentConfig, channels: int) -> tuple[str, ...]:
    """The sentence on augmentations that are skipped because images have other channels than colours, if any are."""
    kept = without_colours(config, channels)
    names = [name for name in ("rand_augment", "color_jitter") if getattr(kept, name) != getattr(config, name)]
    if not names:
        return ()
    skipped = " and ".join(f"augment.{name}" for name in names)
    are = "are" if len(names) > 1 else "is"
    return (f"The images have {channels} channels, so {skipped}, made for colours, {are} skipped.",)


def _picture(pixels: np.ndarray) -> Image.Image:
    """(height, width, 3 or 1) uint8 as a picture."""
    return Image.fromarray(np.ascontiguousarray(pixels if pixels.shape[2] == 3 else pixels[..., 0]))


def __getattr__(name: str) -> object:
    """Names that older versions had here (see `hvit.moved`)."""
    from hvit.moved import moved_attribute

    return moved_attribute(__name__, name)
