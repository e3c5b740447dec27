"""Whole batches of small pictures varied at once, on the device where the model learns."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from hvit.data.augment_settings import AugmentConfig
from hvit.data.block_erasing import NUMBERS, erase_blocks, erased_blocks
from hvit.data.mixing import mix
from hvit.data.preprocess import Preprocess
from hvit.randomness import derive_seed, generator, places_of

_AREAS = (0.02, 1 / 3)
_LONGEST_RATIO = 1 / 0.3
_ATTEMPTS = 10
"""What is erased, as in timm: share of the picture, height to width (and its inverse), draws until one fits."""


class DeviceAugment:
    """Shifts, mirrors, normalises, erases and mixes batches of bytes; pure in (seed, step).

    What is drawn for a picture depends on its place in the batch of all processes, so any number of processes shows
    the same pictures. Noise is drawn on the device, and differs between kinds of devices.

    config: with `on_device` set, which refuses what has no batched form. seed: the run's. batch_size: pictures of all
    processes together, of which this process has the share of its rank.
    """

    def __init__(
        self, config: AugmentConfig, preprocess: Preprocess, seed: int, batch_size: int, rank: int, world_size: int
    ) -> None:
        self.config, self.preprocess, self.seed = config, preprocess, seed
        self.batch_size, self.places = batch_size, places_of(batch_size, rank, world_size)

    def __call__(self, images: Tensor, targets: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """images: (batch, channels, height, width) uint8. Returns them normalised float32, and the mixed targets.

        targets: (batch, classes) shares, smoothed already.
        """
        draws = torch.rand(self.batch_size, 6 + 2 * _ATTEMPTS, generator=generator(self.seed, "device augment", step))
        shift, mirror = draws[self.places[: len(images), None], torch.arange(3)].split([2, 1], dim=1)
        if self.config.crop == "pad" or self.config.flip:
            images = self._moved(images, shift, mirror[:, 0] < self.config.flip)
        images = self.preprocess.normalised_batch(images)
        if self.config.erasing:
            self._erase(images, draws[:, 3:], step)
        if self.config.block_erasing:
            numbers = torch.rand(
                self.batch_size, NUMBERS, generator=generator(self.seed, "device augment blocks", step)
            )
            numbers = numbers[self.places[: len(images)]]
            images = erase_blocks(images, erased_blocks(numbers, self.config.block_erasing))
        return mix(self.config, images, targets, self.seed, step)

    def _moved(self, images: Tensor, shift: Tensor, mirrored: Tensor) -> Tensor:
        """Every picture cut out of its padded self, and mirrored or not, in one gathering of pixels."""
        height, width = images.shape[-2:]
        pad = self.config.pad if self.config.crop == "pad" else 0
        top, left = (shift * (2 * pad + 1)).long().clamp(max=2 * pad).unbind(1)
        columns = torch.arange(width).expand(len(images), -1)
        columns = left[:, None] + torch.where(mirrored[:, None], columns.flip(1), columns)
        rows = top[:, None] + torch.arange(height)
        # One number for each pixel: which pixel of the padded plane it is.
        sources = (rows[:, :, None] * (width + 2 * pad) + columns[:, None]).flatten(1)
        padded = F.pad(images, (pad,) * 4).flatten(2)
        chosen = sources.to(images.device, non_blocking=True)[:, None].expand(-1, images.shape[1], -1)
        return padded.gather(2, chosen).view_as(images)

    def _erase(self, images: Tensor, draws: Tensor, step: int) -> None:
        """Overwrites a rectangle of some pictures with noise; of those for which none fits, nothing.

        draws: (pictures of all processes, 3 + 2 * _ATTEMPTS), uniform from 0 to 1.
        """
        height, width = images.shape[-2:]
        chosen, place, rectangles = draws[:, 0] < self.config.erasing, draws[:, 1:3], draws[:, 3:].unflatten(1, (-1, 2))
        area = (_AREAS[0] + rectangles[..., 0] * (_AREAS[1] - _AREAS[0])) * height * width
        ratio = ((2 * rectangles[..., 1] - 1) * math.log(_LONGEST_RATIO)).exp()
        rows, columns = (area * ratio).sqrt().round().long(), (area / ratio).sqrt().round().long()
        fits = (rows < height) & (columns < width)
        first = fits.long().argmax(1, keepdim=True)
        rows, columns = rows.gather(1, first)[:, 0], columns.gather(1, first)[:, 0]
        top, left = ((place * torch.stack([height - rows + 1, width - columns + 1], 1)).long()).unbind(1)
        erased = chosen & fits.any(1)
        numbers = torch.nonzero(erased[self.places[: len(images)]])[:, 0]
        places = self.places[numbers]
        inside = _between(top, rows, height)[places, :, None] & _between(left, columns, width)[places, None, :]
        noise_of = torch.Generator(images.device).manual_seed(derive_seed(self.seed, "device augment noise", step, 0))
        noise = torch.randn((int(erased.sum()), *images.shape[1:]), generator=noise_of, device=images.device)
        if len(numbers) < len(noise):
            noise = noise[(erased.cumsum(0) - 1)[places].to(images.device, non_blocking=True)]
        inside, numbers = (values.to(images.device, non_blocking=True) for values in (inside[:, None], numbers))
        images[numbers] = torch.where(inside, noise, images[numbers])


def _between(start: Tensor, length: Tensor, count: int) -> Tensor:
    """bool (batch, count): which of the numbers from 0 on are in each stretch."""
    numbers = torch.arange(count)
    return (numbers >= start[:, None]) & (numbers < (start + length)[:, None])
