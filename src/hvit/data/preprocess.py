"""From a picture or a clip of any size to what the model sees, the same way every time."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from PIL import Image

from hvit.data.grey import GreyRange, check_page, checked_range
from hvit.data.images.channels import MOST_CHANNELS, ChannelImage, checked_names, mode_of, pictured_channels
from hvit.data.sampling import Sampling, crop_corner
from hvit.errors import UserError
from hvit.fields import check_fields

if TYPE_CHECKING:  # torch is imported where it is used: exported models run where it is not installed
    from torch import Tensor

    from hvit.data.sets import Sample

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
LONGEST_STRIP = 4
"""Pictures longer than so many times their width are cropped to it, around their centre, before they are enlarged."""
_LONGEST_RESIZED = 8192  # pixels of a side before the centre is cut out, as weights files may state it
_FARTHEST = 1e4  # of means and standard deviations from 1

Made = TypeVar("Made")


@dataclass(frozen=True)
class Preprocess:
    """How a picture or a clip of any size becomes the model's input, the same way every time.

    Travels with the weights. Lists, as JSON has them, become tuples.
    """

    input_size: tuple[int, ...]
    """Height and width of the model's input in pixels; for clips the number of frames comes first."""
    mean: tuple[float, ...]
    """What is subtracted from each channel, on the 0 to 1 scale."""
    std: tuple[float, ...]
    """What each channel is divided by afterwards."""
    crop: float = 0.875
    """Share of the resized picture's shorter side that the centre crop keeps; 1 keeps all of it."""
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"
    """How pixels are interpolated when the picture is resized."""
    sampling: Sampling | None = None
    """How frames are chosen from a clip; none for images."""
    grey_range: GreyRange = "full"
    """Which values of files with more than 8 bits a channel are black and white; full where weights do not say."""
    page: int | None = None
    """Which page of files with several is read, from 1; none for the first frame of animations only."""
    channels: tuple[str, ...] | None = None
    """Names of the channels, of images that are not grey or colour; none where nobody has named them."""

    def __post_init__(self) -> None:
        if isinstance(self.sampling, dict):
            object.__setattr__(self, "sampling", _made(Sampling, self.sampling))
        object.__setattr__(self, "grey_range", checked_range(self.grey_range))
        check_fields(self)
        check_page(self.page)
        if len(self.input_size) not in (2, 3) or min(self.input_size) < 1:
            raise UserError(
                f"input_size must be a height and a width in pixels, with the number of frames before them for clips, "
                f"not {self.input_size}."
            )
        if not 1 <= len(self.mean) <= MOST_CHANNELS or len(self.mean) != len(self.std):
            raise UserError(f"mean and std need one number for each channel, not {self.mean} and {self.std}.")
        if self.channels is not None:
            checked_names(self.channels, len(self.mean))
        if min(self.std) <= 0:
            raise UserError(f"std must be above 0, not {self.std}.")
        if not 0 < self.crop <= 1:
            raise UserError(f"crop must be above 0 and at most 1, not {self.crop}.")

    @property
    def mode(self) -> str:
        """The kind of picture the model sees: "RGB", "L", or of other channels "C" and their number."""
        return mode_of(len(self.mean))

    @property
    def takes_clips(self) -> bool:
        """Whether the model sees clips, not pictures."""
        return len(self.input_size) == 3

    @property
    def clip_sampling(self) -> Sampling:
        """How frames are chosen from a clip; the published 16 frames by 4 where the weights do not say."""
        return self.sampling or Sampling(self.input_size[0])

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of what the model sees, in pixels."""
        return self.input_size[-2], self.input_size[-1]

    def shown(self, image: Image.Image, size: tuple[int, int] | None = None) -> Image.Image:
        """The picture as the model sees it: resized so that it covers the input, and its centre cut out.

        The shorter side becomes round(input / crop), as torchvision's Resize and CenterCrop do. size: width and height
        of a picture that was decoded smaller than it is.
        """
        image = _without_the_ends(self.picture_in_mode(image))
        full_width, full_height = size or image.size
        height, width = self.covering_size(full_height, full_width, self.crop)
        if image.size != (width, height):
            image = image.resize((width, height), INTERPOLATIONS[self.interpolation])
        if (height, width) == self.input_size:
            return image
        left, top = round((width - self.input_size[1]) / 2), round((height - self.input_size[0]) / 2)
        return image.crop((left, top, left + self.input_size[1], top + self.input_size[0]))

    def shown_clips(self, clip: np.ndarray, spatial_views: int = 1, by_torch: bool = True) -> list[np.ndarray]:
        """The clip as the model sees it, in each of its spatial views: (frames, height, width, channels) uint8.

        clip: (frames, any height, any width, 1 or 3) uint8. spatial_views: 1 for the centre, the shorter side being
        round(input / crop) before it is cut out; 3 for both ends and the middle of the longer side, the shorter one
        being just covered (SlowFast's test crops). by_torch: as of `resize_clip`.
        """
        clip = self.clip_in_mode(clip)
        clip = clip[_middle(clip.shape[1], clip.shape[2])]
        height, width = self.covering_size(clip.shape[1], clip.shape[2], self.crop if spatial_views == 1 else 1.0)
        clip = resize_clip(clip, height, width, self.interpolation, by_torch)
        corners = [crop_corner(height, width, *self.frame_size, view, spatial_views) for view in range(spatial_views)]
        return [clip[:, top : top + self.frame_size[0], left : left + self.frame_size[1]] for top, left in corners]

    def tensor(self, sample: Sample) -> Tensor:
        """The model's input: (channels, height, width) or (channels, frames, height, width) float32, normalised."""
        return self.tensors(sample, 1)[0]

    def tensors(self, sample: Sample, spatial_views: int) -> list[Tensor]:
        """The model's input for each spatial view of a picture, which has one, or of a clip."""
        if isinstance(sample, np.ndarray):
            return [self.normalised_clip(clip) for clip in self.shown_clips(sample, spatial_views)]
        return [self.normalised(self.shown(sample))]

    def normalised(self, image: Image.Image) -> Tensor:
        """A picture that already has the input's size: (channels, height, width) float32, normalised."""
        import torch

        return torch.from_numpy(self.array(image))

    def array(self, image: Image.Image) -> np.ndarray:
        """As `normalised`, without torch."""
        return self.normalised_array(np.asarray(image))

    def normalised_array(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels of the input's size (*input_size, channels) uint8 as (channels, *input_size) float32, normalised."""
        scale, shift = self._scale_and_shift
        pixels = pixels.reshape(*self.input_size, len(self.mean)) * scale + shift
        return np.ascontiguousarray(np.moveaxis(pixels, -1, 0))

    def normalised_batch(self, images: Tensor) -> Tensor:
        """Pictures of the input's size, (batch, channels, height, width) uint8, as float32, normalised."""
        import torch

        scale, shift = (torch.from_numpy(numbers).to(images.device).view(-1, 1, 1) for numbers in self._scale_and_shift)
        return images.float().mul_(scale).add_(shift)

    def unit_images(self, images: Tensor) -> Tensor:
        """Normalised pictures (batch, channels, height, width) as they were: from 0 to 1."""
        mean, std = (images.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return images * std + mean

    def pictures_of(self, images: Tensor) -> Tensor:
        """Normalised pictures (batch, channels, height, width) for people: (batch, height, width, 1 or 3), 0 to 1.

        Of channels that are no colours, those that a picture shows (see `pictured_channels`).
        """
        pictures = self.unit_images(images).clamp(0, 1)
        if len(self.mean) not in (1, 3):
            pictures = pictures[:, list(pictured_channels(len(self.mean), self.channels))]
        return pictures.permute(0, 2, 3, 1)

    def bytes_of(self, sample: Sample) -> np.ndarray:
        """A picture as the model sees it, before it is normalised: (channels, height, width) uint8."""
        if isinstance(sample, np.ndarray):
            raise UserError("augment.on_device is for images, and these are clips: omit it.")
        return np.asarray(self.shown(sample)).reshape(*self.input_size, -1).transpose(2, 0, 1)

    def takes_as_they_are(self, height: int, width: int) -> bool:
        """Whether pictures so high and wide are shown to the model without resizing or cutting."""
        return (height, width) == self.input_size == self.covering_size(height, width, self.crop)

    def normalised_clip(self, clip: np.ndarray) -> Tensor:
        """A clip that already has the input's size: (channels, frames, height, width) float32, normalised."""
        import torch

        scale, shift = (torch.from_numpy(numbers).view(-1, 1, 1, 1) for numbers in self._scale_and_shift)
        pixels = _as_tensor(clip).permute(3, 0, 1, 2)
        return pixels.contiguous().float().mul_(scale).add_(shift)

    def picture_in_mode(self, image: Image.Image) -> Image.Image:
        """The picture in colour or grey, as the model sees it. Raises UserError if the model takes clips."""
        if self.takes_clips:
            raise UserError(f"the model takes clips of {self.input_size} frames, rows and columns; these are images")
        if image.mode == self.mode:
            if isinstance(image, ChannelImage) and self.channels:
                return image.pictured_as(pictured_channels(len(self.mean), self.channels))
            return image
        if len(self.mean) not in (1, 3):
            raise UserError(f"the model takes {len(self.mean)} channels, and this image is {image.mode}")
        return image.convert(self.mode)

    def clip_in_mode(self, clip: np.ndarray) -> np.ndarray:
        """The clip in colour or grey, as the model sees it. Raises UserError if the model takes others, or pictures."""
        if not self.takes_clips or len(clip) != self.input_size[0]:
            kind = f"clips of {self.input_size[0]} frames" if self.takes_clips else "images"
            raise UserError(f"the model takes {kind}, and this is a clip of {len(clip)} frames.")
        if clip.shape[3] == len(self.mean):
            return clip
        if clip.shape[3] == 1:
            return clip.repeat(3, axis=3)
        # As Pillow makes colour grey, in parts of 2^16.
        grey = clip.astype(np.uint32) @ np.array([19595, 38470, 7471], np.uint32) + 0x8000
        return (grey >> 16).astype(np.uint8)[..., None]

    def covering_size(self, height: int, width: int, crop: float) -> tuple[int, int]:
        """Height and width of a picture that is resized to cover the input and what is cut off around it."""
        covered_height, covered_width = (round(side / crop) for side in self.frame_size)
        if width / covered_width < height / covered_height:
            return max(covered_height, int(covered_width * height / width)), covered_width
        return covered_height, max(covered_width, int(covered_height * width / height))

    @cached_property
    def _scale_and_shift(self) -> tuple[np.ndarray, np.ndarray]:
        """What takes grey levels from 0 to 255 to normalised values, one number a channel."""
        mean, std = np.array(self.mean), np.array(self.std)
        return (1 / (255 * std)).astype(np.float32), (-mean / std).astype(np.float32)


def stored_preprocess(values: dict[str, object], input_size: tuple[int, ...], where: str) -> Preprocess:
    """The preparation of images that a weights file states.

    input_size: that of the file's model. where: the file, as the message calls it. Raises UserError for unknown fields,
    values of another type, another input size than the model's, and pictures enlarged beyond any use.
    """
    try:
        preprocess = _made(Preprocess, values)
        if preprocess.input_size != tuple(input_size):
            raise UserError(f"input_size is {preprocess.input_size}, but the model takes {tuple(input_size)}")
        if preprocess.sampling is not None and preprocess.sampling.num_frames != preprocess.input_size[0]:
            raise UserError(f"it samples {preprocess.sampling.num_frames} frames for inputs of {preprocess.input_size}")
        if max(preprocess.frame_size) / preprocess.crop > _LONGEST_RESIZED:
            raise UserError(f"crop {preprocess.crop} has pictures enlarged to more than {_LONGEST_RESIZED} pixels")
        if max(map(abs, preprocess.mean)) > _FARTHEST or not all(
            1 / _FARTHEST < std < _FARTHEST for std in preprocess.std
        ):
            raise UserError(f"mean {preprocess.mean} and std {preprocess.std} are no statistics of pictures")
    except UserError as error:
        raise UserError(f"{where} is damaged, its preprocess is not valid: {str(error)[:400]}") from error
    return preprocess


def _made(kind: type[Made], values: dict[str, object]) -> Made:
    """A dataclass of values by name. Raises UserError for names that it does not have."""
    known = [field.name for field in fields(kind)]  # pyright: ignore[reportArgumentType]
    unknown = [name for name in values if name not in known]
    if unknown:
        raise UserError(f"there is no field {unknown[0][:60]!a}; the fields are {', '.join(known)}")
    try:
        return kind(**values)
    except TypeError as error:
        raise UserError(f"not all fields are there; they are {', '.join(known)}") from error


def resize_clip(clip: np.ndarray, height: int, width: int, interpolation: str, by_torch: bool = True) -> np.ndarray:
    """All frames in another size, antialiased when they shrink: (frames, height, width, channels) uint8.

    The pixels are Pillow's, which bilinear ones keep to within a grey level: torch makes them in a third of the time.
    by_torch: whether it does; False where torch may be missing.
    """
    if clip.shape[1:3] == (height, width):
        return clip
    if interpolation == "bilinear" and by_torch:
        import torch.nn.functional as F

        frames = _as_tensor(clip).permute(0, 3, 1, 2)
        resized = F.interpolate(frames, size=(height, width), mode="bilinear", antialias=True)
        return resized.permute(0, 2, 3, 1).numpy()
    pictures = (Image.fromarray(frame.squeeze(2) if frame.shape[2] == 1 else frame) for frame in clip)
    resized = [np.asarray(picture.resize((width, height), INTERPOLATIONS[interpolation])) for picture in pictures]
    return np.stack(resized).reshape(len(clip), height, width, -1)


def _as_tensor(clip: np.ndarray) -> Tensor:
    import torch

    # torch warns of arrays that may not be written, as parts of files and pictures are.
    return torch.from_numpy(np.require(clip, requirements=["C", "W"]))


def _without_the_ends(image: Image.Image) -> Image.Image:
    """Cuts the ends off very long pictures, which the centre crop would drop after enlarging them to gigantic size."""
    _, rows, columns = _middle(image.height, image.width)
    if (rows.stop - rows.start, columns.stop - columns.start) == (image.height, image.width):
        return image
    return image.crop((columns.start, rows.start, columns.stop, rows.stop))


def _middle(height: int, width: int) -> tuple[slice, slice, slice]:
    """All frames, and the rows and columns in the middle that make up no strip longer than the longest."""
    longest = LONGEST_STRIP * min(height, width)
    sides = [(max(0, (side - longest) // 2), min(side, longest)) for side in (height, width)]
    (top, rows), (left, columns) = sides
    return slice(None), slice(top, top + rows), slice(left, left + columns)
