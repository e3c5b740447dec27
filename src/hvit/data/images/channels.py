"""Images of any number of channels, with the few operations that preprocessing uses of a picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from hvit.errors import UserError

MOST_CHANNELS = 1_024
_COLOURS = ("red", "green", "blue")


class ChannelImage(Image.Image):
    """An image of several channels of 8 bits, none of which is a colour: one picture of grey for each.

    It is resized, cropped and turned like a picture of Pillow, and `numpy.asarray` gives (height, width, channels).
    Converted to "RGB" it is a picture for people, of the channels in `pictured`. mode: "C" and the number of channels.
    """

    def __init__(self, channels: Sequence[Image.Image], pictured: tuple[int, int, int] | None = None) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.pictured = pictured_channels(len(self.channels)) if pictured is None else pictured
        self._mode, self._size = mode_of(len(self.channels)), self.channels[0].size

    @classmethod
    def of_array(cls, pixels: np.ndarray) -> ChannelImage:
        """An image of (height, width, channels) uint8."""
        return cls([Image.fromarray(np.ascontiguousarray(pixels[..., place])) for place in range(pixels.shape[2])])

    def _each(self, made: Sequence[Image.Image]) -> ChannelImage:
        return ChannelImage(made, self.pictured)

    def resize(self, size, resample=None, box=None, reducing_gap=None) -> ChannelImage:
        """Every channel in another size, as Pillow does it."""
        return self._each([one.resize(size, resample, box, reducing_gap) for one in self.channels])

    def crop(self, box=None) -> ChannelImage:
        """A part of every channel; black where it is outside."""
        return self._each([one.crop(box) for one in self.channels])

    def transpose(self, method) -> ChannelImage:
        """Every channel turned or mirrored."""
        return self._each([one.transpose(method) for one in self.channels])

    def copy(self) -> ChannelImage:
        """The same image in memory of its own."""
        return self._each([one.copy() for one in self.channels])

    def pictured_as(self, pictured: tuple[int, int, int]) -> ChannelImage:
        """The same image, of which other channels are shown to people."""
        return ChannelImage(self.channels, pictured)

    def convert(self, mode: str | None = None, *_: object, **__: object) -> Image.Image:  # pyright: ignore
        """Itself in its own mode; in any other one, a picture of the channels in `pictured`."""
        if mode in (None, self.mode):
            return self
        picture = Image.merge("RGB", [self.channels[place] for place in self.pictured])
        return picture if mode == "RGB" else picture.convert(mode)

    def save(self, fp, format=None, **params) -> None:
        """Writes a picture of the channels in `pictured`."""
        self.convert("RGB").save(fp, format, **params)

    def tobytes(self, encoder_name: str = "raw", *args: object) -> bytes:
        """All values, a channel after the other."""
        return b"".join(one.tobytes() for one in self.channels)

    def load(self) -> None:
        """Nothing: the channels are in memory."""

    def getbands(self) -> tuple[str, ...]:
        """The channels by their numbers."""
        return tuple(map(str, range(len(self.channels))))

    @property
    def __array_interface__(self) -> dict[str, str | bytes | int | tuple[int, ...]]:
        pixels = np.stack([np.asarray(one) for one in self.channels], axis=2)
        return {"shape": pixels.shape, "typestr": "|u1", "version": 3, "data": pixels.tobytes()}


def mode_of(channels: int) -> str:
    """The mode of images of so many channels: "L" for grey, "RGB" for colours, else "C" and the number."""
    return {1: "L", 3: "RGB"}.get(channels, f"C{channels}")


def checked_names(names: tuple[str, ...], channels: int) -> tuple[str, ...] | None:
    """Names of channels, None where there are none. Raises UserError for another number of them, or one twice."""
    if names and (len(names) != channels or len(set(names)) != channels):
        raise UserError(
            f"--data.channels names each of the {channels} channels that the model takes (--model.in-channels) once; "
            f"got {', '.join(names)}"
        )
    return names or None


def pictured_channels(channels: int, names: Sequence[str] | None = None) -> tuple[int, int, int]:
    """The channels that a picture for people shows as red, green and blue.

    names: those of the channels. The ones named red, green and blue, or the first three; of fewer, the first as grey.
    """
    known = [name.lower() for name in names or ()]
    if all(colour in known for colour in _COLOURS):
        red, green, blue = (known.index(colour) for colour in _COLOURS)
        return red, green, blue
    return (0, 1, 2) if channels >= 3 else (0, 0, 0)
