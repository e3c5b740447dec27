"""Which images a folder of images has, in which parts and classes: the folder is walked once, and nothing is opened."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from hvit.data.hierarchy import Hierarchy, folders_around, nested_class_folders
from hvit.data.images.listing import SUFFIXES, files_below, is_image_or_array_name, names_below, show, suffix_of
from hvit.data.images.paths import PathList
from hvit.data.layout import (
    UNLABELLED,
    Layout,
    class_folders,
    counted,
    find_layout,
    same_classes,
    spelling,
    split_key,
    stray_samples,
    unusable_test,
)
from hvit.errors import UserError
from hvit.labels import LabelLevel
from hvit.randomness import derive_seed

Entered = Callable[[Path, os.stat_result], object]
"""Called with each folder and its state, before it is listed."""
Classes = dict[str, PathList]
"""The images of each class, classes in the order of the model's outputs."""


@dataclass(frozen=True)
class Listing:
    """The images of a folder.

    parts: those of the training folder, of the held-out one and of the test one; the last two may be empty. ignored:
    how many other files there are of each kind. draws: (training images,) what decides which of them are held out,
    where that is known for a `split_seed`.
    """

    layout: Layout
    labelled: bool
    parts: tuple[Classes, Classes, Classes]
    ignored: Counter[str] = field(default_factory=Counter)
    notes: tuple[str, ...] = ()
    draws: tuple[int, np.ndarray] | None = None
    is_indexed: bool = False
    """Whether it comes from an index, so that no file is looked at without need."""
    levels: tuple[LabelLevel, ...] = ()
    """Of class folders in class folders, the levels of their classes."""

    def files(self) -> PathList:
        """All images of all parts."""
        return PathList.joined([files for part in self.parts for files in part.values()])

    def draws_of(self, split_seed: int) -> np.ndarray:
        """(training images,) int64: those with the smallest numbers of a class are held out."""
        if self.draws is not None and self.draws[0] == split_seed:
            return self.draws[1]
        files = PathList.joined(list(self.parts[0].values()))
        return split_draws(files, self.layout.train, split_seed)


def split_draws(files: PathList, folder: Path, split_seed: int) -> np.ndarray:
    """A number for each file, which hangs on its name as seen from a folder alone."""
    keys = (split_key(os.fsdecode(name)) for name in files.names_from(folder))
    return np.fromiter((derive_seed(split_seed, f"split/{key}") for key in keys), np.int64, len(files))


def list_folder(root: str, labels: str, entered: Entered | None = None, label_levels: Sequence[str] = ()) -> Listing:
    """The images in the folders of a root.

    labels: "folders", "none" or "auto". label_levels: names of levels where class folders lie in class folders. Raises
    UserError if the folder is not laid out in one of the two ways, or leaves a class without images.
    """
    hierarchy = Hierarchy(label_levels) if label_levels else None
    layout = _find_layout(root, labels != "none" and hierarchy is None)
    notes = layout.notes
    labelled = hierarchy is not None or not _is_unlabelled(labels, layout)
    if labelled:
        list_files = partial(_list_classes, hierarchy=hierarchy)
    else:
        layout = _find_layout(root, False)
        list_files = _list_unlabelled
        notes = (*layout.notes, f"The images in {show(layout.train)} have no labels: they are one unlabelled data set.")
    train, ignored, more_notes = list_files(layout.train, entered)
    notes += more_notes
    held_out: Classes = {}
    if layout.held_out:
        held_out, ignored_too, more_notes = list_files(layout.held_out, entered)
        ignored += ignored_too
        notes += more_notes
        held_out = _in_order(held_out, same_classes(list(train), list(held_out), layout.train, layout.held_out), train)
    test: Classes = {}
    test_notes = unusable_test(layout, list(train), labelled, lambda folder: nested_class_folders(folder, hierarchy)[0])
    notes += test_notes
    if layout.test and not test_notes:
        test, ignored_too, more_notes = list_files(layout.test, entered)
        ignored += ignored_too
        notes += more_notes
        test = _in_order(test, same_classes(list(train), list(test), layout.train, layout.test), train)
    levels = hierarchy.levels(list(train)) if hierarchy else ()
    return Listing(layout, labelled, (train, held_out, test), ignored, notes, levels=levels)


def _in_order(classes: Classes, order: Sequence[int], names: Classes) -> Classes:
    found = list(classes.values())
    return {name: found[place] for name, place in zip(names, order, strict=True)}


def _find_layout(root: str, unwraps: bool) -> Layout:
    return find_layout(root, "images", is_image_or_array_name, unwraps, may_be_class=lambda _: True)


def _images_below(
    folder: Path, members: Sequence[Path], ignored: Counter[str], entered: Entered | None
) -> Iterator[str]:
    """The images in some folders, as seen from a folder around them."""
    above = "" if folder == Path() else str(folder / "_")[:-1]
    for member in members:
        for name in names_below(member, entered):
            if is_image_or_array_name(name):
                yield name.removeprefix(above)
            else:
                ignored[suffix_of(name) or "without suffix"] += 1


def _list_classes(
    folder: Path, entered: Entered | None, hierarchy: Hierarchy | None
) -> tuple[Classes, Counter[str], tuple[str, ...]]:
    """The images of each class, classes in alphabetical order; how many other files there are of each kind; notes."""
    ignored: Counter[str] = Counter()
    folders, notes = nested_class_folders(folder, hierarchy, entered)
    counts: list[int] = []

    def names() -> Iterator[str]:
        for members in folders.values():
            counts.append(0)
            for name in _images_below(folder, members, ignored, entered):
                counts[-1] += 1
                yield name

    files = PathList.of_names(folder, names())
    ends = np.cumsum(counts).tolist()
    classes = {name: files[end - count : end] for name, count, end in zip(folders, counts, ends, strict=True)}
    stray = [file for place in folders_around(folder, folders) for file in stray_samples(place, is_image_or_array_name)]
    if not classes:
        where = f"has {counted(len(stray), 'image')} but" if stray else "has"
        raise UserError(
            f"{show(folder)} {where} no sub-folders: put the images of each class into a folder of its own."
        )
    if stray:
        ignored[f"image{'s' if len(stray) > 1 else ''} outside any class folder"] = len(stray)
    if len(classes) == 1:
        raise UserError(f"{show(folder)} has only one class folder ({next(iter(classes))}): two or more are needed.")
    for name, members in classes.items():
        if not members:
            raise UserError(
                f"class folder {show(folders[name][0])} holds no image (a file ending in {', '.join(SUFFIXES)}): add "
                "some, or remove the folder."
            )
    return classes, ignored, notes


def _is_unlabelled(labels: str, layout: Layout) -> bool:
    """Whether images have no labels: because that was said, or with "auto" where there are no class folders."""
    if labels != "auto":
        return labels == "none"
    classes = [_classes_or_none(folder) for folder in (layout.train, layout.held_out) if folder]
    return None in classes or len(set(map(frozenset, filter(None, classes)))) != 1


def _classes_or_none(folder: Path) -> list[str] | None:
    """The names of two or more class folders with nothing but images in them, or None."""
    children = class_folders(folder)[0]
    filled = all(
        any(is_image_or_array_name(file) for each in folders for file in files_below(each))
        for folders in children.values()
    )
    return (
        [spelling(name) for name in children]
        if len(children) > 1 and filled and not stray_samples(folder, is_image_or_array_name)
        else None
    )


def _list_unlabelled(folder: Path, entered: Entered | None) -> tuple[Classes, Counter[str], tuple[str, ...]]:
    """Every image anywhere in a folder, as one class, and how many other files there are of each kind."""
    ignored: Counter[str] = Counter()
    files = PathList.of_names(folder, _images_below(folder, [folder], ignored, entered))
    if not files:
        raise UserError(f"{show(folder)} holds no image (a file ending in {', '.join(SUFFIXES)}).")
    return {UNLABELLED: files}, ignored, ()
