"""Any folder of pictures with one sub-folder per class, checked before training instead of failing in its middle."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from hvit.data.reading import (
    SUFFIXES,
    check_header,
    is_image_name,
    quiet_pillow,
    read_image,
    read_reduced,
    show,
    walk,
)
from hvit.data.sets import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ImageSet,
    Needed,
    Reduced,
    Splits,
    Stored,
    check_subset,
    choose_subset,
    statistics_for,
    subset_notes,
)
from hvit.errors import UserError, check_choices
from hvit.randomness import derive_seed

Picture = TypeVar("Picture", bound=Image.Image | Reduced)

MOST_DECODED = 20_000
"""With check "auto": up to so many pictures are decoded in full before training, beyond it only their headers are."""
MANY_FILES = 2_000
"""From so many pictures on, checking them shows a progress bar."""
HELD_OUT_NAMES = ("val", "validation", "valid", "test")
UNLABELLED = "unlabelled"
"""The class of all pictures of a pile."""
LAYOUTS = "DIR/train/CLASS/… with DIR/val/CLASS/…, or DIR/CLASS/…"


@dataclass(frozen=True)
class FolderData:
    """Your own pictures: a folder with one sub-folder per class, or with train and val folders of these."""

    kind: Literal["folder"] = "folder"
    """Which data set: a folder of pictures."""
    root: str = ""
    """The folder: DIR/train/CLASS/… with DIR/val/CLASS/… (or validation, valid, test), or DIR/CLASS/… to be split."""
    val_fraction: float = 0.2
    """Share of each class that is held out when the folder has no val folder."""
    split_seed: int = 0
    """Another number holds out other pictures. Apart from the run's seed, so that runs stay comparable."""
    check: Literal["auto", "decode", "header", "none"] = "auto"
    """How pictures are checked before training: decoded in full, by their headers, or not at all; auto decodes up to
    20,000 and looks at headers beyond."""
    unreadable: Literal["skip", "stop"] = "skip"
    """What to do about pictures that the check finds unreadable: name and skip them, or name them and stop."""
    labels: Literal["folders", "none", "auto"] = "folders"
    """What tells a picture's class: the sub-folder it is in; nothing (then all pictures anywhere in the folder are one
    pile, enough for masked pretraining); or auto: the sub-folders where there are such, else nothing."""
    decode: Literal["full", "reduced"] = "full"
    """How training pictures are decoded. reduced: JPEG pictures at a half, a quarter or an eighth of their size where
    that leaves twice the pixels of what is cut out; faster for large photos, and nearly the same pixels."""
    num_per_class: int | None = None
    """Learn from this many pictures of each class only; none for all."""
    fraction: float | None = None
    """Learn from this share of the pictures of each class only (0 to 1); none for all."""

    def __post_init__(self) -> None:
        check_choices(self)
        if not 0 < self.val_fraction < 1:
            raise UserError(f"val_fraction must be a share between 0 and 1, not {self.val_fraction}.")
        check_subset(self.num_per_class, self.fraction)


class FolderSet(ImageSet):
    """Pictures that are read from their files each time they are needed.

    replaces: whether the next picture takes the place of one that can no longer be read (training); if not, it is an
    error (held out, where a score on other pictures would be wrong). reduced: whether pictures may be decoded smaller
    than they are where that is enough. folder: what the names of the pictures start from.
    """

    def __init__(
        self,
        files: Sequence[Path],
        labels: np.ndarray,
        channels: int,
        replaces: bool,
        reduced: bool = False,
        folder: Path | None = None,
    ) -> None:
        # Names as one array of bytes: worker processes share it, where a list of a million paths would be copied.
        self._names = np.array([os.fsencode(file) for file in files])
        self.labels, self.channels, self.replaces, self.reduced = labels, channels, replaces, reduced
        self._folder = folder
        self._failed: set[int] = set()

    def stored(self) -> Iterator[tuple[str, Stored]]:
        """Every file, named as seen from the folder of the split."""
        for index in range(len(self)):
            file = self.file(index)
            yield (file.relative_to(self._folder).as_posix() if self._folder else file.name), file

    def name(self, index: int) -> str:
        """The file of an image, as seen from the folder of the split."""
        file = self.file(index)
        return str(file.relative_to(self._folder)) if self._folder else file.name

    def file(self, index: int) -> Path:
        """The file of an image."""
        return Path(os.fsdecode(self._names[index].item()))

    def read(self, index: int, draw: int) -> tuple[Image.Image, int]:
        """One picture and its class; in training, of a file that can no longer be read the next one and a warning.

        Raises UserError if no file can be read any more, or a held-out one cannot.
        """
        return self._first_readable(index, lambda file: read_image(file, self.channels))

    def read_enough(self, index: int, draw: int, needed: Needed) -> tuple[Image.Image | Reduced, int]:
        """As `read`, decoded smaller where that is allowed and enough."""
        if not self.reduced:
            return self.read(index, draw)
        return self._first_readable(index, lambda file: read_reduced(file, self.channels, needed))

    def _first_readable(self, index: int, read: Callable[[Path], Picture]) -> tuple[Picture, int]:
        for candidate in (*range(index, len(self)), *range(index)):
            try:
                return read(self.file(candidate)), int(self.labels[candidate])
            except UserError as error:
                if not self.replaces:
                    raise UserError(
                        f"{error} It is a held-out picture, and a score without it would not be the one asked for: "
                        "repair or remove it."
                    ) from error
                if candidate not in self._failed:
                    self._failed.add(candidate)
                    print(f"warning: {error} The next readable picture takes its place.", file=sys.stderr)
        raise UserError(f"none of the {len(self)} pictures beside {show(self.file(index))} can be read any more.")


def open_folder(config: FolderData, seed: int, in_channels: int) -> Splits:
    """Lists a folder of pictures, checks that they can be read, and splits them.

    Raises UserError, in a sentence that says what to change, if the folder is not laid out in one of the two ways, or
    leaves a class without pictures.
    """
    train_folder, held_out_folder, layout_notes = _find_layout(config.root)
    if _is_pile(config.labels, train_folder, held_out_folder):
        list_files = _list_pile
        layout_notes += (f"The pictures in {show(train_folder)} have no labels: they are one pile.",)
    else:
        list_files = _list_classes
    train_files, ignored = list_files(train_folder)
    held_out_files, ignored_too = list_files(held_out_folder) if held_out_folder else ({}, Counter())
    if held_out_folder:
        _require_same_classes(train_files, held_out_files, train_folder, held_out_folder)
    unreadable, check_notes = _check_files(
        [file for files in (*train_files.values(), *held_out_files.values()) for file in files], config
    )
    train_files = _leave_out(train_files, unreadable, train_folder)
    held_out_files = _leave_out(held_out_files, unreadable, held_out_folder or train_folder)
    if not held_out_folder:
        train_files, held_out_files = _split(train_files, train_folder, config)
        layout_notes += (
            f"{show(train_folder)} has no val folder: {config.val_fraction:.0%} of "
            f"{'the pictures' if list_files is _list_pile else 'each class'} is held out.",
        )
    classes = tuple(train_files)
    files, labels = _flatten(train_files)
    chosen = choose_subset(labels, classes, seed, config.num_per_class, config.fraction)
    mean, std = statistics_for(IMAGENET_MEAN, IMAGENET_STD, in_channels)
    return Splits(
        train=FolderSet(
            [files[index] for index in chosen],
            labels[chosen],
            in_channels,
            replaces=True,
            reduced=config.decode == "reduced",
            folder=train_folder,
        ),
        held_out=FolderSet(
            *_flatten(held_out_files), in_channels, replaces=False, folder=held_out_folder or train_folder
        ),
        classes=classes,
        mean=mean,
        std=std,
        notes=(
            *layout_notes,
            *_ignored_notes(ignored + ignored_too),
            *check_notes,
            *subset_notes(len(chosen), len(files)),
        ),
    )


def _find_layout(root: str) -> tuple[Path, Path | None, tuple[str, ...]]:
    """The folder of classes to learn from, the one that is held out if there is one, and notes."""
    if not root:
        raise UserError(
            "the folder of pictures is missing: give it as the data's root (--data.root DIR in train), "
            f"laid out as {LAYOUTS}."
        )
    folder = Path(root).expanduser()
    if not folder.is_dir():
        state = "is not a folder" if folder.exists() else "does not exist"
        raise UserError(
            f"{show(folder)} {state}: the data's root (--data.root in train) must be a folder laid out as {LAYOUTS}."
        )
    children = {child.name.lower(): child for child in _sub_folders(folder)}
    train = children.pop("train", None)
    held_out = next((children.pop(name) for name in HELD_OUT_NAMES if name in children), None)
    if train and (held_out or _sub_folders(train)):
        rest = sorted(child.name for child in children.values())
        notes = (f"Not used beside {show(train.name)}: {_some(rest)}.",) if rest else ()
        return train, held_out, notes
    if held_out and not train and not children:
        raise UserError(f"{show(folder)} has a {show(held_out.name)} folder but no train folder: expected {LAYOUTS}.")
    return folder, None, ()


def _sub_folders(folder: Path) -> list[Path]:
    try:
        return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    except OSError as error:
        raise UserError(f"cannot list {show(folder)}: {error.strerror}.") from error


def _list_classes(folder: Path) -> tuple[dict[str, list[Path]], Counter[str]]:
    """The pictures of each class, classes in alphabetical order, and how many other files there are of each kind."""
    classes: dict[str, list[Path]] = {}
    ignored: Counter[str] = Counter()
    for child in _sub_folders(folder):
        files = list(walk(child))
        classes[show(child.name)] = [file for file in files if is_image_name(file)]
        ignored.update(file.suffix.lower() or "without suffix" for file in files if not is_image_name(file))
    stray = [file for file in folder.glob("[!.]*") if is_image_name(file) and file.is_file()]
    if not classes:
        where = f"has {len(stray)} pictures but" if stray else "has"
        raise UserError(
            f"{show(folder)} {where} no sub-folders: put the pictures of each class into a folder of its own."
        )
    if stray:
        ignored[f"picture{'s' if len(stray) > 1 else ''} outside any class folder"] = len(stray)
    if len(classes) == 1:
        raise UserError(f"{show(folder)} has only one class folder ({next(iter(classes))}): two or more are needed.")
    for name, files in classes.items():
        if not files:
            raise UserError(
                f"class folder {show(folder / name)} holds no picture (a file ending in {', '.join(SUFFIXES)}): add "
                "some, or remove the folder."
            )
    return classes, ignored


def _is_pile(labels: str, train_folder: Path, held_out_folder: Path | None) -> bool:
    """Whether pictures have no labels: because that was said, or with "auto" where no sub-folders tell them apart."""
    if labels != "auto":
        return labels == "none"
    classes = [_classes_or_none(folder) for folder in (train_folder, held_out_folder) if folder]
    return None in classes or len(set(map(frozenset, filter(None, classes)))) != 1


def _classes_or_none(folder: Path) -> list[str] | None:
    """The names of two or more class folders with nothing but pictures in them, or None."""
    children = _sub_folders(folder)
    stray = any(is_image_name(file) and file.is_file() for file in folder.glob("[!.]*"))
    filled = all(any(is_image_name(file) for file in walk(child)) for child in children)
    return [child.name for child in children] if len(children) > 1 and filled and not stray else None


def _list_pile(folder: Path) -> tuple[dict[str, list[Path]], Counter[str]]:
    """Every picture anywhere in a folder, as one class, and how many other files there are of each kind."""
    files = list(walk(folder))
    pictures = [file for file in files if is_image_name(file)]
    if not pictures:
        raise UserError(f"{show(folder)} holds no picture (a file ending in {', '.join(SUFFIXES)}).")
    ignored = Counter(file.suffix.lower() or "without suffix" for file in files if not is_image_name(file))
    return {UNLABELLED: pictures}, ignored


def _require_same_classes(
    train: dict[str, list[Path]], held_out: dict[str, list[Path]], train_folder: Path, held_out_folder: Path
) -> None:
    for some, some_folder, other, other_folder in (
        (train, train_folder, held_out, held_out_folder),
        (held_out, held_out_folder, train, train_folder),
    ):
        missing = sorted(set(some) - set(other))
        if missing:
            raise UserError(
                f"{show(other_folder)} lacks {_count(len(missing), 'class', 'classes')} that {show(some_folder)} has: "
                f"{_some(missing)}; both need the same class folders."
            )


def _check_files(files: list[Path], config: FolderData) -> tuple[set[Path], tuple[str, ...]]:
    """The files that cannot be read, and the notes about them."""
    decode = config.check == "decode" or (config.check == "auto" and len(files) <= MOST_DECODED)
    if config.check == "none":
        return set(), (f"The {len(files):,} pictures were not checked.",)
    notes = ()
    if not decode:
        notes = (f"Only the headers of the {len(files):,} pictures were checked, not whether they decode.",)
    complaints = _complaints(files, read_image if decode else check_header)
    if complaints:
        sentence = (
            f"{_count(len(complaints), 'picture')} of {len(files):,} cannot be read"
            f"{'' if config.unreadable == 'stop' else ' and will be left out'}: {_some(list(complaints.values()))}."
        )
        if config.unreadable == "stop":
            raise UserError(f"{sentence} Repair or remove them, or train with --data.unreadable skip.")
        notes += (sentence,)
    return set(complaints), notes


def _complaints(files: list[Path], check: Callable[[Path], object]) -> dict[Path, str]:
    """What is wrong with each file that fails a check."""

    def complain(some: list[Path]) -> dict[Path, str]:
        complaints = {}
        for file in some:
            try:
                check(file)
            except UserError as error:
                complaints[file] = str(error).removeprefix("cannot read ").removesuffix(".")
        return complaints

    # In portions, because the pool keeps a record of everything it is given.
    portions = [files[start : start + 64] for start in range(0, len(files), 64)]
    console = Console(stderr=True)
    with quiet_pillow(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        results = track(
            pool.map(complain, portions),
            "checking pictures",
            total=len(portions),
            console=console,
            transient=True,
            disable=len(files) < MANY_FILES or not console.is_terminal,
        )
        return {file: complaint for result in results for file, complaint in result.items()}


def _leave_out(classes: dict[str, list[Path]], unreadable: set[Path], folder: Path) -> dict[str, list[Path]]:
    kept = {name: [file for file in files if file not in unreadable] for name, files in classes.items()}
    for name, files in kept.items():
        if not files:
            raise UserError(
                f"none of the {len(classes[name])} pictures in {_where(folder, name)} can be read: "
                "add readable ones, or remove the folder."
            )
    return kept


def _split(
    classes: dict[str, list[Path]], folder: Path, config: FolderData
) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Holds out a share of every class.

    The order hangs on each file's name alone, so that a picture stays on its side when others are added or removed
    or the folder moves.
    """
    train, held_out = {}, {}
    for name, files in classes.items():
        if len(files) < 2:
            raise UserError(
                f"{_where(folder, name)} has only one readable picture, too few to hold one out: "
                "add some, or make a val folder."
            )
        count = min(max(1, round(len(files) * config.val_fraction)), len(files) - 1)
        order = {
            file: derive_seed(config.split_seed, f"split/{show(file.relative_to(folder).as_posix())}") for file in files
        }
        chosen = set(sorted(files, key=order.__getitem__)[:count])
        train[name] = [file for file in files if file not in chosen]
        held_out[name] = [file for file in files if file in chosen]
    return train, held_out


def _where(folder: Path, name: str) -> str:
    """What to call the place of a class: its folder, or of a pile the whole folder."""
    place = folder / name
    return f"class folder {show(place)}" if place.is_dir() else show(folder)


def _flatten(classes: dict[str, list[Path]]) -> tuple[list[Path], np.ndarray]:
    files = [file for members in classes.values() for file in members]
    labels = np.repeat(np.arange(len(classes)), [len(members) for members in classes.values()])
    return files, labels


def _ignored_notes(ignored: Counter[str]) -> tuple[str, ...]:
    if not ignored:
        return ()
    kinds = [f"{count} {kind}" for kind, count in ignored.most_common()]
    return (f"Left out, as no pictures or in no class's folder: {_some(kinds)}.",)


def _count(number: int, singular: str, plural: str = "") -> str:
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def _some(names: list[str], most: int = 10) -> str:
    """The first few of many names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return "; ".join(show(name) for name in names[:most]) + more
