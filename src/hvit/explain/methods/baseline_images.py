"""What stands in an image's place where blocks of it are removed: blur, a plain colour, zeros, or a given image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from hvit.errors import UserError

BaselineName = Literal["blur", "mean", "zeros"]


@dataclass(frozen=True, eq=False)
class NamedImage:
    """An image as a baseline, with what it is called in sentences."""

    image: Tensor
    """As a baseline of your own (see `baseline_images`)."""
    name: str


Baseline = BaselineName | Tensor | NamedImage

_BLUR = 8  # the blur's standard deviation: a side of the image divided by this


def baseline_images(images: Tensor, baseline: Baseline) -> Tensor:
    """The baseline of every image, in the shape of images (batch, channels, [time,] height, width).

    baseline: "blur", the image blurred by a Gaussian whose standard deviation is an eighth of each side; "mean", the
    mean colour of each image; "zeros", zero after normalisation, which is the mean colour of the training data for most
    models; or an image of your own, normalised as the model expects, such as the mean over a data set: (channels,
    [time,] height, width), one for each image, or (channels,) for a plain colour; `mean_image` makes such a mean.
    Raises UserError for any other name or shape, and for a baseline with values that are not finite.
    """
    if isinstance(baseline, NamedImage):
        baseline = baseline.image
    if isinstance(baseline, Tensor):
        return _own(images, baseline)
    if baseline == "zeros":
        return torch.zeros_like(images)
    if baseline == "mean":
        return images.mean(tuple(range(2, images.ndim)), keepdim=True).expand_as(images)
    if baseline == "blur":
        return _blurred(images)
    raise UserError(f"baseline must be one of {', '.join(get_args(BaselineName))}, or a tensor; got {baseline!r:.80}")


def name_of(baseline: Baseline) -> str:
    """How a baseline is called in sentences."""
    if isinstance(baseline, NamedImage):
        return baseline.name
    return "an image of your own" if isinstance(baseline, Tensor) else NAMES[baseline]


NAMES: dict[str, str] = {"blur": "the blurred image", "mean": "the image's mean colour", "zeros": "a plain colour"}
"""The baselines in words."""


def mean_image(images: Iterable[Tensor], name: str = "the mean image of the data") -> NamedImage:
    """The mean of a data set's images, as a baseline.

    images: each (channels, [time,] height, width), normalised as the model expects. name: what it is called in
    sentences. Raises UserError for none, and for images of different shapes.
    """
    total, count = torch.zeros(()), 0
    for image in images:
        if count and image.shape != total.shape:
            raise UserError(f"images of a mean must have one shape; got {tuple(total.shape)} and {tuple(image.shape)}")
        total, count = total + image.double(), count + 1
    if not count:
        raise UserError("there is no mean of no images")
    return NamedImage((total / count).float(), name)


def _own(images: Tensor, baseline: Tensor) -> Tensor:
    if not baseline.is_floating_point() or not torch.isfinite(baseline).all():
        raise UserError("a baseline of your own must hold finite floating-point numbers, normalised as the images")
    given = baseline.to(images.device, images.dtype)
    if given.ndim == 1:
        given = given.reshape(-1, *(1,) * (images.ndim - 2))
    shape = tuple(given.shape)
    if shape not in (tuple(images.shape), tuple(images.shape[1:])) and shape[0] != images.shape[1]:
        shape = ()
    try:
        if not shape:
            raise RuntimeError
        return given.expand_as(images)
    except RuntimeError:
        axes = "channels, height, width" if images.ndim == 4 else "channels, time, height, width"
        raise UserError(
            f"a baseline of your own must be ({axes}), one for each image, or (channels,); got shape "
            f"{tuple(baseline.shape)} for images of shape {tuple(images.shape)}"
        ) from None


def _blurred(images: Tensor) -> Tensor:
    """Images blurred along height and width; what lies outside is the nearest pixel."""
    flat = images.reshape(-1, 1, *images.shape[-2:])
    for axis, side in ((2, images.shape[-2]), (3, images.shape[-1])):
        sigma = side / _BLUR
        reach = max(round(2 * sigma), 1)
        weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=flat.device) / sigma) ** 2)
        kernel = (weights / weights.sum()).to(flat.dtype)
        padding = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        padded = F.pad(flat, padding, mode="replicate")
        flat = F.conv2d(padded, kernel.view(1, 1, -1, 1) if axis == 2 else kernel.view(1, 1, 1, -1))
    return flat.view_as(images)
