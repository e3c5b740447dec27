"""The front door of the data room: reading pictures, and opening any of the data sets."""

from __future__ import annotations

from hvit.data.cifar import CifarData, open_cifar
from hvit.data.digits import DigitsData, open_digits
from hvit.data.folders import FolderData, open_folder
from hvit.data.reading import list_images, read_image
from hvit.data.sets import ImageSet, Splits, Target
from hvit.errors import UserError

__all__ = [
    "CifarData",
    "DataConfig",
    "DigitsData",
    "FolderData",
    "ImageSet",
    "Splits",
    "Target",
    "list_images",
    "open_data",
    "read_image",
]

DataConfig = DigitsData | CifarData | FolderData
"""Which data a run learns from; `kind` tells them apart."""


def open_data(config: DataConfig, seed: int, in_channels: int = 3) -> Splits:
    """Opens a data set: what to learn from, what is held out, the names of the classes, and what to know about it.

    seed: the run's seed; it decides which training subset is used and what made-up training images show.
    in_channels: 3 for colour, 1 for grey.
    Raises UserError if the data is missing, damaged or laid out in an unknown way.
    """
    if in_channels not in (1, 3):
        raise UserError(f"pictures have 3 channels (colour) or 1 (grey), so in_channels cannot be {in_channels}.")
    if isinstance(config, DigitsData):
        return open_digits(config, seed, in_channels)
    if isinstance(config, CifarData):
        return open_cifar(config, seed, in_channels)
    return open_folder(config, seed, in_channels)
