"""Your own clips: listed, checked before training, and split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hvit.data.clips import lists as clip_lists
from hvit.data.clips.decoding import frame_files, is_clip_name
from hvit.data.clips.index import index_clips
from hvit.data.clips.lists import Listing
from hvit.data.clips.packaged import list_path
from hvit.data.clips.sets import ClipSet
from hvit.data.clips.settings import ClipData
from hvit.data.clips.videos import VIDEO_SUFFIXES, ClipFacts, load_av
from hvit.data.folds import groups_of, held_out_fold
from hvit.data.hierarchy import Hierarchy, nested_class_folders
from hvit.data.images.held import HeldClip
from hvit.data.images.listing import show
from hvit.data.layout import (
    TEST_NAME,
    UNLABELLED,
    alone_notes,
    ignored_notes,
    same_classes,
    some,
    split_name,
    unusable_test,
)
from hvit.data.sampling import Sampling
from hvit.data.sets import Progress, Splits, choose_subset, no_progress, statistics_for, subset_notes
from hvit.data.shared_content import shared_content_notes
from hvit.data.survey import LOOKED_AT, Survey, evenly_spaced
from hvit.data.tables.open import IN_PYTHON, split_samples, table_at, with_balance
from hvit.data.tables.read import Table
from hvit.data.tables.samples import Samples, list_samples
from hvit.errors import UserError
from hvit.files import as_path
from hvit.labels import LabelSpec
from hvit.randomness import derive_seed

MOST_DECODED = 500
"""With check "auto": up to so many clips are decoded in full before training, beyond it only their first frames are."""
CACHE = ".hvit_clips.json"
VIDEO_MEAN, VIDEO_STD = (0.45,) * 3, (0.225,) * 3
"""What all models of Kinetics and Something-Something in SlowFast were trained with."""


def open_clips(
    config: ClipData,
    seed: int,
    in_channels: int,
    num_frames: int,
    progress: Progress = no_progress,
    remember: bool = True,
    table: Table | None = None,
) -> Splits:
    """Lists clips, checks that they can be read, and splits them.

    num_frames: how many frames of a clip the model sees. remember: whether what is found out about the clips is
    written to their index. table: the opened table of the clips, instead of that in a file.
    Raises UserError, in a sentence that says what to change, if the folder or the lists are not laid out as expected,
    if a class is left without clips, or if PyAV is needed and missing.
    """
    if config.table:
        return _open_table(config, seed, in_channels, num_frames, progress, remember, table)
    progress("listing clips", 0, 0)
    hierarchy = Hierarchy(config.label_levels) if config.label_levels else None
    train, held_out, test, classes, notes = _list(config, hierarchy)
    listings = [listing for listing in (train, held_out, test) if listing is not None]
    sources = [source for listing in listings for source in listing.sources]
    facts, more_notes = _check(sources, config, progress, remember)
    survey = _survey_frames([source for source in sources if isinstance(facts[source], ClipFacts | None)], config)
    other: Counter[str] = sum((listing.other for listing in listings), Counter())
    notes += (*ignored_notes(other, "clips"), *more_notes, *survey.notes(len(sources), "frames"))
    train = _leave_out(train, facts, classes)
    if held_out is not None:
        held_out = _leave_out(held_out, facts, classes)
    if config.folds:
        train, held_out, fold_notes = _fold(train, held_out, classes, config)
        notes += fold_notes
    elif held_out is None:
        train, held_out, split_notes = _hold_out(train, classes, config)
        notes += (
            f"{config.val_fraction:.0%} of {'each class' if len(classes) > 1 else 'the clips'} is held out.",
            *split_notes,
        )
    test = _leave_out(test, facts, classes) if test else None
    chosen = choose_subset(train.labels, classes, seed, config.num_per_class, config.fraction, "clips")
    of_parts = train.only(chosen), held_out, test
    splits = _sets(config, seed, in_channels, num_frames, survey, facts, of_parts, _start(config))
    splits = replace(
        splits,
        classes=classes,
        spec=LabelSpec("single", classes, levels=hierarchy.levels(classes)) if hierarchy else None,
        notes=(*notes, *shared_content_notes(train.sources, held_out.sources, "clips")),
    )
    if config.folds and config.group:
        splits.held_out.groups = groups_of(config.group, _names_in_folds(held_out.sources, config))
    return with_balance(splits, config, "clips", subset_notes(len(chosen), len(train.labels), "clips"))


def _sets(
    config: ClipData,
    seed: int,
    in_channels: int,
    num_frames: int,
    survey: Survey,
    facts: dict[Path | HeldClip, ClipFacts | str | None],
    parts: tuple[Listing, Listing, Listing | None],
    root: Path,
) -> Splits:
    """The sets of the clips to train on and of the held-out ones; names of clips start from `root`."""
    sampling = Sampling(num_frames, config.stride, config.sampling, config.target_fps, config.view_starts)

    def make_set(listing: Listing, learns: bool) -> ClipSet:
        return ClipSet(
            listing.sources,
            listing.labels,
            sampling,
            facts=[fact if isinstance(fact, ClipFacts) else None for fact in map(facts.get, listing.sources)],
            learns=learns,
            seed=seed,
            views=(config.temporal_views, config.spatial_views),
            frame_rate=config.frame_rate,
            short_side=config.short_side,
            folder=root,
            grey_range=survey.grey_range,
            page=config.page,
        )

    mean, std = statistics_for(VIDEO_MEAN, VIDEO_STD, in_channels)
    return Splits(
        train=make_set(parts[0], learns=True),
        held_out=make_set(parts[1], learns=False),
        classes=(),
        mean=mean,
        std=std,
        grey_range=survey.grey_range,
        page=config.page,
        test=make_set(parts[2], learns=False) if parts[2] else None,
    )


def _start(config: ClipData) -> Path:
    """Where the paths of clips, and the index of what was found out about them, start from."""
    return as_path(config.root or Path(config.train_list or config.table).parent)


def _open_table(
    config: ClipData,
    seed: int,
    in_channels: int,
    num_frames: int,
    progress: Progress,
    remember: bool,
    table: Table | None,
) -> Splits:
    """The clips that a table lists, checked, split and with the labels that it gives them."""
    progress("reading the table", 0, 0)
    table = table or table_at(config.table, is_clip_name)
    rows = table.rows(next(iter(table.image_columns), ""))
    if rows is not None and not rows.clips:
        raise UserError(f"{table.name} holds images themselves, and the model takes clips: list the files of clips")
    samples = list_samples(
        table, config, config.root, is_clip_name, config.unreadable == "skip",
        config.labels, "clips",
    )  # fmt: skip

    def sources(part: Samples) -> list[Path | HeldClip]:
        return list(part.files) if rows is None or part.rows is None else [HeldClip(rows, row) for row in part.rows]

    clips = sources(samples)
    facts, check_notes = _check(clips, config, progress, remember)
    samples = samples.only(np.array([not isinstance(facts[clip], str) for clip in clips], dtype=bool))
    if not len(samples.files):
        raise UserError(f"none of the clips can be read: {some([f'{clip}{facts[clip]}' for clip in clips], 2)}")
    survey = _survey_frames(clips, config)
    parts = split_samples(samples, config, seed, "clips")
    listings = (
        Listing(sources(parts.train), parts.train.labels, Counter()),
        Listing(sources(parts.held_out), parts.held_out.labels, Counter()),
        Listing(sources(parts.test), parts.test.labels, Counter()) if parts.test else None,
    )
    splits = _sets(config, seed, in_channels, num_frames, survey, facts, listings, samples.folder)
    splits = replace(
        splits,
        classes=parts.spec.names,
        spec=parts.spec,
        notes=(
            *samples.notes, *check_notes, *survey.notes(len(samples.files), "frames"), *parts.notes,
            *shared_content_notes(listings[0].sources, listings[1].sources, "clips"),
        ),
    )  # fmt: skip
    splits.train.weights = parts.train.weights
    splits.held_out.groups = None if parts.held_out.groups is None else parts.held_out.groups.tolist()
    return with_balance(splits, config, "clips", parts.subset_notes)


def _list(
    config: ClipData, hierarchy: Hierarchy | None
) -> tuple[Listing, Listing | None, Listing | None, tuple[str, ...], tuple[str, ...]]:
    """The training clips, the held-out ones if they are listed, those of a test folder, the classes, and notes."""
    if config.train_list:
        train, held_out, classes, notes = _list_lists(config)
        return train, held_out, None, classes, notes
    found = clip_lists.find_layout(config.root, config.labels != "none" and hierarchy is None)
    folders = [folder for folder in (found.train, found.held_out) if folder]
    has_labels = (
        hierarchy is not None
        or config.labels == "folders"
        or (config.labels == "auto" and clip_lists.has_class_folders(folders))
    )
    if not has_labels:
        found = clip_lists.find_layout(config.root, False)
        folders = [folder for folder in (found.train, found.held_out) if folder]
    listed = [
        clip_lists.list_folders(each, hierarchy) if has_labels else clip_lists.list_unlabelled(each) for each in folders
    ]
    notes = found.notes + tuple(note for _, _, some_notes in listed for note in some_notes)
    train, classes, _ = listed[0]
    if not has_labels:
        notes += (f"The clips in {show(found.train)} have no labels: they are one unlabelled data set.",)
    if not found.held_out:
        return train, None, None, classes, notes
    test_notes = unusable_test(found, classes, has_labels, lambda folder: nested_class_folders(folder, hierarchy)[0])
    parts = [(found.held_out, listed[1])]
    if found.test and not test_notes:
        parts.append((found.test, clip_lists.list_folders(found.test, hierarchy)))
    ordered = []
    for folder, (listing, names, _) in parts:
        number_of = np.argsort(same_classes(classes, names, found.train, folder))
        ordered.append(replace(listing, labels=number_of[listing.labels]))
    notes += test_notes + tuple(note for _, (_, _, some_notes) in parts[1:] for note in some_notes)
    if config.folds and found.held_out.name.lower() == TEST_NAME:
        return train, None, ordered[0], classes, notes
    return train, ordered[0], ordered[1] if len(ordered) > 1 else None, classes, notes


def _list_lists(config: ClipData) -> tuple[Listing, Listing | None, tuple[str, ...], tuple[str, ...]]:
    paths = [list_path(name) for name in (config.train_list, config.held_out_list) if name]
    frames = [as_path(name) if name else None for name in (config.train_frames, config.held_out_frames)]
    root = as_path(config.root) if config.root else paths[0].parent
    names_file = list_path(config.class_names) if config.class_names else None
    if names_file is None and paths[0].suffix.lower() == ".json":
        names_file = paths[0].with_name(clip_lists.SSV2_LABELS)
    names = clip_lists.read_class_names(names_file) if names_file else {}
    listings = [
        clip_lists.read_list(path, root, config.separator, frame_list, names)
        for path, frame_list in zip(paths, frames, strict=False)
    ]
    held_out = listings[1] if len(listings) > 1 else None
    labels = np.concatenate([listing.labels for listing in listings])
    if config.labels == "none" or (labels < 0).all():
        for listing in listings:
            listing.labels[:] = 0
        return (
            listings[0],
            held_out,
            (UNLABELLED,),
            (f"The clips in {show(paths[0])} have no labels: they are one unlabelled data set.",),
        )
    if (labels < 0).any():
        raise UserError(
            f"{int((labels < 0).sum()):,} of the {len(labels):,} clips in {' and '.join(map(show, paths))} have no "
            "label: give all of them one, or say labels none."
        )
    classes = tuple(sorted(names, key=names.__getitem__)) or tuple(map(str, range(int(labels.max()) + 1)))
    if labels.max() >= len(classes):
        raise UserError(f"label {labels.max()} is not among the {len(classes)} names in {show(names_file or '')}.")
    return listings[0], held_out, classes, ()


def _survey_frames(sources: Sequence[Path | HeldClip], config: ClipData) -> Survey:
    """The grey range of clips that are folders of frames: a frame from the middle of each of some of them decides."""
    survey = Survey(config.grey_range, config.page)
    folders = [source for source in sources if isinstance(source, Path) and not is_clip_name(source)]
    files = [frame_files(folder) for folder in evenly_spaced(folders, LOOKED_AT)]
    survey.look_at_some([frames[len(frames) // 2] for frames in files if frames])
    return survey


def _check(
    sources: Sequence[Path | HeldClip], config: ClipData, progress: Progress, remember: bool
) -> tuple[dict[Path | HeldClip, ClipFacts | str | None], tuple[str, ...]]:
    """What is known of each clip, or what is wrong with it, or None if nobody looked; and notes."""
    if any(isinstance(source, Path) and source.suffix.lower() in VIDEO_SUFFIXES for source in sources):
        load_av()
    if config.check == "none":
        return dict.fromkeys(sources), (f"The {len(sources):,} clips were not checked.",)
    whole = config.check == "decode" or (config.check == "auto" and len(sources) <= MOST_DECODED)
    cache: Path | None = as_path(config.cache or _start(config) / CACHE)
    if config.cache == "none" or config.table == IN_PYTHON:
        cache = None
    found, index_notes = index_clips(sources, whole, config.frame_rate, cache, progress, remember, config.page)
    complaints = [
        f"{show(str(source))}{fact}" for source, fact in zip(sources, found, strict=True) if isinstance(fact, str)
    ]
    notes = index_notes
    if not whole:
        notes += (f"Only the headers of the {len(sources):,} clips were checked, not whether all decode.",)
    if complaints:
        sentence = (
            f"{len(complaints):,} of {len(sources):,} clips cannot be read"
            f"{'' if config.unreadable == 'stop' else ' and will be skipped'}: {some(complaints)}."
        )
        if config.unreadable == "stop":
            raise UserError(f"{sentence} Repair or remove them, or train with --data.unreadable skip.")
        notes += (sentence,)
    return dict(zip(sources, found, strict=True)), notes


def _leave_out(
    listing: Listing, facts: dict[Path | HeldClip, ClipFacts | str | None], classes: tuple[str, ...]
) -> Listing:
    kept = np.array([not isinstance(facts[source], str) for source in listing.sources])
    lost = sorted(set(listing.labels.tolist()) - set(listing.labels[kept].tolist()))
    if lost:
        members = np.flatnonzero(listing.labels == lost[0])
        raise UserError(
            f"none of the {len(members)} clips of class {classes[lost[0]]} ({show(listing.sources[members[0]])}, …) "
            "can be read: add readable ones, or omit the class."
        )
    return listing.only(np.flatnonzero(kept))


def _fold(
    train: Listing, held_out: Listing | None, classes: tuple[str, ...], config: ClipData
) -> tuple[Listing, Listing, tuple[str, ...]]:
    """All clips but those of a fold, and these; notes."""
    sources = [*train.sources, *(held_out.sources if held_out else ())]
    labels = np.concatenate([train.labels, held_out.labels]) if held_out else train.labels
    pool = Listing(sources, labels, train.other)
    chosen, notes = held_out_fold(config, labels, _names_in_folds(sources, config), classes)
    return pool.only(np.flatnonzero(~chosen)), pool.only(np.flatnonzero(chosen)), notes


def _names_in_folds(sources: Sequence[Path | HeldClip], config: ClipData) -> list[str]:
    """The names of clips from which their groups and folds follow."""
    root = as_path(config.root or Path(config.train_list).parent)
    return [_name_in_split(source, root) for source in sources]


def _name_in_split(source: Path | HeldClip, root: Path) -> str:
    return split_name(source, root) if isinstance(source, Path) else str(source)


def _hold_out(listing: Listing, classes: tuple[str, ...], config: ClipData) -> tuple[Listing, Listing, tuple[str, ...]]:
    """Holds out a share of every class; the only clip of a class is trained on. Returns a note about these, too.

    The order hangs on each clip's name alone, so that it stays on its side when others come or go or the folder moves.
    """
    root = _start(config)
    order = np.array(
        [derive_seed(config.split_seed, f"split/{_name_in_split(source, root)}") for source in listing.sources]
    )
    held_out = np.zeros(len(order), dtype=bool)
    alone = []
    present = np.unique(listing.labels)
    for label in present:
        members = np.flatnonzero(listing.labels == label)
        if len(members) < 2:
            alone.append(classes[label])
            continue
        count = min(max(1, round(len(members) * config.val_fraction)), len(members) - 1)
        held_out[members[np.argsort(order[members], kind="stable")[:count]]] = True
    if len(alone) == len(present):
        raise UserError(
            f"class {alone[0]} has only one readable clip ({show(str(listing.sources[0]))}), too few to hold one out: "
            "add some, or a val folder or held_out_list."
        )
    return listing.only(np.flatnonzero(~held_out)), listing.only(np.flatnonzero(held_out)), alone_notes(alone, "clip")
