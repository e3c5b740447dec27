"""Opens shards as a data set: training and held-out part, the meaning of labels, and which images cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hvit.data.grey import GreyRange
from hvit.data.images.channels import checked_names
from hvit.data.images.folders import FolderData, check_images
from hvit.data.images.held import HeldImage
from hvit.data.images.paths import PathList
from hvit.data.layout import counted
from hvit.data.sets import IMAGENET_MEAN, IMAGENET_STD, Progress, Splits, no_progress, statistics_for
from hvit.data.shards.copies import Copies
from hvit.data.shards.opened import open_places, refuse_too_many
from hvit.data.shards.places import Place, is_streamed, parts_at, refuse_shared
from hvit.data.shards.rows import PiecedRows, ShardRows
from hvit.data.shards.sets import ShardSet
from hvit.data.shards.settings import bytes_of
from hvit.data.shards.streamed import open_streamed
from hvit.data.tables.open import split_samples, with_balance
from hvit.data.tables.samples import IN_HELD_OUT, IN_TEST, IN_TRAIN, Samples
from hvit.errors import UserError
from hvit.markup import three_digits

_LOOKED_AT = 256
"""So many images of one shard are looked at where shards are remote."""


def open_shard_data(config: FolderData, seed: int, in_channels: int, progress: Progress = no_progress) -> Splits:
    """Opens the shards of a configuration, and divides their samples.

    Held out are the shards that are named so, those in the folder val next to train, or else a share of the samples,
    as of a class folder. Raises UserError where there are none, where too many samples are damaged, or where a part is
    left without samples.
    """
    copies = Copies(config.shard_cache, bytes_of(config.shard_cache_size, "shard_cache_size"))
    if is_streamed(config.shards):
        rows, samples = open_streamed(
            config.shards, config.held_out_shards, config, config.labels, config.unreadable == "skip", copies, progress
        )
    else:
        rows, samples = _open_tar(config, copies, progress)
    assert samples.rows is not None
    unreadable, grey_range, check_notes = _checked(rows, samples, config, in_channels, progress)
    samples = samples.only(~np.isin(samples.rows, unreadable))
    parts = split_samples(samples, config, seed, "images")
    mean, std = statistics_for(IMAGENET_MEAN, IMAGENET_STD, in_channels)

    def make_set(some: Samples, trains: bool) -> ShardSet:
        assert some.rows is not None
        return ShardSet(
            rows, some.rows, some.labels, in_channels, trains, trains and config.decode == "reduced", grey_range,
            config.page, config.shuffle_shards, config.shard_streams, config.max_skipped,
        )  # fmt: skip

    splits = Splits(
        train=make_set(parts.train, True),
        held_out=make_set(parts.held_out, False),
        test=make_set(parts.test, False) if parts.test else None,
        classes=parts.spec.names,
        mean=mean,
        std=std,
        notes=(*samples.notes, *parts.notes, *check_notes),
        grey_range=grey_range,
        page=config.page,
        channels=checked_names(config.channels, in_channels),
        spec=None if parts.spec.kind == "single" else parts.spec,
    )
    splits.held_out.groups = None if parts.held_out.groups is None else parts.held_out.groups.tolist()
    return with_balance(splits, config, "images", parts.subset_notes)


def _open_tar(config: FolderData, copies: Copies, progress: Progress) -> tuple[PiecedRows, Samples]:
    """The samples of tar files, with the part of each where that is known."""
    found = parts_at(config.shards)
    parts: list[tuple[int, Sequence[Place]]] = [(IN_TRAIN, found.get("train") or found.get("") or [])]
    note = ""
    if config.held_out_shards:
        held = [place for places in parts_at(config.held_out_shards, "held_out_shards").values() for place in places]
        refuse_shared(parts[0][1], held)
        parts.append((IN_HELD_OUT, held))
        note = "Held out are the shards of held_out_shards."
    elif "val" in found:
        parts.append((IN_HELD_OUT, found["val"]))
        note = "Held out are the shards in the folder val."
        if "test" in found:
            parts.append((IN_TEST, found["test"]))
            note += " The finished run is scored on those in the folder test, which choose nothing."
    elif "train" in found:
        parts = [(IN_TRAIN, found["train"])]
    places = [place for _, part in parts for place in part]
    opened = open_places(places, copies, config, config.labels, progress)
    notes = refuse_too_many(opened.complaints, 0 if config.unreadable == "stop" else config.max_skipped)
    index = opened.index
    assert index.labels is not None
    assert index.spec is not None
    part = None
    if len(parts) > 1:
        ends = np.cumsum(opened.counts)
        of_place = [code for code, some in parts for _ in some]
        piece_part = np.array(of_place)[np.searchsorted(ends, np.arange(len(index.shards)), side="right")]
        part = piece_part[index.pieces]
    names = PathList.of_names(Path(), (index.name(number).encode() for number in range(len(index))))
    total = sum(shard.size for shard in index.shards)
    size = f"{three_digits(total / 1e9)} GB" if total >= 1e9 else f"{three_digits(total / 1e6)} MB"
    said = f"{counted(len(index.shards), 'shard')}, {size}"
    samples = Samples(
        files=names, labels=index.labels, spec=index.spec, folder=Path(), part=part, rows=np.arange(len(index)),
        notes=(f"The data: {said}.", *((opened.note,) if opened.note else ()), *notes), held_note=note,
    )  # fmt: skip
    return ShardRows(index, copies), samples


def _checked(
    rows: PiecedRows, samples: Samples, config: FolderData, channels: int, progress: Progress
) -> tuple[np.ndarray, GreyRange, tuple[str, ...]]:
    """The rows that cannot be read, the grey range of all, and notes.

    Of remote shards only the held-out ones, which every evaluation reads, and one more are fetched for that.
    """
    numbers = samples.rows
    assert numbers is not None
    looked_at, note = numbers, ()
    if rows.is_remote and config.check != "none":
        held = np.zeros(len(numbers), bool) if samples.part is None else samples.part == IN_HELD_OUT
        first = np.flatnonzero(rows.pieces[numbers] == rows.pieces[numbers[0]])[:_LOOKED_AT]
        held[first] = True
        looked_at = numbers[held]
        note = (
            f"{len(looked_at):,} of {len(numbers):,} images were looked at before training; those that cannot be read "
            "later are skipped (--data.max-skipped).",
        )
    if rows.is_remote and config.check == "none":
        looked_at = numbers[:1]
    complaints, grey_range, notes = check_images(
        [HeldImage(rows, number) for number in looked_at.tolist()], config, progress, channels
    )
    bad = np.array([source.number for source in complaints if isinstance(source, HeldImage)], np.int64)
    if len(bad) > config.max_skipped:
        raise UserError(
            f"{len(bad):,} images of the shards cannot be read, and at most {config.max_skipped:,} may be skipped "
            f"(--data.max-skipped): {notes[-1] if notes else ''}"
        )
    return bad, grey_range, (*note, *notes)
