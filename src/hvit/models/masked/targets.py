"""What a masked model is trained to predict of masked patches: their pixels, or histograms of their gradients.

Images and clips are cut into patches, the pixels of one token of the last level. Of a clip the first frame of every
token is predicted.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Target = Literal["normalised_pixels", "pixels", "hog"]
TARGETS: tuple[Target, ...] = ("normalised_pixels", "pixels", "hog")

_BINS = 9
_CELLS = 2


def target_width(target: Target, patch: tuple[int, ...], channels: int) -> int:
    """How many numbers are predicted of one patch. patch: pixels along every axis, time first for clips."""
    if target == "hog":
        return _CELLS * _CELLS * _BINS * channels
    return patch[-2] * patch[-1] * channels


def make_targets(images: Tensor, patch: tuple[int, ...], target: Target, wanted: Tensor | None = None) -> Tensor:
    """The targets of all patches, or of some.

    images: (batch, channels, height, width) or (batch, channels, time, height, width). patch: pixels along every axis.
    wanted: bool (batch, *patch grid). Returns (batch, *patch grid, width), or (wanted patches, width), float32.
    """
    images = images.float()
    if target == "hog":
        cells = histograms(images, patch)
        return cells if wanted is None else cells[wanted]
    patches = pixel_patches(images, patch, wanted)
    return normalise_patches(patches)[0] if target == "normalised_pixels" else patches


def pixel_patches(images: Tensor, patch: tuple[int, ...], wanted: Tensor | None = None) -> Tensor:
    """The pixels of every patch, in the order in which the official Hiera predicts them.

    images: (batch, channels, *sizes), the sizes divisible by `patch`. An image's patch is laid out channel by channel
    (channels, rows, columns); of a clip, whose first frame of every `patch[0]` is taken, pixel by pixel (rows,
    columns, channels). The authors note that difference as a slip, and released decoders depend on it.
    wanted: bool (batch, *patch grid). Returns (batch, *patch grid, pixels), or (wanted patches, pixels).
    """
    high, wide = patch[-2:]
    if images.ndim == 4:
        patches = images.unfold(2, high, high).unfold(3, wide, wide).permute(0, 2, 3, 1, 4, 5)
    else:
        frames = images[:, :, :: patch[0]]
        patches = frames.unfold(3, high, high).unfold(4, wide, wide).permute(0, 2, 3, 4, 5, 6, 1)
    return patches.flatten(-3) if wanted is None else patches[wanted].flatten(1)


def patches_to_images(patches: Tensor, patch: tuple[int, ...], channels: int) -> Tensor:
    """Lays patches of pixels back into images: the inverse of `pixel_patches`, of a clip for its predicted frames.

    patches: (batch, *patch grid, pixels). Returns (batch, channels, *sizes).
    """
    high, wide = patch[-2:]
    if patches.ndim == 4:
        cut = patches.unflatten(-1, (channels, high, wide)).permute(0, 3, 1, 4, 2, 5)
        return cut.flatten(4, 5).flatten(2, 3)
    cut = patches.unflatten(-1, (high, wide, channels)).permute(0, 6, 1, 2, 4, 3, 5)
    return cut.flatten(5, 6).flatten(3, 4)


def normalise_patches(patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Patches (..., pixels) with mean 0 and variance 1 each, and their means and standard deviations (..., 1).

    The variance is the unbiased one, plus 1e-6 (masked autoencoders, arXiv 2111.06377; the official Hiera).
    """
    mean = patches.mean(-1, keepdim=True)
    standard_deviation = (patches.var(-1, keepdim=True) + 1e-6).sqrt()
    return (patches - mean) / standard_deviation, mean, standard_deviation


def histograms(images: Tensor, patch: tuple[int, ...]) -> Tensor:
    """Histograms of oriented gradients of every patch (MaskFeat, arXiv 2112.09133, section 3.3).

    Of each channel the gradients are taken ([1, 2, 1] by [1, 0, -1], the border reflected), their lengths collected in
    nine unsigned directions over cells of half a patch, and each cell's nine scaled to length one.
    images: (batch, channels, *sizes). Returns (batch, *patch grid, channels * 9 * 4), float32.
    """
    if images.ndim == 5:
        frames = images[:, :, :: patch[0]]
        cells = histograms(frames.transpose(1, 2).flatten(0, 1), patch[1:])
        return cells.unflatten(0, (images.shape[0], frames.shape[2]))
    channels = images.shape[1]
    smooth, slope = torch.tensor([1.0, 2.0, 1.0]), torch.tensor([1.0, 0.0, -1.0])
    kernel = torch.outer(smooth, slope).to(images).expand(channels, 1, 3, 3)
    padded = F.pad(images.float(), (1, 1, 1, 1), mode="reflect")
    across = F.conv2d(padded, kernel, groups=channels)
    down = F.conv2d(padded, kernel.transpose(2, 3), groups=channels)
    length = torch.hypot(across, down)
    direction = (torch.atan2(across, down) / math.pi * _BINS).floor().long() % _BINS
    spread = torch.zeros(*length.shape[:2], _BINS, *length.shape[2:], device=images.device)
    spread.scatter_add_(2, direction.unsqueeze(2), length.unsqueeze(2))
    high, wide = patch[0] // _CELLS, patch[1] // _CELLS
    cells = spread.unfold(3, high, high).unfold(4, wide, wide).sum((-1, -2))
    cells = F.normalize(cells, dim=2)
    # (batch, channels, bins, rows of cells, columns of cells) -> patches of two by two cells
    return cells.unfold(3, _CELLS, _CELLS).unfold(4, _CELLS, _CELLS).permute(0, 3, 4, 1, 2, 5, 6).flatten(3)
