"""Any folder of images with one sub-folder per class, checked before training instead of failing in its middle."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import __version__ as pillow

from hvit.data.folds import check_folds, held_out_fold
from hvit.data.grey import GreyRange
from hvit.data.images.background import checked_later
from hvit.data.images.channels import checked_names
from hvit.data.images.decoded import DecodedImages, Kept
from hvit.data.images.folder_index import list_by_index
from hvit.data.images.folder_listing import Classes, Listing, list_folder
from hvit.data.images.folder_sets import FolderSet, RowSet
from hvit.data.images.held import HeldImage
from hvit.data.images.listing import is_image_or_array_name, show
from hvit.data.images.paths import PathList
from hvit.data.layout import TEST_NAME, alone_notes, counted, ignored_notes, some
from hvit.data.regular_files import is_folder
from hvit.data.sets import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Progress,
    Splits,
    check_own_data,
    choose_subset,
    no_progress,
    statistics_for,
    subset_notes,
)
from hvit.data.shards.settings import ShardOptions, check_shard_options
from hvit.data.shared_content import shared_content_notes
from hvit.data.survey import Source, Survey, evenly_spaced
from hvit.data.tables.open import split_samples, table_at, with_balance
from hvit.data.tables.read import Table
from hvit.data.tables.samples import Samples, list_samples
from hvit.data.tables.settings import LabelOptions, check_label_options
from hvit.errors import UserError
from hvit.files import as_path
from hvit.labels import LabelSpec

MOST_DECODED = 20_000
"""With check "auto": up to so many images are decoded in full before training, beyond it only their headers are."""
LOOKED_AT = 1_000
"""With check "sample": so many headers are looked at before training, evenly spaced."""


@dataclass(frozen=True)
class FolderData(ShardOptions, LabelOptions):
    """Your own images: a folder with one sub-folder per class, with train and val folders of these, or a table."""

    kind: Literal["folder"] = "folder"
    """Which data set: a folder of images."""
    root: str = ""
    """The folder: DIR/train/CLASS/… with DIR/val/CLASS/… (or validation, valid, test), or DIR/CLASS/… to be split."""
    val_fraction: float = 0.2
    """Share of each class that is held out when the folder has no val folder."""
    split_seed: int = 0
    """Another number holds out other images. Apart from the run's seed, so that runs stay comparable."""
    check: Literal["auto", "decode", "header", "sample", "none"] = "auto"
    """How images are checked before training: decoded in full, by their headers, by the headers of 1,000 of them, or
    not at all; auto decodes up to 20,000 and looks at headers beyond, with an index at those of 1,000."""
    index: str = ""
    """A Parquet file that lists the folder, for millions of images: written when it is missing or a folder has changed,
    and read instead of listing the folder (needs pyarrow); default: the folder is listed each time."""
    unreadable: Literal["skip", "stop"] = "skip"
    """What to do about images that the check finds unreadable: name and skip them, or name them and stop."""
    labels: Literal["folders", "none", "auto"] = "folders"
    """Where classes come from: the sub-folder an image is in; none (then all images anywhere in the folder are one
    unlabelled data set, enough for masked pretraining); or auto: the sub-folders where there are such, else none."""
    decode: Literal["full", "reduced"] = "full"
    """How training images are decoded. reduced: JPEG images at a half, a quarter or an eighth of their size where
    that leaves twice the pixels of what is cut out; faster for large photos, and nearly the same pixels."""
    cache: str = ""
    """A folder that keeps decoded training images for this and later runs, so that each is decoded once; default: none.
    It may be shared by runs and processes, and be removed at any time."""
    cache_side: int = 256
    """Pixels of the shorter side to which larger images are shrunk in the cache: crops are the same ones, of these
    pixels."""
    cache_gigabytes: float = 100.0
    """How large the cache may become; what does not fit is decoded each time."""
    grey_range: GreyRange = "auto"
    """Black and white of images with more than 8 bits a channel: auto (from 0 to the largest number of 8, 10, 12, 14 or
    16 bits that holds all values of the data set), full (0 to 65535), percentile (0.1 to 99.9 % of each image's
    values), or two numbers such as 0 4095."""
    page: int | None = None
    """Which page of TIFF files with several, and which frame of animations, is read, from 1; none to take the first
    frame of animations and to refuse such TIFF files."""
    folds: int = 0
    """Parts for cross-validation, stratified by class: each is held out once, in a run of its own; 0: none. The images
    of a val folder are among them, those of a test folder are not."""
    fold: int = 0
    """Which of the folds this run holds out, from 1; 0: all of them, one run after the other."""
    group: str = ""
    """What stays in one fold, such as all images of a patient: a file of lines name,group, or a regular expression that
    finds the group in the path from the data's root; default: nothing."""
    channels: tuple[str, ...] = ()
    """Names of the channels in their order, of images that are not grey or colour (--model.in-channels): pictures show
    those named red, green and blue, or else the first three; default: numbers."""
    num_per_class: int | None = None
    """Number of training images per class; default: all."""
    fraction: float | None = None
    """Share of the training images of each class (0 to 1); default: all."""

    def __post_init__(self) -> None:
        check_own_data(self)
        check_folds(self)
        check_label_options(self)
        check_shard_options(self)
        if self.shards and (other := next((name for name in ("root", "table", "index") if getattr(self, name)), "")):
            raise UserError(
                f"{other} ({getattr(self, other)}) and shards ({self.shards}) both say where the images are: give one "
                "of them"
            )
        if self.shards and self.cache:
            raise UserError(f"cache ({self.cache}) keeps decoded images of files, and shards hold theirs: omit it")
        if self.table and self.index:
            raise UserError("table and index both list the images: give only one")
        if self.cache_side < 16:
            raise UserError(f"cache_side must be 16 or more, not {self.cache_side}")
        if not self.cache_gigabytes > 0:
            raise UserError(f"cache_gigabytes must be above 0, not {self.cache_gigabytes:g}")


def open_folder(
    config: FolderData,
    seed: int,
    in_channels: int,
    progress: Progress = no_progress,
    table: Table | None = None,
    remember: bool = True,
) -> Splits:
    """Lists a folder of images, checks that they can be read, and splits them.

    in_channels: what the model takes; of other numbers than 1 and 3, the channels of each file are read as they are.
    table: the opened table of the samples, instead of that in a file. remember: whether an index may be written.
    Raises UserError, in a sentence that says what to change, if the folder is not laid out in one of the two ways, or
    leaves a class without images.
    """
    if config.table:
        return _open_table(config, seed, in_channels, progress, table, remember)
    progress("listing images", 0, 0)
    if config.index:
        index = as_path(config.index)
        levels = config.label_levels
        listing = list_by_index(config.root, config.labels, config.split_seed, index, remember, levels)
    else:
        listing = list_folder(config.root, config.labels, label_levels=config.label_levels)
    layout, labelled, notes = listing.layout, listing.labelled, listing.notes
    is_indexed = listing.is_indexed
    files = listing.files()
    unreadable, grey_range, check_notes = check_images(files, config, progress, in_channels, is_indexed)
    folders = (layout.train, layout.held_out or layout.train, layout.test or layout.train)
    train_files, held_out_files, test_files = (
        _leave_out(part, unreadable, folder) for part, folder in zip(listing.parts, folders, strict=True)
    )
    base, test_folder = layout.train, layout.test
    if config.folds:
        base = layout.train.parent if layout.held_out else layout.train
        if layout.held_out and layout.held_out.name.lower() == TEST_NAME:
            test_folder, test_files, held_out_files = layout.held_out, held_out_files, {}
        train_files, held_out_files, fold_notes = _fold(train_files, held_out_files, base, config)
        notes += fold_notes
    elif not layout.held_out:
        train_files, held_out_files, split_notes = _split(listing, train_files, unreadable, config)
        notes += (
            f"{show(layout.train)} has no val folder: {config.val_fraction:.0%} of "
            f"{'each class' if labelled else 'the images'} is held out.",
            *split_notes,
        )
    classes = tuple(train_files)
    train, labels = _flatten(train_files)
    chosen = choose_subset(labels, classes, seed, config.num_per_class, config.fraction)
    mean, std = statistics_for(IMAGENET_MEAN, IMAGENET_STD, in_channels)
    folder_set = partial(
        FolderSet, channels=in_channels, grey_range=grey_range, page=config.page, is_indexed=is_indexed
    )
    held_out, held_out_labels = _flatten(held_out_files)
    splits = Splits(
        train=folder_set(
            train.take(chosen), labels[chosen], replaces=True, reduced=config.decode == "reduced",
            folder=base, kept=_kept(config, len(chosen), in_channels, grey_range, remember),
        ),
        held_out=folder_set(
            held_out, held_out_labels, replaces=False,
            folder=base if config.folds else layout.held_out or layout.train,
        ),
        classes=classes,
        mean=mean,
        std=std,
        notes=(
            *notes,
            *ignored_notes(listing.ignored, "images"),
            *check_notes,
            *_cache_notes(config),
            *(() if is_indexed else shared_content_notes(train, held_out)),
        ),
        grey_range=grey_range,
        page=config.page,
        channels=checked_names(config.channels, in_channels),
        test=folder_set(*_flatten(test_files), replaces=False, folder=test_folder) if test_files else None,
        later=_later(files, config, is_indexed),
        spec=LabelSpec("single", classes, levels=listing.levels) if listing.levels else None,
    )  # fmt: skip
    return with_balance(splits, config, "images", subset_notes(len(chosen), len(train)))


def _open_table(
    config: FolderData, seed: int, in_channels: int, progress: Progress, table: Table | None, remember: bool
) -> Splits:
    """The images that a table lists, checked, split and with the labels that it gives them."""
    progress("reading the table", 0, 0)
    table = table or table_at(config.table, is_image_or_array_name)
    samples = list_samples(
        table, config, config.root, is_image_or_array_name, config.unreadable == "skip", config.labels, "images"
    )
    rows = table.rows(samples.image_column)
    if rows is not None and config.cache:
        raise UserError("cache keeps decoded images of files, and this table holds the images themselves: omit it")

    def sources(some_samples: Samples) -> Sequence[Source]:
        if rows is None or some_samples.rows is None:
            return some_samples.files
        return [HeldImage(rows, row) for row in some_samples.rows.tolist()]

    files = sources(samples)
    unreadable, grey_range, check_notes = check_images(files, config, progress, in_channels)
    samples = samples.only(np.array([file not in unreadable for file in files], dtype=bool))
    parts = split_samples(samples, config, seed, "images")
    mean, std = statistics_for(IMAGENET_MEAN, IMAGENET_STD, in_channels)
    if rows is not None and not rows.repeats:
        check_notes += (
            "The images have other pixels each time they are read, so a run cannot be repeated exactly: give images "
            "that are not augmented, since hvit does that (--augment).",
        )
    if rows is None or (rows.repeats and len(rows) <= MOST_DECODED):
        check_notes += shared_content_notes(sources(parts.train), sources(parts.held_out))

    def make_set(some_samples: Samples, trains: bool) -> FolderSet:
        how = partial(
            FolderSet if rows is None else RowSet, labels=some_samples.labels, channels=in_channels, replaces=trains,
            reduced=trains and config.decode == "reduced", grey_range=grey_range, page=config.page,
        )  # fmt: skip
        if rows is None:
            count = len(some_samples.files)
            kept = _kept(config, count, in_channels, grey_range, remember) if trains else None
            return how(files=some_samples.files, folder=samples.folder, kept=kept)
        return how(rows=rows, numbers=some_samples.rows)

    splits = Splits(
        train=make_set(parts.train, True),
        held_out=make_set(parts.held_out, False),
        test=make_set(parts.test, False) if parts.test else None,
        classes=parts.spec.names,
        mean=mean,
        std=std,
        notes=(*samples.notes, *parts.notes, *check_notes, *_cache_notes(config)),
        grey_range=grey_range,
        page=config.page,
        channels=checked_names(config.channels, in_channels),
        spec=parts.spec,
        later=_later(files, config, False),
    )  # fmt: skip
    splits.train.weights = parts.train.weights
    splits.held_out.groups = None if parts.held_out.groups is None else parts.held_out.groups.tolist()
    return with_balance(splits, config, "images", parts.subset_notes)


def _kept(
    config: FolderData, images: int, channels: int, grey_range: GreyRange, remember: bool
) -> DecodedImages | None:
    """The decoded images of a cache, where there is one; it is not made for a plan."""
    if not config.cache:
        return None
    if channels not in (1, 3):
        raise UserError(
            f"cache keeps grey images and images in colour, and the model takes {channels} channels: omit it"
        )
    if not remember:
        return None
    how = f"{channels}/{grey_range}/{config.page}/{config.decode}/{pillow}"
    kept = Kept(config.cache_side, how)
    return DecodedImages(as_path(config.cache), kept, images, config.cache_gigabytes)


def _cache_notes(config: FolderData) -> tuple[str, ...]:
    if not config.cache:
        return ()
    return (
        f"Training images are decoded once, shrunk to a shorter side of {config.cache_side} pixels where it is longer, "
        f"and kept in {show(config.cache)}, up to {config.cache_gigabytes:g} GB.",
    )


def chosen_check(config: FolderData, count: int, is_indexed: bool) -> str:
    """How so many images are checked before training."""
    if config.check != "auto":
        return config.check
    return "decode" if count <= MOST_DECODED else "sample" if is_indexed else "header"


def _later(files: Sequence[Source], config: FolderData, is_indexed: bool) -> tuple[Source, ...]:
    """The files that are looked at while training goes on, where a sample of them is checked before."""
    return tuple(checked_later(files)) if chosen_check(config, len(files), is_indexed) == "sample" else ()


def check_images(
    files: Sequence[Source], config: FolderData, progress: Progress, channels: int, is_indexed: bool = False
) -> tuple[dict[Source, str], GreyRange, tuple[str, ...]]:
    """The files that cannot be read, and why; the grey range of all; and notes."""
    check = chosen_check(config, len(files), is_indexed)
    survey = Survey(config.grey_range, config.page, channels)
    if check == "none":
        survey.look_at_some(files)
        return {}, survey.grey_range, (f"The {len(files):,} images were not checked.", *survey.notes(len(files)))
    looked_at: Sequence[Source] = evenly_spaced(files, LOOKED_AT) if check == "sample" else files
    all_of = f"the {len(files):,}" if len(looked_at) == len(files) else f"{len(looked_at):,} of {len(files):,}"
    notes = ()
    if check != "decode":
        later = len(_later(files, config, is_indexed))
        more = f" Those of {later:,} others are looked at while training goes on." if later else ""
        notes = (f"Only the headers of {all_of} images were checked, not whether they decode.{more}",)
    complaints = survey.look_at_all(looked_at, check == "decode", progress)
    if complaints:
        sentence = (
            f"{counted(len(complaints), 'image')} of {len(looked_at):,} cannot be read"
            f"{'' if config.unreadable == 'stop' else ' and will be skipped'}: {some(list(complaints.values()))}."
        )
        if config.unreadable == "stop":
            raise UserError(f"{sentence} Repair or remove them, or train with --data.unreadable skip.")
        notes += (sentence,)
    return complaints, survey.grey_range, (*notes, *survey.notes(len(looked_at)))


def _leave_out(classes: Classes, unreadable: dict[Source, str], folder: Path) -> Classes:
    bad = [file for file in unreadable if isinstance(file, Path)]
    kept = {name: files.take(files.are_not(bad)) if bad else files for name, files in classes.items()}
    for name, files in kept.items():
        if not files:
            raise UserError(
                f"none of the {len(classes[name])} images in {_where(folder, name)} can be read "
                f"({unreadable[classes[name][0]]}): add readable ones, or remove the folder."
            )
    return kept


def _split(
    listing: Listing, classes: Classes, unreadable: Collection[Source], config: FolderData
) -> tuple[Classes, Classes, tuple[str, ...]]:
    """Holds out a share of every class; the only image of a class is trained on. Returns a note about these, too.

    The order hangs on each file's name alone, so that an image stays on its side when others are added or removed
    or the folder moves.
    """
    train, held_out, draws, end = {}, {}, listing.draws_of(config.split_seed), 0
    bad = [file for file in unreadable if isinstance(file, Path)]
    for name, files in classes.items():
        listed = listing.parts[0][name]
        own, end = draws[end : end + len(listed)], end + len(listed)
        if len(listed) > len(files):
            own = own[listed.are_not(bad)]
        count = min(max(1, round(len(files) * config.val_fraction)), len(files) - 1)
        chosen = np.zeros(len(files), bool)
        chosen[np.argsort(own, kind="stable")[:count]] = True
        train[name], held_out[name] = files.take(~chosen), files.take(chosen)
    alone = [name for name, files in classes.items() if len(files) == 1]
    if len(alone) == len(classes):
        raise UserError(
            f"{_where(listing.layout.train, alone[0])} has only one readable image, too few to hold one out: "
            "add some, or make a val folder."
        )
    return train, held_out, alone_notes(alone, "image")


def _fold(
    train: Classes, held_out: Classes, base: Path, config: FolderData
) -> tuple[Classes, Classes, tuple[str, ...]]:
    """All images but those of a fold, and these; notes. base: the folder that names start from."""
    pool = {name: PathList.joined([files, held_out[name]]) if held_out else files for name, files in train.items()}
    files, labels = _flatten(pool)
    names = [file.relative_to(base).as_posix() for file in files]
    chosen, notes = held_out_fold(config, labels, names, list(pool))
    of_class = {name: np.flatnonzero(labels == number) for number, name in enumerate(pool)}
    parts = [
        {name: files.take(members[chosen[members] == side]) for name, members in of_class.items()}
        for side in (False, True)
    ]
    return parts[0], parts[1], notes


def _where(folder: Path, name: str) -> str:
    """What to call the place of a class: its folder, or of an unlabelled data set the whole folder."""
    place = folder / name
    return f"class folder {show(place)}" if is_folder(place) else show(folder)


def _flatten(classes: Classes) -> tuple[PathList, np.ndarray]:
    labels = np.repeat(np.arange(len(classes)), [len(members) for members in classes.values()])
    return PathList.joined(list(classes.values())), labels
