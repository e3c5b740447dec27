"""Opens any of the data sets, of images or of clips."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hvit.data.clips.collections import open_clips
from hvit.data.clips.moving_digits import MovingDigitsData, open_moving_digits
from hvit.data.clips.packaged import PACKAGED
from hvit.data.clips.settings import ClipData
from hvit.data.folds import names_file
from hvit.data.images.cifar import CifarData, open_cifar
from hvit.data.images.digits import DigitsData, open_digits
from hvit.data.images.fashion import FashionData, open_fashion
from hvit.data.images.folders import FolderData, open_folder
from hvit.data.images.listing import list_images
from hvit.data.images.reading import read_image
from hvit.data.sets import ImageSet, Progress, Splits, Target, no_progress
from hvit.data.shards.open import open_shard_data
from hvit.data.shards.places import with_full_path
from hvit.data.tables.open import IN_PYTHON, is_no_path
from hvit.data.tables.read import Table
from hvit.errors import UserError
from hvit.files import absolute_path, as_path

__all__ = [
    "PLACES",
    "CifarData",
    "ClipData",
    "DataConfig",
    "DigitsData",
    "FashionData",
    "FolderData",
    "ImageSet",
    "MovingDigitsData",
    "Progress",
    "Splits",
    "Target",
    "list_images",
    "moved",
    "open_data",
    "places_of",
    "read_image",
    "with_full_paths",
]

DataConfig = DigitsData | CifarData | FashionData | FolderData | ClipData | MovingDigitsData
"""The data of a run; `kind` distinguishes them."""
PLACES = ("table", "train_list", "held_out_list", "class_names", "train_frames", "held_out_frames", "index", "group")
"""Fields that name a file or folder besides the root; what they hold is part of the data's identity."""


def moved(data: DataConfig, root: str | None) -> DataConfig:
    """The same data in another place, or where it was for None; lists and tables that lie there have moved with it.

    Raises UserError for embedded data.
    """
    if root is None:
        return data
    if isinstance(data, (DigitsData, MovingDigitsData)):
        raise UserError(f"the digits are embedded, so --root {root} has no meaning for them: omit it")
    if isinstance(data, ClipData) and data.table == IN_PYTHON:
        return ClipData(root=root, grey_range=data.grey_range, page=data.page)
    if isinstance(data, FolderData) and data.table == IN_PYTHON:
        return FolderData(root=root, grey_range=data.grey_range, page=data.page)
    if isinstance(data, FolderData) and data.shards:
        if data.held_out_shards:
            raise UserError(
                f"--root {root} is one place, and this data has two, shards and held_out_shards: change both in the "
                "run's recipe.json, which is no other run"
            )
        return replace(data, shards=root)
    before = data.root or next((value for value in places_of(data).values()), "")
    return replace(data, root=root, **_moved_with(data, Path(before) if data.root else Path(before).parent, root))


def _moved_with(data: DataConfig, before: Path, root: str) -> dict[str, str]:
    """Where files of the data are now that lay in its folder, of those that are there."""
    inside = {name: Path(value) for name, value in places_of(data).items() if Path(value).is_relative_to(before)}
    now = {name: as_path(root) / path.relative_to(before) for name, path in inside.items()}
    return {name: str(path) for name, path in now.items() if path.exists()}


def places_of(data: DataConfig) -> dict[str, str]:
    """The fields of `PLACES` that name a file or folder of the user's, with its path."""
    given = {name: value for name in PLACES if (value := getattr(data, name, ""))}
    return {
        name: value
        for name, value in given.items()
        if not is_no_path(value) and not value.startswith(PACKAGED) and (name != "group" or names_file(value))
    }


def with_full_paths(data: DataConfig) -> DataConfig:
    """The same data with paths that hold wherever a run is resumed from."""
    given = places_of(data)
    if root := getattr(data, "root", ""):
        given["root"] = root
    if getattr(data, "cache", "none") not in ("", "none"):
        given["cache"] = data.cache  # pyright: ignore[reportAttributeAccessIssue]
    named = {name: getattr(data, name, "") for name in ("shards", "held_out_shards")}
    places = {name: with_full_path(value) for name, value in named.items() if value}
    if shard_cache := getattr(data, "shard_cache", ""):
        given["shard_cache"] = shard_cache
    return replace(data, **places, **{name: str(absolute_path(value)) for name, value in given.items()})


def open_data(
    config: DataConfig,
    seed: int,
    in_channels: int = 3,
    num_frames: int | None = None,
    *,
    progress: Progress = no_progress,
    remember: bool = True,
    table: Table | None = None,
) -> Splits:
    """Opens a data set: training and held-out part, the names of the classes, and what to know about it.

    seed: the run's seed; it decides which training subset is used and what made-up training images show.
    in_channels: 3 for colour, 1 for grey, any number for a folder of images. num_frames: how many frames of a clip the
    model sees, None for a model of images. progress: called while files are listed and checked. remember: whether what
    is found out about clips may be written to their index, which makes opening them the next time faster; with False
    nothing is written. table: the samples of images that Python holds, for data that says so.
    Raises UserError if the data is missing, damaged or laid out in an unknown way, or not what the model takes.
    """
    if in_channels not in (1, 3) and not isinstance(config, FolderData):
        raise UserError(
            f"the data ({config.kind}) have 3 channels (colour) or 1 (grey), so in_channels cannot be {in_channels}; "
            f"images of other channels are read from a folder (--data.root)."
        )
    if isinstance(config, (ClipData, MovingDigitsData)):
        if num_frames is None:
            raise UserError(
                f"the data ({config.kind}) are clips, and the model takes images: choose a model whose input_size is "
                "frames, height and width."
            )
        if isinstance(config, ClipData):
            return open_clips(config, seed, in_channels, num_frames, progress, remember, table)
        return open_moving_digits(config, seed, in_channels, num_frames)
    if num_frames is not None:
        raise UserError(f"the model takes clips of {num_frames} frames, and the data ({config.kind}) are images.")
    if isinstance(config, DigitsData):
        return open_digits(config, seed, in_channels)
    if isinstance(config, CifarData):
        return open_cifar(config, seed, in_channels)
    if isinstance(config, FashionData):
        return open_fashion(config, seed, in_channels)
    if config.shards:
        return open_shard_data(config, seed, in_channels, progress)
    return open_folder(config, seed, in_channels, progress, table, remember)
